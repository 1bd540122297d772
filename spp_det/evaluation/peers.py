"""OpenCV's selective search as something to measure against.

It is in opencv-contrib-python, which cannot be installed beside opencv-python. So it lives in an environment of its
own, which `make peers` makes, and answers over a pipe (`opencv_peer.py`).
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np

from spp_det.errors import ConfigError
from spp_det.structures import Boxes, Image

SERVER = Path(__file__).with_name("opencv_peer.py")


class OpenCVPeer:
    """OpenCV's selective search in a process of its own, for a `with` block.

    environment: the virtual environment with opencv-contrib-python. Raises ConfigError where it is missing or lacks
    OpenCV's selective search.

    Attributes:
        version: OpenCV's.

    """

    def __init__(self, environment: str | PathLike[str]) -> None:
        self.environment = Path(environment)
        python = self.environment / "bin" / "python"
        if not python.exists():
            raise ConfigError(f"{self.environment}: there is no environment with OpenCV's selective search: make peers")
        self._process = subprocess.Popen(
            [python, SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.version: str = self._answer()["version"]

    def selective_search(self, image: Image, mode: str, threads: int) -> tuple[Boxes, float]:
        """(boxes float32 [N, 4], best first; seconds) of an image, uint8 [H, W, 3] RGB.

        The windows are all that OpenCV gives, of any size. mode: "fast" or "quality", at OpenCV's own settings. The
        seconds are those of the search alone, measured inside the other process.
        """
        request = {
            "size": image.shape[:2],
            "rgb": base64.b64encode(image.tobytes()).decode(),
            "mode": mode,
            "threads": threads,
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; `_answer` says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._answer()
        boxes = np.array(answer["boxes"], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, answer["seconds"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": last_line(self._process.stderr.read())}
        if "error" in answer:
            self._process.wait()
            raise ConfigError(f"{self.environment}: {answer['error']}; remove the folder, then: make peers")
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()


def last_line(text: str) -> str:
    """Of a traceback, what it says."""
    return (text.strip().splitlines() or ["OpenCV's process ended without a word"])[-1]
