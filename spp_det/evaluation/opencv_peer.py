"""OpenCV's selective search behind a pipe, timed where it runs.

Runs as a plain file under the Python of another environment, with opencv-contrib-python and numpy and nothing else.
Its first line says {"version": ..}, or {"error": ..} where OpenCV has no selective search. Then, for each line read:

    request   {"size": [height, width], "rgb": base64 of the uint8 pixels, "mode": "fast" or "quality", "threads": n}
    answer    {"boxes": [[x, y, width, height], ..], "seconds": s}
"""

from __future__ import annotations

import base64
import json
import sys
import time
from typing import Any

import cv2
import numpy as np


def main() -> None:
    """Answers requests until the input ends."""
    ximgproc = getattr(cv2, "ximgproc", None)
    if ximgproc is None:
        say({"error": f"OpenCV {cv2.__version__} was built without ximgproc, where its selective search is"})
        return
    cv2.setUseOptimized(True)
    say({"version": cv2.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        height, width = request["size"]
        rgb = np.frombuffer(base64.b64decode(request["rgb"]), np.uint8).reshape(height, width, 3)
        boxes, seconds = search(ximgproc.segmentation, rgb, request["mode"], request["threads"])
        say({"boxes": boxes.tolist(), "seconds": seconds})


def search(segmentation: Any, rgb: np.ndarray, mode: str, threads: int) -> tuple[np.ndarray, float]:
    """(boxes int32 [N, 4] of x, y, width, height, seconds) of an image, uint8 [H, W, 3], at OpenCV's own settings.

    segmentation: OpenCV's module of that name.
    """
    cv2.setNumThreads(threads)
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)  # what OpenCV's conversions to HSV and Lab expect
    start = time.perf_counter()
    method = segmentation.createSelectiveSearchSegmentation()
    method.setBaseImage(bgr)
    if mode == "fast":
        method.switchToSelectiveSearchFast()
    else:
        method.switchToSelectiveSearchQuality()
    boxes = method.process()
    return boxes, time.perf_counter() - start


def say(answer: dict[str, Any]) -> None:
    """One line of JSON."""
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
