"""`tools/benchmark.py proposals`, run from its arguments."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from reference.tools import load_tool

from spp_det.datasets import make_shapes
from spp_det.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_tool("benchmark")


def test_without_the_peers(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shapes(tmp_path / "shapes", 1, 1)
    monkeypatch.setattr(benchmark, "PEERS", tmp_path / ".venv-peers")
    with pytest.raises(ConfigError, match="make peers"):
        benchmark.main(["proposals", "--data", str(tmp_path / "shapes")])
    with pytest.raises(DataError, match="no such folder"):
        benchmark.main(["proposals", "--data", str(tmp_path / "none")])


def test_on_a_photograph(benchmark: ModuleType, voc_root: Path, tmp_path: Path) -> None:
    if not benchmark.PEERS.exists():
        pytest.skip("no opencv-contrib-python here: make peers")
    arguments = ["proposals", "--data", str(voc_root), "--images", "1", "--against", "opencv"]
    assert benchmark.main([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["images"] == 1
    assert figures["speedup"] > 0
    assert figures["quality"]["opencv"]["windows"] > 500
