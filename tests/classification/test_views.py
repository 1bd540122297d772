"""Views on the map beside crops of the image: the same cells where borders do not reach, and the same classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.classes import CLASSES, make_folders, small_trunk
from torch.nn.functional import adaptive_max_pool2d, cosine_similarity

from spp_det.classification.config import ClassificationConfig, FoldersConfig, TestingConfig
from spp_det.classification.folders import read_folders
from spp_det.classification.network import SPPClassifier
from spp_det.classification.testing import rank, view_errors
from spp_det.classification.views import Plan, ViewClassifier, places_of, plan_views
from spp_det.errors import DataError
from spp_det.images import flip_image
from spp_det.networks import FcHead, build_trunk
from spp_det.structures import Image

LEVELS = (1, 2, 3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(name: str = "reference.classes:small_trunk", levels: tuple[int, ...] = LEVELS) -> SPPClassifier:
    trunk = build_trunk(name, "random")
    head = FcHead(trunk.out_channels * sum(n * n for n in levels), (16, 16), len(CLASSES), background=False)
    return SPPClassifier(trunk, head, levels, CLASSES).eval()


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Smooth, as photographs are."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.ascontiguousarray(small.repeat(8, 0).repeat(8, 1)[:height, :width])


TESTING = TestingConfig(short_side=64, view=56, scales=(56, 64, 80, 96, 112, 128))


def test_96_views_are_the_papers_count() -> None:
    looker = ViewClassifier(network(), 56)
    vectors = looker.vectors(picture(90, 120), plan_views("96", TESTING))
    assert len(vectors) == 96  # 18 at five scales and 6 at the least, whose short side is the view's
    assert looker.passes == 6
    looker = ViewClassifier(network(), 56)
    assert len(looker.vectors(picture(90, 120), plan_views("98", TESTING))) == 98
    assert looker.passes == 6  # the whole image is pooled from the map of one of the six scales
    assert len(looker.vectors(picture(90, 120), plan_views("10", TESTING))) == 10


def test_places_without_doubles() -> None:
    assert places_of((56, 80), 56, 9).tolist() == [[0, 12], [0, 0], [0, 24]]
    assert places_of((56, 56), 56, 9).tolist() == [[0, 0]]
    assert len(places_of((80, 90), 56, 9)) == 9


def test_each_view_is_the_window_of_the_map_that_a_loop_would_take() -> None:
    net, image = network(), picture(64, 88)
    plan = Plan((64,), 9, mirrored=True, full_scale=64)
    found = ViewClassifier(net, 40).vectors(image, plan)
    expected = []
    for shown, mirrored in ((image, False), (flip_image(image), True)):
        with torch.inference_mode():
            cells = net.trunk(net.trunk.tensor(shown)[None])
        for y, x in places_of((64, 88), 40, 9).tolist():
            left = 88 - 40 - x if mirrored else x
            # stride 4, cell 0 on pixel 0: the cells whose centres lie strictly inside the view
            rows = [c for c in range(16) if y < 4 * c < y + 39]
            columns = [c for c in range(22) if left < 4 * c < left + 39]
            window = cells[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            expected.append(torch.cat([adaptive_max_pool2d(window, n).flatten(1) for n in LEVELS], 1))
        expected.append(torch.cat([adaptive_max_pool2d(cells, n).flatten(1) for n in LEVELS], 1))
    torch.testing.assert_close(found, torch.cat(expected))


@pytest.mark.parametrize(
    ("name", "side", "origin", "reach"),
    [("reference.classes:small_trunk", 48, 16, 4), ("zf5_table1", 224, 32, 5), ("zf5", 224, 32, 5)],
)
def test_cells_of_a_crop_are_those_of_the_map_where_its_border_does_not_reach(
    name: str, side: int, origin: int, reach: int
) -> None:
    trunk = build_trunk(name, "random")
    image = picture(side + 2 * origin, side + 2 * origin)
    with torch.inference_mode():
        whole = trunk(trunk.tensor(image)[None])[0]
        crop = trunk(trunk.tensor(image[origin : origin + side, origin : origin + side])[None])[0]
    shift, last = origin // trunk.stride, crop.shape[1] - reach
    of_map = whole[:, shift + reach : shift + last, shift + reach : shift + last]
    of_crop = crop[:, reach:last, reach:last]
    assert of_crop.shape[1] >= 3
    torch.testing.assert_close(of_map, of_crop, rtol=1e-4, atol=1e-5 * float(of_crop.abs().max()))


def test_views_on_the_map_are_near_to_crops_and_of_the_same_shape() -> None:
    """Zeros around a crop stand where a map has seen the picture go on; the paper's difference is 0.1% of top-5."""
    net = network("zf5_table1", (1, 2, 3, 6))
    looker, image = ViewClassifier(net, 224), picture(270, 400)
    testing = TestingConfig()
    on_map = looker.vectors(image, plan_views("10", testing))
    crops = looker.vectors(image, plan_views("10 crops", testing))
    assert on_map.shape == crops.shape == (10, 12_800)
    near = cosine_similarity(on_map, crops)
    assert near.min() > 0.95
    others = cosine_similarity(on_map, crops.roll(1, 0))
    assert (near > others).all()  # each view is nearest to its own crop
    probabilities = [looker.probabilities(image, plan_views(views, testing)) for views in ("10", "10 crops")]
    np.testing.assert_allclose(*probabilities, atol=0.02)


