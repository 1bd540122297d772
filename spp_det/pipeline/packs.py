"""Many named pieces of bytes in a few large files: what a stage makes of each image.

`pack-0000.bin` holds pieces one behind the other, `pack-0000.index` a line of JSON for each: [name, offset, length,
checksum]. The piece is written first and counts once its line is whole: a killed writer loses at most the piece it was
at, and who takes its pack over cuts off what is behind the last line. Each writer holds a pack of its own, by flock, so
that many processes, of several machines on one shared disk, may write into one folder at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
import weakref
import zlib
from array import array
from collections.abc import Collection, Iterator
from itertools import count
from pathlib import Path

import msgspec

from spp_det.errors import DataError
from spp_det.files import named_fault, write_whole

PACK_BYTES = 256 << 20  # a pack that has reached this is full
MEND = "spp-det cache verify --repair drops what is broken, and the next run makes it again"
_LINES = msgspec.json.Decoder(tuple[str, int, int, int])
_COLUMNS = 4  # of the table: pack, offset, length, checksum


def checksum(name: str, content: bytes) -> int:
    """CRC-32 of a piece and its name: any single flipped bit changes it."""
    return zlib.crc32(content, zlib.crc32(name.encode()))


class Packs:
    """The pieces in one folder.

    The folder is made by the first `add`. An object may be shared by threads, and is of use in a forked process.
    pack_bytes: from which size on a pack is full.
    """

    def __init__(self, folder: Path, pack_bytes: int = PACK_BYTES) -> None:
        self.folder, self.pack_bytes = folder, pack_bytes
        self._lock = threading.RLock()
        self._writer: _Writer | None = None
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, int] = {}  # name -> row of the table; 100,000 of them take some 20 MB
        self._table = array("q")
        self._read: dict[int, int] = {}  # bytes of each index that are known
        self._ends: dict[int, int] = {}  # where the last whole piece of each pack ends

    def pack_path(self, number: int) -> Path:
        """Where a pack lies."""
        return self.folder / f"pack-{number:04d}.bin"

    def index_path(self, number: int) -> Path:
        """Where its index lies."""
        return self.folder / f"pack-{number:04d}.index"

    def names(self) -> set[str]:
        """What is there now, by whichever process it was written. Raises DataError for a broken index."""
        with self._lock:
            self._refresh()
            return set(self._rows)

    def add(self, name: str, content: bytes) -> None:
        """Write a piece. Raises OSError with the file's name, and DataError where the file was deleted meanwhile."""
        with self._lock:
            writer = self._open_writer()
            row = writer.number, *writer.append(name, content)
            self._take(name, row)
            self._read[writer.number], self._ends[writer.number] = writer.index_end, writer.end
            if writer.end >= self.pack_bytes:
                self.close()

    def get(self, name: str) -> bytes:
        """A piece. Raises DataError, naming file and piece, for one that is not there or is not what was written."""
        with self._lock:
            if name not in self._rows:
                self._refresh()
            if name not in self._rows:
                raise DataError(self.folder, f"holds nothing of {name}")
            number, offset, length, check = self._row(name)
        path = self.pack_path(number)
        try:
            with path.open("rb", buffering=0) as file:
                file.seek(offset)
                content = file.read(length)
        except FileNotFoundError:
            raise DataError(path, f"was deleted, with {name} in it; {MEND}") from None
        except OSError as fault:
            raise named_fault(fault, path) from None
        if len(content) != length or checksum(name, content) != check:
            what = "is cut short" if len(content) != length else "its checksum is wrong"
            raise DataError(path, f"{name} is broken, {what}; {MEND}")
        return content

    def content(self) -> dict[str, int | str]:
        """How many pieces, how many bytes, and a hash of names, lengths and checksums, wherever each piece lies."""
        with self._lock:
            self._refresh()
            sha, total = hashlib.sha256(), 0
            for name in sorted(self._rows):
                _, _, length, check = self._row(name)
                sha.update(f"{name}\0{length} {check}\n".encode())
                total += length
            return {"pieces": len(self._rows), "bytes": total, "sha256": sha.hexdigest()}

    def bytes(self) -> int:
        """How long the pieces are together."""
        with self._lock:
            self._refresh()
            return sum(self._ends.values())

    def sync(self) -> None:
        """End writing, wait until all is on the disk itself, so that it outlasts a power cut, and look at it anew."""
        self.close()
        for number in self._numbers():
            for path in (self.pack_path(number), self.index_path(number)):
                with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                    os.fsync(file.fileno())
        with self._lock:
            self._forget()

    def close(self) -> None:
        """End writing: another process may take the pack over. The next `add` opens one again."""
        with self._lock:
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def remove(self) -> None:
        """Delete all pieces."""
        for number in self._numbers():
            self.delete(number)

    def delete(self, number: int) -> None:
        """Delete a pack and its index; not while anybody writes."""
        with self._lock:
            self.close()
            self.index_path(number).unlink(missing_ok=True)
            self.pack_path(number).unlink(missing_ok=True)
            self._forget()

    def broken_indexes(self) -> Iterator[tuple[int, DataError]]:
        """(number, what is wrong) of every pack of which nothing can be read, since its index is none."""
        for number in self._numbers():
            try:
                self._lines(number, 0)
            except DataError as fault:
                yield number, fault

    def faults(self) -> Iterator[tuple[str, DataError]]:
        """(name, what is wrong) of every piece that cannot be read as it was written."""
        for name in sorted(self.names()):
            try:
                self.get(name)
            except DataError as fault:
                yield name, fault

    def drop(self, names: Collection[str]) -> None:
        """Take pieces out of the indexes, so that they count as missing; not while anybody writes."""
        with self._lock:
            self.close()
            for number in self._numbers():
                kept = [row for row in self._lines(number, 0)[0] if row[0] not in names]
                write_whole(self.index_path(number), b"".join(msgspec.json.encode(row) + b"\n" for row in kept))
            self._forget()

    def _row(self, name: str) -> tuple[int, ...]:
        start = self._rows[name] * _COLUMNS
        return tuple(self._table[start : start + _COLUMNS])

    def _take(self, name: str, row: tuple[int, ...]) -> None:
        self._rows[name] = len(self._table) // _COLUMNS
        self._table.extend(row)

    def _numbers(self) -> list[int]:
        return sorted(int(path.stem.removeprefix("pack-")) for path in self.folder.glob("pack-*.index"))

    def _refresh(self) -> None:
        """Read what was added to the indexes since they were read last."""
        for number in self._numbers():
            start = self._read.get(number, 0)
            rows, length = self._lines(number, start)
            for name, *row in rows:
                self._take(name, (number, *row))
                self._ends[number] = row[0] + row[1]
            self._read[number] = start + length

    def _lines(self, number: int, start: int) -> tuple[list[tuple[str, int, int, int]], int]:
        """The lines of an index from a byte on that count, and their length in bytes.

        Half a line at the end does not count, nor what the pack is too short for, as after a power cut.
        """
        path = self.index_path(number)
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        try:
            rows = _LINES.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise DataError(path, f"is not an index ({fault}); {MEND}") from None
        size = self._size(number)
        whole = next((n for n, (_, offset, length, _) in enumerate(rows) if offset + length > size), len(rows))
        if whole < len(rows):
            text = b"".join(text.splitlines(keepends=True)[:whole])
        return rows[:whole], len(text)

    def _size(self, number: int) -> int:
        try:
            with self.pack_path(number).open("rb") as file:  # opened, since a network's disk may remember an old size
                return os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return 0

    def _open_writer(self) -> _Writer:
        if self._writer is not None and self._writer.process == os.getpid():
            return self._writer
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in count():
            if self._ends.get(number, 0) >= self.pack_bytes:
                continue
            writer = _Writer.lock(number, self.pack_path(number), self.index_path(number))
            if writer is None:
                continue
            self._refresh()  # nobody else adds to it from here on
            writer.cut(self._ends.get(number, 0), self._read.get(number, 0))
            if writer.end >= self.pack_bytes:
                writer.close()
                continue
            self._writer = writer
            return writer
        raise AssertionError


