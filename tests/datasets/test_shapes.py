from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spp_det.datasets import DATASETS, SHAPES_CLASSES, ShapesDataset, VOCDataset, make_shapes
from spp_det.datasets.shapes_drawing import SHAPES, cover, place
from spp_det.datasets.shapes_scene import draw_scene
from spp_det.datasets.voc_annotations import read_stated_size
from spp_det.errors import DataError
from spp_det.structures import Target


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, train=8, test=4, seed=3)
    return root


@pytest.fixture(scope="module")
def scenes() -> list[tuple[np.ndarray, Target]]:
    return [draw_scene(np.random.default_rng([7, i])) for i in range(40)]


# --- the folder


def test_splits_and_layout(made: Path) -> None:
    ids = {split: ShapesDataset(made, split, 8, 4, 3).ids for split in ("train", "val", "trainval", "test")}
    assert [len(ids[split]) for split in ("train", "val", "trainval", "test")] == [6, 2, 8, 4]
    assert ids["train"] + ids["val"] == ids["trainval"]
    assert not set(ids["trainval"]) & set(ids["test"])
    assert sorted(path.name for path in made.iterdir()) == ["VOC2007", "shapes.json"]
    plain = VOCDataset(made, split="test", classes=SHAPES_CLASSES)
    for image_id in plain.ids:
        size = plain.image(image_id).shape[:2]
        assert plain.size(image_id) == size == read_stated_size(plain.annotation_path(image_id))
        plain.target(image_id)


def test_the_files_hold_the_scene_that_was_drawn(made: Path) -> None:
    dataset = ShapesDataset(made, "test", 8, 4, 3)
    image, target = draw_scene(np.random.default_rng([3, 1, 2]))
    read = dataset.target("test_00002")
    for name in ("boxes", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(read, name), getattr(target, name))
    difference = dataset.image("test_00002").astype(float) - image
    assert abs(difference).mean() < 6  # JPEG


