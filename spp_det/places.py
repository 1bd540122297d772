"""Paths of this machine, and addresses such as s3://bucket/folder, by one set of methods: pathlib's.

Addresses are fsspec's, through universal-pathlib; `pip install spp_det[cloud]` installs both and S3's part.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import cast

from spp_det.errors import ConfigError

WEIGHTS_FOLDER = Path("data/weights")  # of the working directory: weights that nobody offers for download
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?!/)(.*)", re.DOTALL)  # Path("s3://a") has one slash

_LIBRARIES = ("aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google")  # fsspec lets their faults through


def as_path(place: str | PathLike[str]) -> Path:
    """A path, or what has a path's methods for an address.

    Raises ConfigError for an address where universal-pathlib, or what reads its kind, is not installed.
    """
    if isinstance(place, Path) and not str(place).partition("/")[0].endswith(":"):
        return place
    if hasattr(place, "protocol"):
        return cast(Path, place)
    address = _ADDRESS.fullmatch(str(place))
    if address is None:
        return Path(place)
    try:
        from upath import UPath

        return cast(Path, UPath(f"{address[1]}://{address[2]}"))
    except (ImportError, ValueError) as fault:
        raise ConfigError(f"{place}: such an address needs pip install 'spp_det[cloud]' ({fault})") from None


def storage_fault(fault: BaseException) -> str | None:
    """What storage says of itself, in words, where a fault is its library's own: no network, no key, no such bucket."""
    library = type(fault).__module__.partition(".")[0]
    return f"the storage cannot be used: {fault or type(fault).__name__}" if library in _LIBRARIES else None


def is_remote(path: Path) -> bool:
    """Whether a path is an address: without locks, renaming, inodes and times to rely on."""
    return not isinstance(path, Path)
