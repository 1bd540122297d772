"""Archives that someone else made, unpacked without trust."""

from __future__ import annotations

import tarfile
from os import PathLike

from spp_det.errors import DataError


def unpack_tar(path: str | PathLike[str], folder: str | PathLike[str], max_bytes: int, max_files: int) -> None:
    """Unpack the files and folders of an uncompressed tar archive below `folder`.

    Raises DataError, before more than that is written, for an archive that is none or is cut short, that has more than
    `max_files` entries or `max_bytes` unpacked, a name that leads out of the folder, or a link, a device, or anything
    else that is neither a file nor a folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataError(path, "Python 3.11.4 or newer is needed to unpack archives safely")
    total = 0
    try:
        with tarfile.open(path, "r:") as archive:
            for count, member in enumerate(archive, 1):
                total += member.size
                if count > max_files or total > max_bytes:
                    raise DataError(path, f"has more than {max_files:,} files, or {max_bytes:,} bytes unpacked")
                if not (member.isreg() or member.isdir()):
                    raise DataError(path, f"holds {member.name[:80]!r}, which is neither a file nor a folder")
                if member.name.startswith(("/", "\\")):
                    raise DataError(path, f"cannot be unpacked: {member.name[:80]!r} is an absolute path")
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError) as fault:
        raise DataError(path, f"cannot be unpacked ({fault})") from None
