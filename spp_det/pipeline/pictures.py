"""Where the pictures to look at come from: files, folders, patterns, videos, standard input."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from spp_det.errors import DataError
from spp_det.images import MAX_PIXELS, decode_image
from spp_det.structures import Image

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm")  # what is taken from a folder
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
STANDARD_INPUT = "-"
# FFmpeg looks at what is in a file, whatever its name, and follows playlists to other files: containers alone are read.
_FFMPEG = "protocol_whitelist;file|format_whitelist;mov,avi,matroska,webm,mpeg,mpegvideo,mpegts,flv,asf"
_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # the variable that OpenCV reads them from, at each opening


@dataclass(frozen=True)
class Source:
    """One file to look at, or standard input. name: what results call it; stem: of the files that are written of it."""

    name: str

    @property
    def stem(self) -> str:
        """The name without folder and ending."""
        return "stdin" if self.name == STANDARD_INPUT else Path(self.name).stem

    @property
    def shown(self) -> str:
        """The name in a message."""
        return "standard input" if self.name == STANDARD_INPUT else self.name

    @property
    def is_video(self) -> bool:
        """Whether its ending is a video's."""
        return Path(self.name).suffix.lower() in VIDEOS


@dataclass(frozen=True)
class Sight:
    """One thing to look at: a picture, or a frame of a video.

    number, seconds: which frame of its video, from 0, and when; None for a picture.
    rate: frames a second of a video, those that are left out aside.
    """

    source: Source
    number: int | None = None
    seconds: float | None = None
    rate: float = 0.0

    def __str__(self) -> str:
        return self.source.shown if self.number is None else f"{self.source.shown}, frame {self.number}"

    @property
    def stem(self) -> str:
        """A name for files of this frame alone."""
        return self.source.stem if self.number is None else f"{self.source.stem}_{self.number:06d}"

    def frame(self, image: Image) -> Frame:
        """The same with its pixels, uint8 [H, W, 3]."""
        return Frame(self.source, self.number, self.seconds, self.rate, image=image)


@dataclass(frozen=True, eq=False)
class Frame(Sight):
    """A sight with its image, uint8 [H, W, 3]."""

    image: Image = field(kw_only=True)


def find_sources(words: Iterable[str]) -> list[Source]:
    """What the words of a command line name: a file, a folder's pictures and videos, a pattern such as *.jpg, or "-".

    A folder and a pattern give their files sorted by name. Raises DataError for a word that names nothing.
    """
    return [Source(name) for word in words for name in _names(word)]


def _names(word: str) -> list[str]:
    path = Path(word)
    if word == STANDARD_INPUT or path.is_file():
        return [word]
    if path.is_dir():
        found = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in (*PICTURES, *VIDEOS))
        if not found:
            raise DataError(word, "holds no picture and no video")
        return found
    matching = sorted(name for name in glob.glob(word, recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not matching:
        raise DataError(word, "no file is called so" if glob.has_magic(word) else "there is no such file or folder")
    return matching


def count_frames(sources: Iterable[Source], every: int = 1) -> int:
    """How many frames there are to look at, as the videos state it."""
    return sum(-(-_stated_frames(source) // every) if source.is_video else 1 for source in sources)


def find_sights(sources: Iterable[Source], every: int = 1) -> Iterator[tuple[Sight, str | Image | DataError]]:
    """What there is to look at, in order: each picture by its path, and each `every`th frame of a video by its pixels.

    In place of what cannot be read stands the DataError that says so; pictures are not read here.
    """
    for source in sources:
        try:
            if source.is_video:
                yield from _video_frames(source, every)
            elif source.name == STANDARD_INPUT:
                yield Sight(source), decode_image(sys.stdin.buffer.read(), source.shown)
            else:
                yield Sight(source), source.name
        except DataError as fault:
            yield Sight(source), fault


def _video_frames(source: Source, every: int) -> Iterator[tuple[Sight, Image]]:
    video = _open_video(source)
    rate = video.get(cv2.CAP_PROP_FPS) or 25.0  # some files do not say
    number = 0
    try:
        while video.grab():
            if number % every == 0:
                taken, pixels = video.retrieve()
                if not taken:
                    raise DataError(source.name, f"its frame {number} cannot be decoded")
                image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
                yield Sight(source, number, round(number / rate, 3), rate / every), image
            number += 1
    finally:
        video.release()
    if not number:
        raise DataError(source.name, "is a video without a frame that can be read")


def _stated_frames(source: Source) -> int:
    video = _open_video(source)
    try:
        return max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        video.release()


def _open_video(source: Source) -> cv2.VideoCapture:
    os.environ.setdefault(_FFMPEG_OPTIONS, _FFMPEG)
    video = cv2.VideoCapture(source.name, cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise DataError(source.name, "is not a video that can be read")
    if video.get(cv2.CAP_PROP_FRAME_WIDTH) * video.get(cv2.CAP_PROP_FRAME_HEIGHT) > MAX_PIXELS:
        video.release()
        raise DataError(source.name, f"has frames of more than the {MAX_PIXELS:,} pixels that this program reads")
    return video
