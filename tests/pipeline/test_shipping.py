"""From a trained run to the files in the package, and what those files find."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import spp_det
from spp_det import Detector, cli
from spp_det.datasets import make_shapes
from spp_det.detection.bundle import load_detector
from spp_det.detection.calibration import Calibration
from spp_det.detection.memory import CALIBRATION
from spp_det.errors import ConfigError, DataError
from spp_det.files import read_arrays, write_arrays
from spp_det.images import read_image
from spp_det.pipeline import shipping
from spp_det.pipeline.shipping import ship_run
from spp_det.shipped import SHIPPED

ROOT = Path(__file__).parent.parent.parent
QUICK = (
    "data.options={train=4, test=2}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 16]",
    "finetune.rank=[8, 8]",
    "finetune.standardise=true",
    "regress.layer=fc6",
    "detect.vote=true",
    "proposals.max_windows=100",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipping")
    make_shapes(folder / "shapes", 4, 2)
    settings = [part for text in QUICK for part in ("--set", text)]
    data = ["--config", str(ROOT / "configs" / "shapes.toml"), "--data", str(folder / "shapes")]
    assert cli.run(["train", *data, *settings, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    calibration = Calibration()
    calibration.shared_ = np.array([-2.0, 0.5])
    calibration.sigmoids_ = np.tile(calibration.shared_, (7, 1))
    write_arrays(copy / CALIBRATION, calibration.state())
    return copy


def test_what_ships_is_half_as_large_names_no_folder_and_finds_the_same(
    trained: Path, run: Path, tmp_path: Path
) -> None:
    size = ship_run(run, tmp_path / "shipped", root="data/shapes")
    assert size == sum(path.stat().st_size for path in (tmp_path / "shipped").glob("*.safetensors"))
    assert size < 0.6 * sum(path.stat().st_size for path in run.glob("*.safetensors"))
    assert 'root = "data/shapes"' in (tmp_path / "shipped" / "config.toml").read_text()
    assert str(tmp_path) not in (tmp_path / "shipped" / "config.toml").read_text()
    assert read_arrays(tmp_path / "shipped" / "head.safetensors")["fc6.first.weight"].dtype == np.float16
    before, after = (Detector.load(folder, precision="float32") for folder in (run, tmp_path / "shipped"))
    picture = read_image(next((trained.parent / "shapes").rglob("JPEGImages/test_*.jpg")))
    windows = before.proposals.propose(picture, "")
    seen = [each.candidates(picture, windows) for each in (before, after)]
    in_both = np.intersect1d(*(each.windows * 7 + each.labels for each in seen))
    assert len(in_both) > 0.9 * len(seen[0])
    assert abs(seen[0].scores.mean() - seen[1].scores.mean()) < 0.01


def test_a_detector_may_look_at_other_scales_than_it_was_trained_at(trained: Path, run: Path, tmp_path: Path) -> None:
    """As if `maps.scales` were changed at each use."""
    plain, asked = (load_detector(run, overrides) for overrides in ((), ["maps.scales=[160, 400]"]))
    text = (run / "config.toml").read_text()
    assert text.count("scales = []") == 1
    (run / "config.toml").write_text(text.replace("scales = []", "scales = [160, 400]"))
    own = Detector.load(run, precision="float32")
    ship_run(run, tmp_path / "shipped")
    shipped = Detector.load(tmp_path / "shipped")
    assert [each.regions.scales for each in (plain, asked, own, shipped)] == [(160,), *[(160, 400)] * 3]
    picture = read_image(next((trained.parent / "shapes").rglob("JPEGImages/test_*.jpg")))
    windows = plain.proposals.propose(picture, "")
    seen = [each.candidates(picture, windows).scores for each in (plain, asked, own)]
    assert np.array_equal(seen[1], seen[2])
    assert not np.array_equal(seen[0], seen[2])


def test_what_cannot_ship(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "LARGEST", 1000)
    with pytest.raises(DataError, match=r"shipped: [\d,]+ bytes are more than the 1,000 that may ship"):
        ship_run(run, tmp_path / "shipped")
    assert not (tmp_path / "shipped" / "detector.json").exists()
    (run / CALIBRATION).unlink()
    with pytest.raises(ConfigError, match="is not calibrated; spp-det calibrate does that"):
        ship_run(run, tmp_path / "shipped")
    with pytest.raises(DataError, match="there is no such run"):
        ship_run(tmp_path / "nowhere", tmp_path / "shipped")


def test_the_shipped_detector_is_small_and_finds_the_cat_and_the_person() -> None:
    from skimage import data

    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= shipping.LARGEST
    detector = Detector.load(SHIPPED)
    assert detector.usual_threshold == {"min_probability": 0.5}
    for picture, name, (x, y) in ((data.chelsea(), "cat", (225, 150)), (data.astronaut(), "person", (225, 150))):
        found = spp_det.detect(picture)
        assert name in found.names
        best = found.boxes[found.names.index(name)]
        assert best[0] < x < best[2]
        assert best[1] < y < best[3]  # the face
        assert found.probabilities is not None
        assert found.probabilities.min() >= 0.5
    assert len(spp_det.detect(data.chelsea(), min_probability=1.0)) == 0
