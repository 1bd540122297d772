"""Selective search as a whole: its boxes, its settings, odd images, and recall on photographs."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spp_det.boxes import iou
from spp_det.errors import ConfigError
from spp_det.images import read_image
from spp_det.proposals import SelectiveSearch, search, selective_search
from spp_det.proposals.search import build_hierarchies
from spp_det.proposals.strategies import MODES
from spp_det.structures import check_image


def scene(seed: int = 0, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Rectangles of colour under noise."""
    generator = np.random.default_rng(seed)
    image = np.full((*size, 3), generator.integers(0, 256, 3), np.int64)
    for _ in range(12):
        y, x = generator.integers(0, size[0]), generator.integers(0, size[1])
        h, w = generator.integers(1, size[0] + 1), generator.integers(1, size[1] + 1)
        image[y : y + h, x : x + w] = generator.integers(0, 256, 3)
    image += generator.integers(-8, 9, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def assert_sound(boxes: np.ndarray, size: tuple[int, int], min_side: int = 20) -> None:
    assert boxes.dtype == np.float32
    assert boxes.shape[1:] == (4,)
    assert np.isfinite(boxes).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= size[1]).all()
    assert (boxes[:, 3] <= size[0]).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= min_side).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


CONTENTS = ("noise", "scene", "one colour", "checkerboard", "ramp", "two colours")


def picture(content: str, height: int, width: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    ys, xs = np.mgrid[:height, :width]
    return {
        "noise": generator.integers(0, 256, (height, width, 3)),
        "scene": scene(seed, (height, width)),
        "one colour": np.full((height, width, 3), seed % 256),
        "checkerboard": np.repeat(((ys + xs) % 2 * 255)[..., None], 3, axis=2),
        "ramp": np.stack([xs % 256, ys % 256, (xs + ys) % 256], axis=2),
        "two colours": generator.integers(0, 2, (height, width, 1)) * generator.integers(0, 256, 3),
    }[content].astype(np.uint8)


@settings(deadline=None, max_examples=100)
@given(
    height=st.one_of(st.integers(1, 8), st.integers(1, 70)),
    width=st.one_of(st.integers(1, 8), st.integers(1, 70)),
    content=st.sampled_from(CONTENTS),
    seed=st.integers(0, 10**6),
    min_side=st.sampled_from([1, 5, 20]),
)
def test_any_image_gives_itself_and_sound_boxes(
    height: int, width: int, content: str, seed: int, min_side: int
) -> None:
    image = picture(content, height, width, seed)
    boxes = selective_search(image, "released", seed, min_side=min_side, threads=1).boxes
    assert_sound(boxes, (height, width), min_side)
    if min(height, width) >= min_side:
        assert [0, 0, width, height] in boxes.tolist()
    else:
        assert len(boxes) == 0


def test_2000_random_images_of_any_size_and_content() -> None:
    generator = np.random.default_rng(0)
    for seed in range(2000):
        longest = int(generator.choice([3, 12, 40, 90], p=[0.3, 0.4, 0.2, 0.1]))
        height, width = (int(side) for side in generator.integers(1, longest + 1, 2))
        if seed % 100 == 0:
            height, width = (1, 3000) if seed % 200 else (3000, 1)
        image = picture(CONTENTS[generator.integers(len(CONTENTS))], height, width, seed)
        min_side = int(generator.integers(1, 25))
        mode = "quality" if seed % 20 == 0 else "fast"
        boxes = selective_search(image, mode, seed, min_side=min_side, threads=1).boxes
        assert_sound(boxes, (height, width), min_side)
        assert (len(boxes) > 0) == (min(height, width) >= min_side)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (19, 400), (2, 2)])
