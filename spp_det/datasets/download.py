"""The official VOC archives, by torchvision."""

from __future__ import annotations

import shutil
import tarfile
from http.client import HTTPException
from os import PathLike
from pathlib import Path
from urllib.error import URLError

from spp_det.errors import DataError

DOWNLOADS = {"voc2007": ("2007", ("trainval", "test")), "voc2012": ("2012", ("trainval",))}  # year, torchvision's sets


def download_voc(name: str, out: str | PathLike[str]) -> Path:
    """Download and unpack `voc2007` or `voc2012` into {out}/VOCdevkit/VOC{year}, and return that folder.

    Everything happens in {out}/.{name}.part, whose data folder is moved into place when all of it is there; so an
    interrupted download leaves nothing that looks whole. Started again, it takes the archives that had arrived. The
    archives are removed in the end.

    Raises DataError where the data are there already, the server cannot be reached, or an archive is not the official
    one (by its md5) or reaches out of its folder.
    """
    year, image_sets = DOWNLOADS[name]
    folder = Path(out) / "VOCdevkit" / f"VOC{year}"
    if folder.exists():
        raise DataError(folder, "is there already; remove it to download it anew")
    if not hasattr(tarfile, "data_filter"):
        raise DataError(folder, "Python 3.11.4 or newer is needed to unpack archives safely")
    part = Path(out) / f".{name}.part"
    part.mkdir(parents=True, exist_ok=True)
    try:
        for image_set in image_sets:
            _fetch(part, year, image_set, Path(out))
    finally:
        if not any(part.iterdir()):
            part.rmdir()
    folder.parent.mkdir(exist_ok=True)
    (part / "VOCdevkit" / f"VOC{year}").rename(folder)
    shutil.rmtree(part)
    return folder


def _fetch(part: Path, year: str, image_set: str, out: Path) -> None:
    from torchvision.datasets import VOCDetection
    from torchvision.datasets.voc import DATASET_YEAR_DICT

    source = DATASET_YEAR_DICT["2007-test" if (year, image_set) == ("2007", "test") else year]
    url, archive = source["url"], source["filename"]
    try:
        VOCDetection(str(part), year, image_set, download=True)
    except tarfile.TarError as fault:
        raise DataError(part / archive, f"cannot be unpacked ({fault})") from None
    except RuntimeError as fault:  # torchvision's word for a wrong md5
        (part / archive).unlink(missing_ok=True)
        raise DataError(url, f"did not arrive whole, or is not the official archive ({fault}); try again") from None
    except (URLError, ConnectionError, TimeoutError, HTTPException) as fault:
        by_hand = f"fetch {archive} by other means and unpack it: tar -xf {archive} -C {out}"
        raise DataError(url, f"cannot be reached ({fault}); {by_hand} (see data/README.md)") from None
