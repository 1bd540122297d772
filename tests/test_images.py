from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from PIL import ImageOps

from spp_det.errors import DataError
from spp_det.images import MAX_PIXELS, decode_image, flip_image, image_size, read_image, resize, scaled_size


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    """Smooth, unlike its own mirror images: JPEG keeps it to a few levels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 / width, y * 255 / height, (x + y) * 127 / (width + height)], axis=2).astype(np.uint8)


def jpeg(image: PillowImage.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def png16(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG, written by hand since Pillow writes no 16-bit RGB. samples: uint16 [H, W] or [H, W, channels]."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def assert_is_image(image: np.ndarray, size: tuple[int, int]) -> None:
    assert image.dtype == np.uint8
    assert image.shape == (*size, 3)
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_rgb_png_is_read_exactly(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert_is_image(image, (24, 40))
    np.testing.assert_array_equal(image, picture())


def test_rgb_jpeg_is_read_as_opencv_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(PillowImage.fromarray(picture())))
    difference = read_image(str(path)).astype(int) - cv2.imread(str(path))[..., ::-1]
    assert abs(difference).max() <= 2


def test_gray_becomes_rgb(tmp_path: Path) -> None:
    gray = picture()[..., 0]
    PillowImage.fromarray(gray).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert_is_image(image, (24, 40))
    np.testing.assert_array_equal(image, np.repeat(gray[..., None], 3, axis=2))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = PillowImage.fromarray(picture()[..., 0] > 100).convert("1")
    bits.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[..., 1], (picture()[..., 0] > 100) * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    solid = PillowImage.new(mode, (3, 1), (100, 100, 100, 255) if mode == "RGBA" else (100, 255))
    solid.putpixel((1, 0), (100, 100, 100, 0) if mode == "RGBA" else (100, 0))
    solid.putpixel((2, 0), (100, 100, 100, 128) if mode == "RGBA" else (100, 128))
    solid.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[0, :2].tolist() == [[100] * 3, [255] * 3]
    assert abs(image[0, 2].astype(int) - 177).max() <= 1  # half of 100, half of white


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    image = PillowImage.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=1)
    assert read_image(tmp_path / "a.png")[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    image.save(tmp_path / "b.png")
    assert read_image(tmp_path / "b.png")[0].tolist() == [[10, 20, 30], [200, 100, 50]]


def test_cmyk_jpeg_as_adobe_stores_it(tmp_path: Path) -> None:
    """Pillow's writer, like Adobe's, stores the inks inverted."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(PillowImage.fromarray(picture()).convert("CMYK")))
    assert b"Adobe" in path.read_bytes()
    image = read_image(path)
    assert_is_image(image, (24, 40))
    assert abs(image.astype(int) - picture()).max() <= 6
    assert abs(image.astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 6  # another reader's opinion


def test_ycck_jpeg(tmp_path: Path) -> None:
    """The inks' Y, Cb, Cr in the planes of C, M, Y, and the Adobe marker's transform set to 2, which says so."""
    ycc = np.asarray(PillowImage.fromarray(255 - picture()).convert("YCbCr"))
    planes = np.concatenate([255 - ycc, np.zeros((24, 40, 1), np.uint8)], axis=2)  # K = 0, no black; stored inverted
    content = bytearray(jpeg(PillowImage.fromarray(planes, "CMYK")))
    transform = content.index(b"Adobe") + 11
    assert content[transform] == 0
    content[transform] = 2
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    image = read_image(path)
    assert abs(image.astype(int) - cv2.imread(str(path))[..., ::-1]).max() <= 6
    assert abs(image.astype(int) - picture()).max() <= 12


def test_gray_of_16_bits_is_scaled_by_its_range_not_by_its_values(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535, 128 * 257, 300, 200]], np.uint16)
    (tmp_path / "a.png").write_bytes(png16(values, 0))
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 255, 128, 1, 1]
    (tmp_path / "dark.png").write_bytes(png16(values[:, [0, 5]], 0))  # nothing above 255: still 16 bits
    assert read_image(tmp_path / "dark.png")[0, :, 2].tolist() == [0, 1]


def test_rgb_of_16_bits(tmp_path: Path) -> None:
    values = picture().astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(png16(values, 2))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture())


def test_16_bit_gray_of_other_formats(tmp_path: Path) -> None:
    values = (picture()[..., 0].astype(np.uint16) * 257).astype(np.uint16)
    PillowImage.fromarray(values).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5\n40 24\n65535\n" + values.astype(">u2").tobytes())
    for name in ("a.tif", "a.pgm"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[..., 0], picture()[..., 0])


