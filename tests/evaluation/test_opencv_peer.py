"""OpenCV's selective search in its own environment: what it answers, and what a user reads where it cannot."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from spp_det.errors import ConfigError
from spp_det.evaluation.peers import OpenCVPeer
from spp_det.structures import check_boxes

PEERS = Path(__file__).parents[2] / ".venv-peers"
IMAGE = np.kron(np.random.default_rng(0).integers(0, 256, (6, 8, 3)), np.ones((12, 12, 1))).astype(np.uint8)


def environment(folder: Path, script: str) -> Path:
    """A folder whose bin/python is a shell script."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return folder


def test_a_missing_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no environment .*: make peers$"):
        OpenCVPeer(tmp_path / "none")


@pytest.mark.skipif(hasattr(cv2, "ximgproc"), reason="this OpenCV has selective search")
def test_an_environment_with_the_other_opencv(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"without ximgproc.*make peers$"):
        OpenCVPeer(environment(tmp_path, f'exec "{sys.executable}" "$@"'))


def test_a_process_that_fails(tmp_path: Path) -> None:
    broken = environment(tmp_path, "echo 'Traceback' >&2; echo 'ImportError: no cv2' >&2; exit 1")
    with pytest.raises(ConfigError, match=r"ImportError: no cv2; remove the folder") as fault:
        OpenCVPeer(broken)
    assert "\n" not in str(fault.value)


def test_a_process_that_ends_in_between(tmp_path: Path) -> None:
    quitter = environment(tmp_path, """echo '{"version": "0"}'; exit 3""")
    with OpenCVPeer(quitter) as peer, pytest.raises(ConfigError, match="without a word"):
        peer.selective_search(IMAGE, "fast", 1)


@pytest.mark.skipif(not PEERS.exists(), reason="no opencv-contrib-python here: make peers")
def test_windows_of_opencv() -> None:
    with OpenCVPeer(PEERS) as peer:
        assert peer.version[0].isdigit()
        found = {mode: peer.selective_search(IMAGE, mode, 1) for mode in ("fast", "quality")}
    for boxes, seconds in found.values():
        assert seconds > 0
        assert boxes.dtype == np.float32
        check_boxes(boxes)
        assert (boxes[:, 2:] <= [96, 72]).all()
        assert [0, 0, 96, 72] in boxes.tolist()
        assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert len(found["quality"][0]) > len(found["fast"][0])


@pytest.mark.skipif(not PEERS.exists(), reason="no opencv-contrib-python here: make peers")
def test_opencv_sees_colours_in_order() -> None:
    """Regions that differ in blue alone, which weighs least in gray, are found where they are."""
    image = np.zeros((80, 120, 3), np.uint8)
    image[20:60, 30:90, 2] = 255
    with OpenCVPeer(PEERS) as peer:
        boxes, _ = peer.selective_search(image, "fast", 1)
    assert (np.abs(boxes - [30, 20, 90, 60]).max(axis=1) <= 3).any()
