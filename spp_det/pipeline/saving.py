"""What is written of detections: pictures with boxes, JSON, COCO's JSON, CSV, YOLO's text files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Protocol

import cv2

from spp_det.detection.drawing import draw, save_image
from spp_det.errors import DataError
from spp_det.files import write_json, write_whole
from spp_det.pipeline.pictures import Frame
from spp_det.structures import Detections, Image


class Saver(Protocol):
    """Writes detections in one form into a folder."""

    def add(self, frame: Frame, detections: Detections) -> None:
        """Take the detections of a frame."""

    def close(self) -> None:
        """Write what is still to be written."""


def describe(frame: Frame, detections: Detections) -> dict[str, Any]:
    """The detections of a frame as JSON has them; boxes are (x1, y1, x2, y2) in pixels, a score is an SVM margin.

    A calibrated detector's have a probability too.
    """
    height, width = frame.image.shape[:2]
    moment = {} if frame.number is None else {"frame": frame.number, "seconds": frame.seconds}
    found: list[dict[str, Any]] = [
        {"class": name, "score": round(score, 4), "box": [round(float(value), 2) for value in box]}
        for box, score, name in detections
    ]
    if detections.probabilities is not None:
        for one, chance in zip(found, detections.probabilities.tolist(), strict=True):
            one["probability"] = round(chance, 4)
    return {"image": frame.source.name, **moment, "width": width, "height": height, "detections": found}


class DrawnPictures:
    """OUT/NAME.jpg with the boxes drawn in; of a video OUT/NAME.mp4."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._video: _VideoFile | None = None

    def add(self, frame: Frame, detections: Detections) -> None:
        """Draw a frame, and write it at once."""
        drawn = draw(frame.image, detections, min_score=float("-inf"))
        if not frame.source.is_video:
            save_image(self.out / f"{frame.stem}.jpg", drawn)
            return
        path = self.out / f"{frame.source.stem}.mp4"
        if self._video is None or self._video.path != path:
            self.close()
            self._video = _VideoFile(path, frame)
        self._video.add(drawn)

    def close(self) -> None:
        """End the video, if there is one."""
        if self._video is not None:
            self._video.close()
            self._video = None


class _VideoFile:
    """A video that is written aside, then renamed."""

    def __init__(self, path: Path, first: Frame) -> None:
        self.path, self.aside = path, path.with_name(f".{path.stem}.part.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = first.image.shape[:2]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        self.writer = cv2.VideoWriter(str(self.aside), codec, max(first.rate, 1.0), (width, height))
        if not self.writer.isOpened():
            raise DataError(path, "OpenCV cannot write a video here")

    def add(self, image: Image) -> None:
        self.writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self.writer.release()
        self.aside.replace(self.path)


class JsonFile:
    """OUT/detections.json: a list of what `describe` says of each image."""

    def __init__(self, out: Path) -> None:
        self.path, self.rows = out / "detections.json", list[dict[str, Any]]()

    def add(self, frame: Frame, detections: Detections) -> None:
        """Take the detections of a frame."""
        self.rows.append(describe(frame, detections))

    def close(self) -> None:
        """Write the file."""
        write_json(self.path, self.rows)


class CocoFile:
    """OUT/coco.json: images, categories and scored annotations; boxes are [x, y, width, height], ids count from 1."""

    def __init__(self, out: Path) -> None:
        self.path = out / "coco.json"
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.class_names: tuple[str, ...] = ()

    def add(self, frame: Frame, detections: Detections) -> None:
        """Take the detections of a frame."""
        height, width = frame.image.shape[:2]
        image_id = len(self.images) + 1
        name = frame.source.name if frame.number is None else f"{frame.source.name}#{frame.number}"
        self.images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        self.annotations += detections.to_coco(image_id, len(self.annotations) + 1)
        self.class_names = detections.class_names

    def close(self) -> None:
        """Write the file."""
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(self.class_names)]
        found = {"images": self.images, "categories": categories, "annotations": self.annotations}
        write_json(self.path, found)


class CsvFile:
    """OUT/detections.csv, a line a detection."""

    HEAD = ("image", "frame", "class", "score", "probability", "x1", "y1", "x2", "y2")

    def __init__(self, out: Path) -> None:
        self.path, self.text = out / "detections.csv", io.StringIO(newline="")
        self.writer = csv.writer(self.text)
        self.writer.writerow(self.HEAD)

    def add(self, frame: Frame, detections: Detections) -> None:
        """Take the detections of a frame."""
        number = "" if frame.number is None else frame.number
        for found in describe(frame, detections)["detections"]:
            chance = found.get("probability", "")
            self.writer.writerow([frame.source.name, number, found["class"], found["score"], chance, *found["box"]])

    def close(self) -> None:
        """Write the file."""
        write_whole(self.path, self.text.getvalue().encode())


class YoloFiles:
    """OUT/labels/NAME.txt, a line "label x y width height" a detection, centre and sides as shares of the image's, and
    behind them the probability where the detector is calibrated; and OUT/classes.txt, the names of the labels.
    """

    def __init__(self, out: Path) -> None:
        self.out = out

    def add(self, frame: Frame, detections: Detections) -> None:
        """Write the file of a frame at once; it is empty where nothing was found."""
        height, width = frame.image.shape[:2]
        lines = []
        chances = None if detections.probabilities is None else detections.probabilities.tolist()
        for row, ((x1, y1, x2, y2), label) in enumerate(
            zip(detections.boxes.tolist(), detections.labels.tolist(), strict=True)
        ):
            shares = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
            shares += [] if chances is None else [chances[row]]
            lines.append(" ".join([str(label), *(f"{share:.6f}" for share in shares)]) + "\n")
        write_whole(self.out / "labels" / f"{frame.stem}.txt", "".join(lines).encode())
        write_whole(self.out / "classes.txt", "".join(f"{name}\n" for name in detections.class_names).encode())

    def close(self) -> None:
        """All is written."""


SAVERS: dict[str, type[DrawnPictures | JsonFile | CocoFile | CsvFile | YoloFiles]] = {
    "drawn": DrawnPictures,
    "json": JsonFile,
    "coco": CocoFile,
    "csv": CsvFile,
    "yolo": YoloFiles,
}
