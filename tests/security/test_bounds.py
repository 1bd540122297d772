"""Files that someone else made: nothing in them is followed, or unpacked beyond its bounds."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from reference.pictures import seen

from spp_det.config import load_config
from spp_det.datasets import YoloDataset
from spp_det.datasets.unpacking import unpack_tar
from spp_det.datasets.voc_annotations import read_annotation
from spp_det.errors import DataError, SppDetError, WeightsError
from spp_det.files import read_arrays, read_json, read_npz
from spp_det.images import image_size, read_image
from spp_det.networks.weights import read_tensors
from spp_det.pipeline.pictures import Source, count_frames


def test_an_npz_takes_no_more_memory_than_it_says(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(1 << 20))
    assert path.stat().st_size < 1 << 14
    with pytest.raises(DataError, match="more than 1,000,000 bytes unpacked"):
        read_npz(path, max_bytes=1_000_000)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", header.getvalue())
    with pytest.raises(DataError, match=r"claims the shape \[1099511627776\]"):
        read_npz(path)


def test_a_tensor_with_more_numbers_than_its_file(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1, dtype=torch.float64).expand(1 << 20, 1 << 20)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="w claims 1099511627776 numbers"):
        read_tensors(tmp_path / "net.pth")
    torch.save({"w": torch.ones(3, device="meta")}, tmp_path / "meta.pth")
    with pytest.raises(WeightsError, match="no plain tensor"):
        read_tensors(tmp_path / "meta.pth")


def test_a_safetensors_header_that_claims_too_much(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    for length in (len(header), 1 << 40, (1 << 64) - 1):
        (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header)
        with pytest.raises(DataError, match="is not a safetensors file"):
            read_arrays(tmp_path / "a.safetensors")
        with pytest.raises(WeightsError, match="broken weight file"):
            read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["json", "toml", "yaml"])
def test_nested_too_deep_or_numbers_too_long(tmp_path: Path, kind: str) -> None:
    read: Callable[[Path], Any] = {"json": read_json, "toml": load_config, "yaml": YoloDataset}[kind]
    path, lead = tmp_path / f"a.{kind}", "a = " if kind == "toml" else ""
    for text in ("[" * 100_000, lead + "[" * 100_000 + "]" * 100_000, lead + "9" * 5_000):
        path.write_text(text)
        with pytest.raises(SppDetError, match=rf"a\.{kind}: "):
            read(path)


def test_yaml_names_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "data.yaml").write_text("\n".join([*lines, "names: [*a11]", "train: ."]))
    with pytest.raises(DataError, match="has a reference"):
        YoloDataset(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "names: {0: cat, x: dog}\ntrain: .",
        "names: {~: cat}\ntrain: .",
        f"names: [cat]\ntrain: {'x' * 300}",
        f"names: [cat]\npath: {'x' * 300}\ntrain: nowhere",
    ],
)
def test_what_the_fuzzer_found_in_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError):
        YoloDataset(tmp_path)


def test_xml_reads_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]><annotation>&e;</annotation>'
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match="document type") as caught:
        read_annotation(tmp_path / "a.xml", ("a",), lambda: (9, 9))
    assert "secret" not in str(caught.value)


def test_a_picture_that_is_a_program(tmp_path: Path) -> None:
    """EPS is PostScript, which Pillow hands to Ghostscript."""
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\nshowpage\n%%EOF\n"
    )
    for read in (read_image, image_size):
        with pytest.raises(DataError, match="is not an image that can be read"):
            read(tmp_path / "a.jpg")


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "CMYK"])
def test_large_images_are_converted_in_strips_to_the_same_pixels(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (37, 20, 4), np.uint8)
    if mode == "I;16":
        image = PillowImage.fromarray(values[..., :2].copy().view(np.uint16)[..., 0])
    else:
        image = PillowImage.fromarray(values, "RGBA" if mode != "CMYK" else "CMYK")
        image = image.quantize(8) if mode == "P" else image
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    whole = read_image(path)
    monkeypatch.setattr("spp_det.images._STRIP", 45)  # two rows at a time
    np.testing.assert_array_equal(read_image(path), whole)


READ_WITHIN = """
import resource, sys
from pathlib import Path
from spp_det.errors import DataError
from spp_det.images import read_image

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
try:
    read_image(sys.argv[1])
except DataError as fault:
    print(fault)
"""


def test_a_png_whose_chunk_claims_more_memory_than_there_is(tmp_path: Path) -> None:
    stream = io.BytesIO()
    PillowImage.new("RGB", (32, 24)).save(stream, "PNG")
    content, path = stream.getvalue(), tmp_path / "a.png"
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + struct.pack(">I", 2**31 - 1) + content[at + 4 :])
    done = subprocess.run([sys.executable, "-c", READ_WITHIN, path], capture_output=True, text=True, check=False)
    assert done.stdout == f"{path}: asks for more memory than there is\n", done.stderr


def test_a_video_that_is_a_list_of_other_files(tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "real.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5.0, (64, 48))
    for _ in range(3):
        video.write(np.zeros((48, 64, 3), np.uint8))
    video.release()
    assert count_frames([Source(str(tmp_path / "real.mp4"))]) == 3
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile real.mp4\n")
    with pytest.raises(DataError, match="is not a video that can be read"):
        list(seen(tmp_path / "list.mp4"))


def test_a_video_of_huge_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    video.write(np.zeros((48, 64, 3), np.uint8))
    video.release()
    monkeypatch.setattr("spp_det.pipeline.pictures.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match="has frames of more than"):
        list(seen(tmp_path / "a.avi"))


def tar(*members: tuple[str, bytes, bytes]) -> bytes:
    """(name, type, content or the target of a link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = content.decode() if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            member.size = len(content) if kind == tarfile.REGTYPE else 0
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


FILE = tarfile.REGTYPE
ARCHIVES = {
    "above": (tar(("../evil", FILE, b"x")), "cannot be unpacked"),
    "above, later": (tar(("a/../../evil", FILE, b"x")), "cannot be unpacked"),
    "absolute": (tar(("/tmp/spp_det_evil", FILE, b"x")), "cannot be unpacked"),
    "symbolic link": (tar(("a", tarfile.SYMTYPE, b".."), ("a/evil", FILE, b"x")), "neither a file nor"),
    "hard link": (tar(("evil", tarfile.LNKTYPE, b"../secret")), "neither a file nor"),
    "device": (tar(("evil", tarfile.CHRTYPE, b"")), "neither a file nor"),
    "pipe": (tar(("evil", tarfile.FIFOTYPE, b"")), "neither a file nor"),
    "too large": (tar(("a", FILE, bytes(600)), ("b", FILE, bytes(600))), "more than 10 files, or 1,000 bytes"),
    "too many": (tar(*((f"{n}", FILE, b"") for n in range(11))), "more than 10 files, or 1,000 bytes"),
    "cut short": (tar(("a", FILE, bytes(900)))[:1000], "cannot be unpacked"),
    "no archive": (b"no tar", "cannot be unpacked"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_stays_in_its_folder_and_its_bounds(tmp_path: Path, name: str) -> None:
    content, fault = ARCHIVES[name]
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "a.tar").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=rf"a\.tar: .*{fault}"):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out", max_bytes=1000, max_files=10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "out", "secret"]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink() or path.name == "evil"]
