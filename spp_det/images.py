"""Read, resize and flip one image, uint8 [H, W, 3] RGB."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from os import PathLike
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as PillowImage

from spp_det.errors import DataError
from spp_det.places import as_path, is_remote
from spp_det.structures import Image, Size

MAX_PIXELS = 89_478_485  # a bound against decompression bombs, Pillow's own: 9,459 x 9,459
# Pillow looks at what is in a file, whatever its name, and for some formats (EPS) starts another program: only these.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
_STRIP = 1 << 22  # pixels that are converted at a time, so that a large image is not in memory several times over


def read_image(path: str | PathLike[str]) -> Image:
    """The image in a file: uint8 [H, W, 3], RGB, upright.

    Gray becomes RGB, transparency is laid on white, CMYK is converted, 16 bits become 8, and the EXIF orientation is
    applied. Raises DataError for a file that is missing, not an image of FORMATS, cut short, of over MAX_PIXELS pixels,
    or of samples whose range its format does not state (32-bit integers, floats).

    Pillow reads here since OpenCV returns a truncated JPEG as if it were whole.
    """
    return _read(path, path)


def decode_image(content: bytes, name: str) -> Image:
    """The image in the bytes of a file, as `read_image` gives it; `name` stands for the path in a DataError."""
    return _read(io.BytesIO(content), name)


def _read(source: str | PathLike[str] | io.BytesIO, path: str | PathLike[str]) -> Image:
    with _opened(source, path) as file:
        sixteen_bits = file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM"))
        if file.mode in ("I", "F") and not sixteen_bits:
            raise DataError(path, "has 32-bit samples, whose black and white no one states: store 8 or 16 bits")
        ImageOps.exif_transpose(file, in_place=True)
        return _in_strips(file, _from_16_bits if sixteen_bits else _from_8_bits)


def image_size(path: str | PathLike[str]) -> Size:
    """(height, width) of the upright image in a file, from its header alone. Raises DataError as `read_image` does."""
    with _opened(path, path) as file:
        width, height = file.size
        turned = file.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


@contextmanager
def _opened(source: str | PathLike[str] | io.BytesIO, path: str | PathLike[str]) -> Iterator[PillowImage.Image]:
    """The open file; whatever goes wrong with it in the block becomes a DataError that names the path."""
    try:
        with _file(source) as opened, PillowImage.open(opened, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise PillowImage.DecompressionBombError
            yield file
    except FileNotFoundError:
        raise DataError(path, "there is no such image") from None
    except IsADirectoryError:
        raise DataError(path, "is a folder, not an image") from None
    except UnidentifiedImageError:
        raise DataError(path, "is not an image that can be read") from None
    except (PillowImage.DecompressionBombWarning, PillowImage.DecompressionBombError):
        raise DataError(path, f"has more pixels than the {MAX_PIXELS:,} that this program reads") from None
    except MemoryError:  # as of a PNG whose last chunk claims 2 GB, which Pillow asks for at once
        raise DataError(path, "asks for more memory than there is") from None
    except (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error, zlib.error) as fault:
        raise DataError(path, f"is a broken image ({fault})") from None  # all that Pillow raises for broken files


def _file(source: str | PathLike[str] | io.BytesIO) -> AbstractContextManager[Any]:
    """What Pillow opens: a path or a stream, or the open file of an address."""
    if isinstance(source, io.BytesIO):
        return nullcontext(source)
    path = as_path(source)
    return path.open("rb") if is_remote(path) else nullcontext(path)


def _in_strips(image: PillowImage.Image, convert: Callable[[PillowImage.Image], Image]) -> Image:
    """uint8 [H, W, 3] of a Pillow image, some rows at a time."""
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        pixels[top:bottom] = convert(image.crop((0, top, width, bottom)))
    return pixels


def _from_16_bits(image: PillowImage.Image) -> Image:
    values = np.asarray(image).astype(np.uint32)  # 0 .. 65535
    if "transparency" in image.info:
        values[values == image.info["transparency"]] = 65535
    gray = ((values + 128) // 257).astype(np.uint8)  # 65535 / 257 = 255, rounded
    return np.repeat(gray[..., None], 3, axis=2)


def _from_8_bits(image: PillowImage.Image) -> Image:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = PillowImage.new("RGBA", image.size, "white")
        image = PillowImage.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def scaled_size(size: Size, short_side: int) -> Size:
    """The size whose shorter side is `short_side`, the other in proportion, rounded, at least one pixel."""
    height, width = size
    factor = short_side / min(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize(image: Image, size: Size) -> Image:
    """The image at another size: bilinear, not antialiased, as in the release (S:spp_features_convX.m:42-52)."""
    if image.shape[:2] == size:
        return image
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.uint8)


def flip_image(image: Image) -> Image:
    """The image mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])
