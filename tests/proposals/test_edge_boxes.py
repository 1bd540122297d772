"""EdgeBoxes: what a user reads where something lacks, and the windows that OpenCV's implementation gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from spp_det.errors import ConfigError
from spp_det.proposals.edge_boxes import EdgeBoxes

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-peers" / "bin" / "python"

OPTIONS = {
    "stride": 2, "shrinkNumber": 2, "patchSize": 32, "patchInnerSize": 16, "numberOfGradientOrientations": 4,
    "gradientSmoothingRadius": 0, "regFeatureSmoothingRadius": 2, "ssFeatureSmoothingRadius": 8,
    "gradientNormalizationRadius": 4, "selfsimilarityGridSize": 5, "numberOfTrees": 8, "numberOfTreesToEvaluate": 4,
}  # fmt: skip


def write_forest(path: Path) -> Path:
    """A structured forest made by hand: an edge wherever the gradient in the middle of the patch is above 0.1.

    Eight equal trees of three nodes: a root that asks for one feature, a leaf without edges, a leaf with 100 votes for
    an edge in the middle. A leaf's votes are edgeBins[edgeBoundaries[node] : edgeBoundaries[node + 1]].
    """
    magnitude, middle, votes = 3 * 256 + 8 * 16 + 8, 8 * 16 + 8, 100
    trees = range(OPTIONS["numberOfTrees"])
    parts = {
        "childs": [[2, 0, 0] for _ in trees],  # from 1
        "featureIds": [[magnitude, 0, 0] for _ in trees],
        "thresholds": [[0.1, 0.0, 0.0] for _ in trees],
        "edgeBoundaries": [[votes * tree] * 3 for tree in trees] + [[votes * len(trees)]],
        "edgeBins": [[middle] * votes for _ in trees],
    }
    lines = ["%YAML:1.0", "---", "options:", *(f"   {name}: {value}" for name, value in OPTIONS.items())]
    for name, rows in parts.items():
        lines += [f"{name}:", *(f"   - {row}" for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def assert_one_line(fault: pytest.ExceptionInfo[ConfigError], *parts: str) -> None:
    assert "\n" not in str(fault.value)
    assert all(part in str(fault.value) for part in parts), fault.value


@pytest.mark.skipif(hasattr(cv2, "ximgproc"), reason="this OpenCV has EdgeBoxes")
def test_an_opencv_without_edge_boxes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        EdgeBoxes(write_forest(tmp_path / "model.yml"))
    assert_one_line(fault, "opencv-contrib-python in place of opencv-python")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such"),
        (b"", "no structured forest"),
        (b"junk", "no structured forest"),
        (b"%YAML:1.0\n---\na: 1\n", "no structured forest"),
        (b"%YAML:1.0\n---\noptions:\n   numberOfTrees: 8\n", "no structured forest"),
        (b"%YAML:1.0\n---\noptions:\n   numberOfTrees: 0\nchilds: [1]\n", "no structured forest"),
    ],
)
def test_a_model_that_is_missing_or_none(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "ximgproc", object(), raising=False)
    path = tmp_path / "model.yml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as fault:
        EdgeBoxes(path)
    assert_one_line(fault, str(path), said, "opencv_extra")


def test_no_model_and_settings_out_of_range(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "ximgproc", object(), raising=False)
    with pytest.raises(ConfigError) as fault:
        EdgeBoxes()
    assert_one_line(fault, "model.yml.gz", "opencv_extra")
    for settings in ({"alpha": 0}, {"beta": 1.0}, {"min_side": 0}, {"max_windows": 0}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            EdgeBoxes("model.yml", **settings)


PROPOSE = """
import json, sys
sys.path += json.loads(sys.argv[1])  # behind the environment's own packages: its cv2 goes first
import numpy as np
from spp_det.proposals.edge_boxes import EdgeBoxes
images = np.load(sys.argv[3])
methods = [EdgeBoxes(sys.argv[2]), EdgeBoxes(sys.argv[2], max_windows=5, min_side=60)]
print(json.dumps([[method.propose(images[key], key).boxes.tolist() for key in images] for method in methods]))
"""


@pytest.mark.skipif(not PEERS.exists(), reason="no opencv-contrib-python here: make peers")
def test_windows_of_opencv_contrib(tmp_path: Path) -> None:
    forest = write_forest(tmp_path / "model.yml")
    rectangle = np.full((120, 160, 3), 200, np.uint8)
    cv2.rectangle(rectangle, (40, 30), (99, 89), (20, 60, 220), -1)
    noise = np.random.default_rng(0).integers(0, 256, (101, 103, 3)).astype(np.uint8)
    images = {"rectangle": rectangle, "again": rectangle, "noise": noise}
    images |= {f"{h}x{w}": noise[:1, :1].repeat(h, 0).repeat(w, 1) for h, w in ((1, 1), (1, 5000), (12, 400), (20, 20))}
    np.savez(tmp_path / "images.npz", **images)
    line = [PEERS, "-c", PROPOSE, json.dumps([str(ROOT), *sys.path]), forest, tmp_path / "images.npz"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    every, few = (dict(zip(images, boxes, strict=True)) for boxes in json.loads(done.stdout))
    x1, y1, x2, y2 = every["rectangle"][0]  # its edges are as thick as the patch's filters blur them
    assert abs(x1 - 40) <= 8
    assert abs(y1 - 30) <= 8
    assert abs(x2 - 100) <= 8
    assert abs(y2 - 90) <= 8
    assert every["again"] == every["rectangle"]
    assert len(every["rectangle"]) > 20
    boxes = np.array(every["rectangle"])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [160, 120]).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 20).all()
    assert every["1x1"] == every["1x5000"] == every["12x400"] == every["20x20"] == []
    large = (boxes[:, 2:] - boxes[:, :2] >= 60).all(axis=1)
    assert few["rectangle"] == boxes[large][:5].tolist()
