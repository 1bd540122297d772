"""The comparison with OpenCV on generated images, with a stand-in for OpenCV's process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spp_det.datasets import ShapesDataset, make_shapes
from spp_det.evaluation.proposal_speed import TITLES, compare_proposals, coverage_table, recall_curves, speed_table
from spp_det.evaluation.recall_curve import STYLES, plot_recall
from spp_det.proposals import selective_search
from spp_det.structures import Boxes, Image


class StandIn:
    """Answers as OpenCVPeer does: the whole image, one of its quarters, and a sliver; and says what it was asked."""

    version = "0.0"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def selective_search(self, image: Image, mode: str, threads: int) -> tuple[Boxes, float]:
        self.asked.append((mode, threads))
        height, width = image.shape[:2]
        boxes = [[0, 0, width, height], [5, 5, 5 + 19, 80], [0, 0, width / 2, height / 2]]
        return np.array(boxes, np.float32), 100.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ShapesDataset:
    root = tmp_path_factory.mktemp("data") / "shapes"
    make_shapes(root, 1, 3)
    return ShapesDataset(root, "test", train=1, test=3)


def test_the_figures_are_what_both_sides_gave(dataset: ShapesDataset) -> None:
    peer = StandIn()
    steps: list[tuple[int, int]] = []
    comparison = compare_proposals(dataset, dataset.ids, peer, "fast", 2, lambda *step: steps.append(step))
    assert peer.asked == [("fast", 2), ("fast", 1)] * 4  # once before, untimed
    assert steps == [(1, 3), (2, 3), (3, 3)]
    figures = json.loads(json.dumps(comparison.figures))
    assert (figures["mode"], figures["images"], figures["opencv"]) == ("fast", 3, "0.0")
    assert figures["ms"]["2"]["opencv"] == 100_000
    assert figures["speedup"] == pytest.approx(100_000 / figures["ms"]["2"]["spp_det"])
    assert figures["speedup_one_thread"] == pytest.approx(100_000 / figures["ms"]["1"]["spp_det"])
    quality = figures["quality"]
    assert list(quality) == list(TITLES)
    assert (quality["opencv"]["windows"], quality["opencv_any_size"]["windows"]) == (2, 3)
    assert quality["spp_det_as_many"]["windows"] == 2
    assert quality["spp_det_any_size"]["windows"] > quality["spp_det"]["windows"] > 20
    for image_id in dataset.ids:
        ours = selective_search(dataset.image(image_id))
        np.testing.assert_array_equal(comparison.windows["spp_det"][image_id].boxes, ours.boxes)
        np.testing.assert_array_equal(comparison.windows["spp_det_as_many"][image_id].boxes, ours.boxes[:2])
    objects = sum(int((~dataset.target(key).difficult).sum()) for key in dataset.ids)
    assert all(row["objects"] == objects for row in quality.values())
    assert quality["spp_det"]["abo"] >= quality["spp_det_as_many"]["abo"]
    assert speed_table(figures).row_count == 2
    assert coverage_table(figures).row_count == len(TITLES)


def test_curves_of_all_modes(dataset: ShapesDataset, tmp_path: Path) -> None:
    peer = StandIn()
    comparison = compare_proposals(dataset, dataset.ids[:2], peer)
    peer.asked.clear()
    curves = recall_curves(dataset, comparison, peer)
    assert peer.asked == [("quality", 1)] * 2
    assert list(curves) == list(STYLES)
    assert curves["OpenCV, fast"] == curves["OpenCV, quality"]
    assert curves["OpenCV, fast"]["windows"] == [2]
    assert curves["spp_det, fast"]["windows"][-1] == comparison.figures["quality"]["spp_det"]["windows"]
    assert curves["spp_det, quality"]["windows"][-1] > curves["spp_det, fast"]["windows"][-1]
    assert curves["spp_det, fast"]["abo"][-1] == comparison.figures["quality"]["spp_det"]["abo"]
    plot_recall(curves, "two images", tmp_path / "folder" / "curves.png")
    assert (tmp_path / "folder" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_released_mode_is_beside_opencvs_fast(dataset: ShapesDataset) -> None:
    peer = StandIn()
    assert compare_proposals(dataset, dataset.ids[:1], peer, "released").figures["mode"] == "released"
    assert peer.asked == [("fast", 1)] * 2


def test_one_core_is_measured_once(dataset: ShapesDataset) -> None:
    peer = StandIn()
    figures = compare_proposals(dataset, dataset.ids[:1], peer, "fast", 1).figures
    assert list(figures["ms"]) == [1]
    assert figures["speedup"] == figures["speedup_one_thread"]
    with pytest.raises(ValueError, match="image at least"):
        compare_proposals(dataset, [], peer)
