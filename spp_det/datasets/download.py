"""The official VOC archives."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from http.client import HTTPException
from os import PathLike
from pathlib import Path
from urllib.error import URLError

from spp_det.datasets.unpacking import unpack_tar
from spp_det.errors import DataError

MAX_FILES = 100_000  # of an archive; VOC2012's has 57,000


@dataclass(frozen=True)
class Archive:
    """One archive: where it is, its SHA-256, and its size. A tar does not compress, so nothing in it is larger."""

    url: str
    sha256: str
    size: int  # bytes

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.url.rpartition("/")[2]


_OXFORD = "https://thor.robots.ox.ac.uk/pascal/VOC"
DOWNLOADS = {  # the data set: its year, its archives
    "voc2007": (
        "2007",
        (
            Archive(
                f"{_OXFORD}/voc2007/VOCtrainval_06-Nov-2007.tar",
                "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508",
                460_032_000,
            ),
            Archive(
                f"{_OXFORD}/voc2007/VOCtest_06-Nov-2007.tar",
                "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892",
                451_020_800,
            ),
        ),
    ),
    "voc2012": (
        "2012",
        (
            Archive(
                f"{_OXFORD}/voc2012/VOCtrainval_11-May-2012.tar",
                "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
                1_999_639_040,
            ),
        ),
    ),
}


def download_voc(name: str, out: str | PathLike[str]) -> Path:
    """Download and unpack `voc2007` or `voc2012` into {out}/VOCdevkit/VOC{year}, and return that folder.

    Everything happens in {out}/.{name}.part, whose data folder is moved into place when all of it is there; so an
    interrupted download leaves nothing that looks whole. Started again, it takes the archives that had arrived. The
    archives are removed in the end.

    Raises DataError where the data are there already, the server cannot be reached, or an archive is not the official
    one (by its SHA-256) or reaches out of its folder.
    """
    year, archives = DOWNLOADS[name]
    folder = Path(out) / "VOCdevkit" / f"VOC{year}"
    if folder.exists():
        raise DataError(folder, "is there already; remove it to download it anew")
    part = Path(out) / f".{name}.part"
    part.mkdir(parents=True, exist_ok=True)
    try:
        for archive in archives:
            _fetch(archive, part / archive.name, Path(out))
            unpack_tar(part / archive.name, part, archive.size, MAX_FILES)
    finally:
        if not any(part.iterdir()):
            part.rmdir()
    folder.parent.mkdir(exist_ok=True)
    (part / "VOCdevkit" / f"VOC{year}").rename(folder)
    shutil.rmtree(part)
    return folder


def _fetch(archive: Archive, path: Path, out: Path) -> None:
    """The archive into a file, unless it is there. Raises DataError."""
    from torch.hub import download_url_to_file

    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == archive.sha256:
                return
    try:
        download_url_to_file(archive.url, str(path), archive.sha256)  # aside, and renamed if its hash is right
    except (URLError, ConnectionError, TimeoutError, HTTPException) as fault:
        by_hand = f"fetch {archive.name} by other means and unpack it: tar -xf {archive.name} -C {out}"
        text = f"cannot be reached ({fault}); {by_hand} (see data/README.md)"
        raise DataError(archive.url, text) from None
    except RuntimeError as fault:  # torch's word for a wrong hash
        text = f"did not arrive whole, or is not the official archive ({fault}); try again"
        raise DataError(archive.url, text) from None