def test_one_view_is_what_the_network_says_of_it() -> None:
    net, image = network(), picture(64, 81)
    with torch.inference_mode():
        full = net(net.trunk.tensor(image)[None]).softmax(1)[0].numpy()
        centre = net(net.trunk.tensor(image[4:60, 12:68])[None]).softmax(1)[0].numpy()
    looker = ViewClassifier(net, 56)
    np.testing.assert_allclose(looker.probabilities(image, plan_views("full", TESTING)), full, rtol=1e-5)
    np.testing.assert_allclose(looker.probabilities(image, plan_views("crop", TESTING)), centre, rtol=1e-5)


def test_mirrored_views_of_a_mirrored_image_are_its_views() -> None:
    net, image = network(), picture(70, 101)
    looker = ViewClassifier(net, 56)
    for views in ("10", "10 crops", "98"):
        plan = plan_views(views, TESTING)  # type: ignore[arg-type]
        np.testing.assert_allclose(
            looker.probabilities(image, plan), looker.probabilities(flip_image(image), plan), atol=0.02
        )


def test_ranks_and_errors(tmp_path: Path) -> None:
    probabilities = np.array([0.1, 0.4, 0.3, 0.1, 0.1], np.float32)
    assert [rank(probabilities, label) for label in range(5)] == [5, 1, 2, 5, 5]
    assert rank(np.full(5, np.nan, np.float32), 0) == 5
    root = make_folders(tmp_path / "val", 3)
    images = read_folders(root, CLASSES)
    net = network()
    with torch.no_grad():
        net.head.fc8.weight.zero_()
        net.head.fc8.bias.copy_(torch.tensor([2.0, 1.0, 0.0]))  # always "across"
    config = ClassificationConfig(data=FoldersConfig(root=str(root)), testing=TESTING, precision="float32")
    result = view_errors(net, config, images)
    assert set(result["views"]) == set(TESTING.views)
    for errors in result["views"].values():
        assert errors["top1"] == pytest.approx(2 / 3)
        assert errors["top5"] == 0


def test_an_unreadable_image_is_named_or_left_out_and_counted(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "val", 2)
    (root / "dots" / "001.png").write_bytes(b"none")
    config = ClassificationConfig(data=FoldersConfig(root=str(root)), testing=TestingConfig(("crop",), 64, 56))
    with pytest.raises(DataError, match=r"dots/001.png: is not an image"):
        view_errors(network(), config, read_folders(root))
    result = view_errors(network(), config, read_folders(root), skip_bad=True)
    assert result["images"] == 5
    assert len(result["left_out"]) == 1
    for path in root.glob("*/*.png"):
        path.write_bytes(b"none")
    with pytest.raises(DataError, match="none of the 6 images can be read"):
        view_errors(network(), config, read_folders(root), skip_bad=True)


def test_the_small_trunk_is_where_it_says() -> None:
    assert small_trunk().map_size((64, 88)) == (16, 22)