def test_same_bytes_in_another_process_with_other_threads(made: Path, tmp_path: Path) -> None:
    code = (
        "import cv2, sys; cv2.setNumThreads(1); from spp_det.datasets import make_shapes; "
        "make_shapes(sys.argv[1], 8, 4, 3)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "again")], check=True)
    assert digests(tmp_path / "again") == digests(made)


def test_another_seed_gives_other_pictures(made: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "other", 8, 4, 4)
    one, other = digests(made), digests(tmp_path / "other")
    assert one.keys() == other.keys()
    assert not {one[name] for name in one if "JPEG" in name} & set(other.values())


def test_more_images_leave_the_first_ones_alone(made: Path, tmp_path: Path) -> None:
    make_shapes(tmp_path / "more", 9, 5, 3)
    more = digests(tmp_path / "more")
    assert all(more[name] == digest for name, digest in digests(made).items() if "JPEG" in name or "Annot" in name)


def test_what_is_there_is_not_made_again(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    make_shapes(made, 8, 4, 3)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_an_empty_folder_is_filled_and_progress_told(tmp_path: Path) -> None:
    seen: list[str] = []

    def progress(ids, description):  # type: ignore[no-untyped-def]
        seen.append(description)
        for image_id in ids:
            seen.append(image_id)
            yield image_id

    make_shapes(tmp_path, 1, 1, 0, progress)
    assert seen == ["drawing shapes", "train_00000", "test_00000"]
    with pytest.raises(DataError, match=r"val\.txt: names no image"):
        ShapesDataset(tmp_path, "val", 1, 1)


def test_other_shapes_and_other_data_are_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shapes\.json: tells of other shapes, .*'seed': 3.* not .*'seed': 4"):
        ShapesDataset(made, "test", 8, 4, 4)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="holds other things than generated shapes"):
        make_shapes(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(DataError, match=r"thesis\.tex: is a file; shapes need a folder"):
        make_shapes(tmp_path / "thesis.tex")
    (tmp_path / "shapes.json").write_text("{")
    with pytest.raises(DataError, match=r"shapes\.json: is not JSON"):
        make_shapes(tmp_path)


def test_impossible_numbers() -> None:
    for train, test, seed in ((0, 1, 0), (1, 0, 0), (1, 1, -1)):
        with pytest.raises(ValueError, match="shapes need"):
            make_shapes("nowhere", train, test, seed)


def test_stopped_on_the_way_nothing_is_left(tmp_path: Path) -> None:
    def stop(ids, _):  # type: ignore[no-untyped-def]
        yield ids[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / "shapes", 3, 1, 0, stop)
    assert not list(tmp_path.iterdir())


def test_two_makers_at_once(tmp_path: Path) -> None:
    """The slower one finds the faster one's folder, and takes it."""

    def overtaken(ids, _):  # type: ignore[no-untyped-def]
        yield from ids
        make_shapes(tmp_path / "shapes", 2, 1, 0)

    make_shapes(tmp_path / "shapes", 2, 1, 0, overtaken)
    assert [path.name for path in tmp_path.iterdir()] == ["shapes"]
    assert json.loads((tmp_path / "shapes/shapes.json").read_text())["train"] == 2


# --- the pictures


def test_scenes_keep_the_conventions(scenes: list[tuple[np.ndarray, Target]]) -> None:
    for image, target in scenes:
        assert image.dtype == np.uint8
        assert 240 <= image.shape[0] <= 300
        assert 320 <= image.shape[1] <= 400
        assert len(target) <= 5
        np.testing.assert_array_equal(target.boxes, np.rint(target.boxes))
        if len(target):
            assert (target.boxes[:, 2:].max(0) <= [image.shape[1], image.shape[0]]).all()
            assert target.labels.max() < len(SHAPES_CLASSES)


def test_scenes_are_varied(scenes: list[tuple[np.ndarray, Target]]) -> None:
    boxes = np.concatenate([target.boxes for _, target in scenes])
    sides = boxes[:, 2:] - boxes[:, :2]
    assert {label for _, target in scenes for label in target.labels} == set(range(len(SHAPES_CLASSES)))
    assert 0 < np.mean(np.concatenate([target.difficult for _, target in scenes])) < 0.25
    assert sides.max() > 100
    assert np.quantile(sides.max(1), 0.2) < 50
    assert (sides[:, 0] / sides[:, 1]).min() < 0.5
    assert (sides[:, 0] / sides[:, 1]).max() > 2
    assert np.mean([len(target) for _, target in scenes]) > 2


def test_a_box_bounds_its_object() -> None:
    """A star and its box, on paper and in pixels."""
    contour = place(SHAPES["star"][0].contours[0], (50, 40), (60, 30), 0.0)
    assert contour.min(0).tolist() == [20, 25]
    assert contour.max(0).tolist() == pytest.approx([80, 55])
    rows, columns = np.nonzero(cover([contour], (80, 100)) > 127)
    assert abs(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - [20, 25, 80, 55]).max() <= 2


@pytest.mark.parametrize("name", SHAPES)
def test_stated_areas_are_those_of_the_pixels(name: str) -> None:
    for part in SHAPES[name]:
        mask = cover([place(contour, (150, 120), (200, 100), 0.2) for contour in part.contours], (240, 300))
        assert mask.sum() / 255 == pytest.approx(
            part.area * 200 * 100 / 4, rel=0.08
        )  # OpenCV fills half a pixel more all round


@pytest.mark.parametrize(("one", "other", "same"), [("pin", "club", "xy"), ("pair", "stack", "turn")])
def test_pairs_differ_only_in_where_their_parts_lie(one: str, other: str, same: str) -> None:
    def pixels(name: str) -> list[np.ndarray]:
        parts = sorted(SHAPES[name], key=lambda part: part.texture)
        return [cover([place(c, (50, 50), (80, 80), 0.0) for c in part.contours], (100, 100)) for part in parts]

    for a, b in zip(pixels(one), pixels(other), strict=True):
        moved = a[::-1] if same == "xy" else a.T
        assert np.mean(abs(moved.astype(int) - b) > 64) < 0.02
        assert np.mean(abs(a.astype(int) - b) > 64) > 0.05
        if same == "xy":  # a mirror image stays of its class
            assert np.mean(abs(a[:, ::-1].astype(int) - a) > 64) < 0.02


# --- every data set


def test_data_sets_keep_the_protocol(made: Path) -> None:
    """Conformance: what any data set can be asked."""
    datasets = {
        "voc": DATASETS["voc"](made, "2007", "test", SHAPES_CLASSES),
        "shapes": DATASETS["shapes"](made, "test", train=8, test=4, seed=3),
    }
    assert datasets.keys() <= DATASETS.keys()  # test_forms.py and test_ilsvrc.py have the others
    for dataset in datasets.values():
        assert isinstance(dataset.class_names, tuple)
        assert isinstance(dataset.ids, tuple)
        assert len(dataset) == len(dataset.ids) == len(set(dataset.ids)) > 0
        for image_id in dataset.ids:
            assert dataset.image_path(image_id).is_file()
            image, target = dataset.image(image_id), dataset.target(image_id)
            assert dataset.size(image_id) == image.shape[:2]
            assert (target.boxes[:, 2:] <= [image.shape[1], image.shape[0]]).all()
            assert (target.labels < len(dataset.class_names)).all()