class _Writer:
    """A pack that this process alone appends to.

    end, index_end: how long the pack and its index are. process: whose it is; a forked child opens its own.
    """

    def __init__(self, number: int, path: Path, pack: int, index: int) -> None:
        self.number, self.path = number, path
        self.pack, self.index = pack, index
        self.end = self.index_end = 0
        self.process = os.getpid()
        self.close = weakref.finalize(self, _close, self.process, pack, index)

    @classmethod
    def lock(cls, number: int, path: Path, index_path: Path) -> _Writer | None:
        """The pack of a number, made where there is none; None where another process holds it."""
        pack = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(pack, fcntl.LOCK_EX | fcntl.LOCK_NB)
            index = os.open(index_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except BlockingIOError:
            os.close(pack)
            return None
        except OSError as fault:
            os.close(pack)
            raise named_fault(fault, path) from None
        return cls(number, path, pack, index)

    def cut(self, end: int, index_end: int) -> None:
        """Cut off what a killed writer left behind the last whole piece."""
        self.end, self.index_end = end, index_end
        for file, length in ((self.pack, end), (self.index, index_end)):
            if os.fstat(file).st_size > length:
                os.ftruncate(file, length)

    def append(self, name: str, content: bytes) -> tuple[int, int, int]:
        """Write a piece and its line; returns (offset, length, checksum)."""
        row = self.end, len(content), checksum(name, content)
        line = msgspec.json.encode((name, *row)) + b"\n"
        try:
            _write(self.pack, content, self.end)
            _write(self.index, line, self.index_end)
        except OSError as fault:  # a full disk: what was there stays as it was
            self.cut(self.end, self.index_end)
            raise named_fault(fault, self.path) from None
        if not (os.fstat(self.pack).st_nlink and os.fstat(self.index).st_nlink):
            raise DataError(self.path, "was deleted while it was written; the same command makes again what it held")
        self.end += len(content)
        self.index_end += len(line)
        return row


def _write(file: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _close(owner: int, pack: int, index: int) -> None:
    if os.getpid() == owner:
        fcntl.flock(pack, fcntl.LOCK_UN)  # closing would not do where a forked child has the file open too
    os.close(pack)
    os.close(index)
