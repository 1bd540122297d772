"""Several runs tested as one, by the command and from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spp_det import Detector
from spp_det.config import load_config
from spp_det.datasets import make_shapes
from spp_det.detection.ensemble import Ensemble
from spp_det.errors import ConfigError
from spp_det.files import read_json
from spp_det.pipeline import evaluate_ensemble, evaluate_run, train

ROOT = Path(__file__).parent.parent
QUICK = [
    "precision=float32",
    "data.options={train=4, test=3}",
    "maps.scales=[160]",
    "finetune.iterations=10",
    "finetune.hidden=[16, 16]",
    "proposals.max_windows=80",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two fine-tunings of one convolutional network."""
    root = tmp_path_factory.mktemp("ensemble")
    make_shapes(root / "shapes", 4, 3)
    folders = []
    for rate in (1, 2):
        settings = [*QUICK, f"finetune.bias_rate={rate}"]
        config = load_config(ROOT / "configs" / "shapes.toml", settings, data__root=str(root / "shapes"))
        train(config, root / "runs" / f"rate{rate}")
        folders.append(root / "runs" / f"rate{rate}")
    return folders


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(ROOT / "tools" / "test_net.py"), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_with_several_runs_and_with_a_configuration(runs: list[Path]) -> None:
    done = tool("--run", *runs)
    assert done.returncode == 0, done.stderr
    assert f"together: {runs[0]} + {runs[1]}" in done.stdout
    assert "average precision, test, 3 images" in done.stdout
    metrics = read_json(runs[0].parent / "rate1+rate2" / "metrics.json")
    assert metrics["runs"] == [str(run) for run in runs]
    path = runs[0].parent / "both.toml"
    text = (runs[0] / "config.toml").read_text()
    path.write_text(f"{text}\n[ensemble]\nruns = {[str(run) for run in runs]}\n")
    out = runs[0].parent / "both"
    done = tool("--run", *runs, "--combine", "mean")
    assert done.returncode == 0, done.stderr
    mean = read_json(runs[0].parent / "rate1+rate2+mean" / "metrics.json")
    by_mean = path.with_name("mean.toml")
    by_mean.write_text(path.read_text() + 'combine = "mean"\n')
    assert evaluate_ensemble([], by_mean, out.with_name("mean"))["voc07"]["map"] == mean["voc07"]["map"]
    assert Ensemble.load(by_mean).combine == "mean"
    again = evaluate_ensemble([], path, out)
    assert again["voc07"]["map"] == metrics["voc07"]["map"]
    assert (out / "metrics.json").is_file()
    with pytest.raises(ConfigError, match="joins runs that are trained already"):
        train(load_config(path), out)
    picture = next((runs[0].parent.parent / "shapes").rglob("test_*.jpg"))
    found = [each.detect(picture) for each in (Ensemble.load(path), Ensemble.load(runs), Detector.ensemble(runs))]
    assert len(found[0]) > 0
    for other in found[1:]:
        assert np.array_equal(found[0].scores, other.scores)
    assert not np.array_equal(found[0].scores, Ensemble.load(by_mean).detect(picture).scores)


def test_one_run_together_is_that_run(runs: list[Path]) -> None:
    alone = evaluate_run(runs[0])
    together = evaluate_ensemble(runs[:1], out=runs[0].parent / "one")
    for name in ("voc07", "voc10", "voc07_without_regression"):
        assert together[name]["ap"] == pytest.approx(alone[name]["ap"], nan_ok=True)


def test_wrong_usage_and_runs_that_do_not_fit(runs: list[Path], tmp_path: Path) -> None:
    assert tool("--run", *runs, "--timing").returncode == 2
    assert tool("--run", runs[0], "--out", tmp_path).returncode == 2
    assert tool("--run", runs[0], "--config", "x.toml").returncode == 2
    assert tool("--run", runs[0], "--combine", "mean").returncode == 2
    done = tool("--run", runs[0], tmp_path / "none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none" in done.stderr
