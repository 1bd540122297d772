"""What the tests share: where real photographs lie, and threads set on purpose."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(2)
os.environ["SPP_DET_TRUST"] = "reference"  # the parts of the tests' own, which runs of theirs name

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOCdevkit folder with real photographs: $SPP_DET_VOC, or ../shared/voc/VOCdevkit beside the checkout."""
    path = Path(os.environ.get("SPP_DET_VOC", ROOT.parent / "shared" / "voc" / "VOCdevkit"))
    if not (path / "VOC2007").is_dir():
        pytest.skip("no VOC photographs here: set SPP_DET_VOC to a VOCdevkit folder")
    return path