def test_samples_without_a_stated_range_are_refused(tmp_path: Path) -> None:
    PillowImage.fromarray(picture()[..., 0].astype(np.float32)).save(tmp_path / "a.tif")
    PillowImage.fromarray(picture()[..., 0].astype(np.int32)).save(tmp_path / "b.tif")
    for name in ("a.tif", "b.tif"):
        with pytest.raises(DataError, match=f"{name}: has 32-bit samples"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    turns = {  # what was done to the upright picture before it was stored
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, 1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(turns[orientation](picture()))
    for path, limit in ((tmp_path / "a.png", 0), (tmp_path / "a.jpg", 8)):
        PillowImage.fromarray(stored).save(path, exif=exif, **({"quality": 95} if limit else {}))
        image = read_image(path)
        assert_is_image(image, (24, 40))
        assert abs(image.astype(int) - picture()).max() <= limit
        assert image_size(path) == (24, 40)


def test_orientation_of_16_bits(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[..., 0].tolist() == [[0], [255]]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_one_pixel_wide(tmp_path: Path, size: tuple[int, int]) -> None:
    for name in ("a.png", "a.jpg"):
        PillowImage.fromarray(np.full((*size, 3), 77, np.uint8)).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert_is_image(image, size)
        assert (image == 77).all()
        assert image_size(tmp_path / name) == size


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.98])
def test_truncated_jpeg_does_not_pass(tmp_path: Path, share: float, progressive: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    whole = jpeg(PillowImage.fromarray(noise), progressive=progressive)
    path = tmp_path / "cut.jpg"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=r"cut\.jpg: is a broken image \("):
        read_image(path)


def test_truncated_png_does_not_pass(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    PillowImage.fromarray(noise).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:9000])
    with pytest.raises(DataError, match="is a broken image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is not an image"),
        (b"<html>404</html>", "is not an image"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "broken|not an"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=rf"a\.jpg: .*({fault})"):
            read(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"nothing\.jpg: there is no such image"):
            read(tmp_path / "nothing.jpg")
        with pytest.raises(DataError, match="is a folder, not an image"):
            read(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 14_000, 60_000])
def test_decompression_bomb(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    content = bytearray(png16(np.zeros((1, 1), np.uint16), 0))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(DataError, match="more pixels"):
        read_image(tmp_path / "bomb.png")


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"]), st.data())
def test_damaged_bytes_give_an_image_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, kind: str, data) -> None:
    stream = io.BytesIO()
    PillowImage.fromarray(picture(12, 16)).save(stream, kind)
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged.{kind.lower()}"
    path.write_bytes(content)
    try:
        image = read_image(path)
    except DataError:
        return
    assert_is_image(image, image.shape[:2])
    assert image_size(path) == image.shape[:2]


def test_scaled_size() -> None:
    assert scaled_size((300, 400), 600) == (600, 800)
    assert scaled_size((500, 333), 600) == (901, 600)
    assert scaled_size((1, 1000), 1) == (1, 1000)
    assert scaled_size((2000, 3), 1) == (667, 1)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1200))
def test_scaled_size_has_the_short_side_asked_for(height: int, width: int, short: int) -> None:
    size = scaled_size((height, width), short)
    assert min(size) == short
    assert max(size) == pytest.approx(short * max(height, width) / min(height, width), abs=0.5)


def test_resize_is_bilinear() -> None:
    image = np.repeat(np.array([[0, 100], [100, 200]], np.uint8)[..., None], 3, axis=2)
    assert resize(image, (2, 2)) is image
    assert resize(image, (4, 4))[..., 0].tolist()[0] == [0, 25, 75, 100]
    assert resize(picture(), (7, 1)).shape == (7, 1, 3)


def test_flip_image() -> None:
    flipped = flip_image(picture())
    assert_is_image(flipped, (24, 40))
    np.testing.assert_array_equal(flipped, np.asarray(ImageOps.mirror(PillowImage.fromarray(picture()))))
    np.testing.assert_array_equal(flip_image(flipped), picture())


def test_the_bytes_of_a_file_give_what_the_file_gives(tmp_path):
    path = tmp_path / "x.png"
    PillowImage.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 5, 3)).save(path)
    assert np.array_equal(decode_image(path.read_bytes(), "it"), read_image(path))
    with pytest.raises(DataError, match="it: is not an image"):
        decode_image(b"", "it")
