"""One process at a time in a folder, of this machine or another that shares the disk."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from spp_det.errors import DataError
from spp_det.files import named_fault
from spp_det.places import is_remote


@contextmanager
def locked(path: Path, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold a lock file for the block; the system lets go of it when the process ends, however it ends.

    waiting: called with "process N on HOST" where another holds it, before it is waited for. None: raise DataError
    then, which names the folder and that process. The file stays, empty; deleting it could let two in at once.
    """
    if is_remote(path):  # storage of this kind has no locks: who names one folder twice there is on their own
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as fault:
        raise named_fault(fault, path) from None
    try:
        _take(file, path, waiting)
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps({"process": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        try:
            yield
        finally:
            os.ftruncate(file, 0)
            fcntl.flock(file, fcntl.LOCK_UN)  # closing it would not do where a forked child has the file open too
    finally:
        os.close(file)


def holder(path: Path) -> str | None:
    """Who holds a lock file, as "process N on HOST"; None for nobody."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(file)
    else:
        return None
    finally:
        os.close(file)


def _take(file: int, path: Path, waiting: Callable[[str], None] | None) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is None:
            raise DataError(path.parent, f"{_named(file)} works in this folder: wait for its end, or stop it") from None
        waiting(_named(file))
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as fault:
        raise named_fault(fault, path) from None


def _named(file: int) -> str:
    try:
        facts = json.loads(os.pread(file, 1000, 0))
    except json.JSONDecodeError:  # it has just begun, or just ended
        return "another process"
    return f"process {facts['process']} on {facts['host']}"
