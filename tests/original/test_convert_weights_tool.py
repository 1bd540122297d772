"""tools/convert_weights.py as a user runs it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from reference.caffe_wire import OLDEST, blob, layer, network

from spp_det.networks.weights import read_tensors

Run = Callable[..., tuple[int, str, str]]
TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_weights.py"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(TOOL), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name="__main__")
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_a_network(tmp_path: Path, run: Run) -> None:
    weight, bias = np.ones((4, 3, 5, 5), np.float32), np.zeros(4, np.float32)
    source, out = tmp_path / "finetune_voc_2007_trainval_iter_70k", tmp_path / "net.safetensors"
    source.write_bytes(network([layer("conv1", "convolution", [blob(weight), blob(bias)], OLDEST)]))
    code, printed, errors = run(source, "--out", out, "--list")
    assert (code, errors) == (0, "")
    assert [line.split(maxsplit=1) for line in printed.splitlines()[:2]] == [
        ["conv1.weight", "4 x 3 x 5 x 5"],
        ["conv1.bias", "4"],
    ]
    assert "2 tensors, 304 numbers" in printed
    assert run(source, "--list")[0] == 0
    assert list(read_tensors(out)) == ["conv1.bias", "conv1.weight"]


def test_a_model(tmp_path: Path, run: Run) -> None:
    classes = np.empty(2, object)
    classes[:] = ["cat", "dog"]
    model = {
        "classes": classes,
        "detectors": {"W": np.ones((2, 5)), "B": np.ones(2)},
        "training_opts": {"layer": 7, "feat_norm_mean": 3.0},
    }
    scipy.io.savemat(tmp_path / "model.mat", {"spp_model": model})
    code, printed, errors = run(tmp_path / "model.mat", "--out", tmp_path / "model")
    assert (code, errors) == (0, "")
    assert printed.split() == [str(tmp_path / "model" / name) for name in ("svms.safetensors", "svms.json")]


def test_mistakes(tmp_path: Path, run: Run) -> None:
    (tmp_path / "net.caffemodel").write_bytes(b"nothing")
    done = run(tmp_path / "net.caffemodel", "--out", tmp_path / "net.safetensors")
    assert done == (1, "", f"error: {tmp_path / 'net.caffemodel'}: is no .caffemodel, or is cut short\n")
    for wrong in ((), ("--out", tmp_path / "net.npz")):
        assert run(tmp_path / "net.caffemodel", *wrong)[0] == 2
    for wrong in ((), ("--out", tmp_path / "model.safetensors")):
        assert run(tmp_path / "model.mat", *wrong)[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel"]
