"""A trained run, to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from reference.tiny_run import tiny_config

from spp_det.pipeline import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    train(tiny_config(folder / "shapes"), folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return Path(shutil.copytree(trained, tmp_path / "run"))