@pytest.mark.parametrize("mode", MODES)
def test_images_thinner_than_a_window_have_none(size: tuple[int, int], mode: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert selective_search(image, mode).boxes.shape == (0, 4)


def test_one_colour_has_one_window() -> None:
    assert selective_search(np.zeros((300, 400, 3), np.uint8)).boxes.tolist() == [[0, 0, 400, 300]]


def test_a_clear_object_is_found_to_the_pixel() -> None:
    image = np.full((100, 140, 3), 30, np.uint8)
    image[20:70, 40:120] = (200, 60, 40)
    image[70:95, 10:60] = (20, 90, 200)
    objects = np.array([[40, 20, 120, 70], [10, 70, 60, 95]], np.float32)
    assert (iou(objects, selective_search(image, "released").boxes).max(1) == 1).all()
    assert (iou(objects, selective_search(image).boxes).max(1) > 0.85).all()  # a near-duplicate may stand for it


@pytest.mark.parametrize("mode", MODES)
def test_threads_and_repetition_change_nothing(mode: str) -> None:
    image = scene()
    first = selective_search(image, mode, seed=3, threads=1).boxes
    assert len(first) > 20
    for threads in (None, 2, 5):
        assert selective_search(image, mode, seed=3, threads=threads).boxes.tobytes() == first.tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_a_large_image_is_searched_at_a_bounded_size(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = scene(size=(60, 80))
    monkeypatch.setattr(search, "MAX_PIXELS", 60 * 80)
    expected = selective_search(small, mode, min_side=10).boxes
    large = np.kron(small, np.ones((3, 3, 1), np.uint8))
    boxes = selective_search(large, mode, min_side=30).boxes
    np.testing.assert_array_equal(boxes, expected * 3)
    assert len(boxes) > 20


@pytest.mark.parametrize("size", [(1, 9000), (9000, 1), (97, 131), (130, 53)])
def test_windows_of_a_bounded_size_lie_within_the_image(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_PIXELS", 1000)
    boxes = selective_search(scene(size=size), min_side=1).boxes
    assert_sound(boxes, size, min_side=1)
    assert boxes[:, 2].max() == size[1]
    assert boxes[:, 3].max() == size[0]


def test_the_seed_changes_the_order_and_nothing_else() -> None:
    image = scene()
    one, two = (selective_search(image, "released", seed).boxes.tolist() for seed in (0, 1))
    assert one != two
    assert sorted(one) == sorted(two)


def test_the_input_is_left_as_it_was_and_may_be_a_view() -> None:
    image = scene(size=(60, 80))
    before = image.copy()
    mirrored = selective_search(image[:, ::-1]).boxes
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mirrored, selective_search(np.ascontiguousarray(image[:, ::-1])).boxes)


def test_max_windows_keeps_the_best() -> None:
    image = scene()
    everything = selective_search(image).boxes
    np.testing.assert_array_equal(selective_search(image, max_windows=7).boxes, everything[:7])
    assert len(selective_search(image, max_windows=0)) == 0


def test_min_side_drops_windows_and_keeps_the_order_of_the_rest() -> None:
    image = scene()
    everything = selective_search(image, "released", min_side=1).boxes
    wide = (everything[:, 2:] - everything[:, :2] >= 33).all(axis=1)
    assert 0 < wide.sum() < len(wide)
    np.testing.assert_array_equal(selective_search(image, "released", min_side=33).boxes, everything[wide])


def test_every_mode_has_its_number_of_hierarchies() -> None:
    image = scene(size=(30, 40))
    counts = {mode: len(build_hierarchies(image, MODES[mode], threads=1)) for mode in MODES}
    assert counts == {"fast": 18, "released": 8, "quality": 80}


def test_segments_have_at_least_k_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 100, 3)).astype(np.uint8)
    hierarchies = build_hierarchies(image, MODES["released"], threads=1)
    segments = [(len(hierarchy.boxes) + 1) // 2 for hierarchy in hierarchies]
    assert (np.array(segments) * np.tile([50, 50, 100, 100], 2) <= 90 * 100).all()
    assert min(segments) > 10


def test_quality_mode_gives_more_windows_than_the_released_one_and_all_of_those() -> None:
    image = scene()
    few, many = (set(map(tuple, selective_search(image, mode).boxes.tolist())) for mode in ("released", "quality"))
    assert len(many) > 1.5 * len(few)
    assert few < many


def test_the_fast_mode_drops_near_duplicates_and_the_released_one_keeps_them() -> None:
    image = scene()
    overlaps = {mode: np.triu(iou(b := selective_search(image, mode).boxes, b), 1).max() for mode in MODES}
    assert overlaps["fast"] <= MODES["fast"].overlap + 1e-6
    assert overlaps["released"] > 0.9


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((30, 30, 3), np.float32),
        np.full((30, 30, 3), np.nan),
        np.zeros((30, 30), np.uint8),
        np.zeros((30, 30, 4), np.uint8),
        np.zeros((0, 30, 3), np.uint8),
        np.zeros((2, 30, 30, 3), np.uint8),
    ],
)
def test_another_dtype_or_shape_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="an image is uint8"):
        selective_search(image)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"mode": "slow"}, "there is no mode 'slow'; the modes are fast, released, quality"),
        ({"seed": -1}, "seed is -1, but at least 0 is needed"),
        ({"min_side": 0}, "min_side is 0, but at least 1 is needed"),
        ({"max_windows": -1}, "max_windows is -1, but at least 0 is needed"),
        ({"threads": 0}, "threads is 0, but at least 1 is needed"),
    ],
)
def test_a_setting_out_of_range_is_named(setting: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        selective_search(scene(), **setting)
    with pytest.raises(ConfigError, match=f"selective search: {fault}"):
        SelectiveSearch(**setting)


def test_the_part_is_the_function_with_its_settings() -> None:
    image = scene()
    part = SelectiveSearch("fast", seed=4, min_side=30, max_windows=50, threads=1)
    expected = selective_search(image, "fast", 4, min_side=30, max_windows=50)
    np.testing.assert_array_equal(part.propose(image, "any").boxes, expected.boxes)


def test_compilation_is_announced_where_no_cache_is(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Kernel:
        signatures: tuple = ()

        class stats:  # noqa: N801
            cache_path = str(tmp_path)

    monkeypatch.setattr(search.grouping, "_group", Kernel)
    with caplog.at_level(logging.INFO):
        search._announce_compilation()
        assert "compiling selective search" in caplog.text
        caplog.clear()
        (tmp_path / "grouping._group-1.py311.nbi").touch()
        search._announce_compilation()
        assert not caplog.text


def test_recall_on_photographs(voc_root: Path) -> None:
    """A floor that a broken part does not reach."""
    root = voc_root / "VOC2007"
    names = (root / "ImageSets" / "Main" / "test.txt").read_text().split()[::100][:10]
    best = []
    for name in names:
        image = check_image(read_image(root / "JPEGImages" / f"{name}.jpg"))
        boxes = selective_search(image).boxes
        assert_sound(boxes, image.shape[:2])
        objects = [
            o for o in ET.parse(root / "Annotations" / f"{name}.xml").iter("object") if o.findtext("difficult") != "1"
        ]
        corners = [[float(o.findtext(f"bndbox/{c}")) for c in ("xmin", "ymin", "xmax", "ymax")] for o in objects]
        truth = np.array(corners, np.float32).reshape(-1, 4) - np.array([1, 1, 0, 0], np.float32)
        best += iou(truth, boxes).max(axis=1).tolist()
    assert len(best) >= 10
    assert np.mean(np.array(best) >= 0.5) >= 0.95
    assert np.mean(best) >= 0.8
