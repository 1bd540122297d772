"""From files that are right to files that are not: seeded changes of bytes, and of words where a file is text."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Sequence

NUMBERS = (0, 1, 2, 3, 4, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536)
NUMBERS += (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    b"0", b"-1", b"1e999", b"-1e999", b"nan", b"Infinity", b"NaN", b"1e-320", b"9" * 30, b"9" * 5000, b"0x7f",
    b"1_000", b"null", b"true", b"''", b'""', b"[]", b"{}", b"[[[[", b"]]]]", b"&a;", b"&#0;", b"&#x10ffff;",
    b"<![CDATA[", b"-->", b"../../x", b"/etc/passwd", b"\\", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"*a", b"&a x", b"!!python/object:os.system x", b"<<: x", b"? ", b"2024-99-99", b"1:2:3", b"yes", b"~",
    b"\n", b"\r", b"\t", b" ", b":", b",", b"=", b"'''", b'"""', b"#", b"%", b"os:system", b"timm:hf-hub:a/b",
)  # fmt: skip
TOKEN = re.compile(rb'"[^"\n]*"|[-+.\w]+|[^\s\w]')


def mutate(rng: random.Random, corpus: Sequence[bytes], text: bool) -> bytes:
    """One to eight changes, mostly few, of one of the files."""
    data = bytearray(rng.choice(corpus))
    for _ in range(min(8, 1 + int(rng.expovariate(0.7)))):
        change = rng.choice(TEXT_CHANGES if text and rng.random() < 0.75 else BYTE_CHANGES)
        change(rng, data, corpus)
    return bytes(data)


def mend_png(data: bytes) -> bytes:
    """The checksums of a PNG's chunks made right again, so that what is behind them is reached."""
    out, at = [data[:8]], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        named = data[at + 4 : at + 8 + size]
        out += [data[at : at + 4], named, struct.pack(">I", zlib.crc32(named))]
        at += 12 + size
    return b"".join(out)


def _place(rng: random.Random, data: bytearray) -> int:
    """Any place; one in three near the beginning, where the headers are."""
    return rng.randrange(min(len(data), 64) if rng.random() < 0.33 else len(data)) if data else 0


def _flip(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))


def _number(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at, size = _place(rng, data), rng.choice((2, 4, 8))
    value = rng.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _remove(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 4, 16, 100))]


def _repeat(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    part = bytes(data[at : at + rng.choice((1, 4, 16, 100))])
    data[at:at] = part * rng.choice((1, 2, 10, 300))


def _splice(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = rng.choice(corpus)
    data[_place(rng, data) :] = other[rng.randrange(len(other) + 1) :]


def _noise(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.randbytes(rng.choice((1, 3, 20)))


def _word(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    found = list(TOKEN.finditer(data))
    if found:
        start, end = rng.choice(found).span()
        data[start:end] = rng.choice(WORDS)


def _swap(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    found = list(TOKEN.finditer(data))
    if found:
        (start, end), (first, last) = rng.choice(found).span(), rng.choice(found).span()
        data[start:end] = bytes(data[first:last])


def _insert(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.choice(WORDS)


def _line(rng: random.Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    lines = bytes(data).split(b"\n")
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    if rng.random() < 0.5:
        lines.pop(rng.randrange(len(lines)))
    data[:] = b"\n".join(lines)


BYTE_CHANGES = (_flip, _byte, _number, _cut, _remove, _repeat, _splice, _noise)
TEXT_CHANGES = (_word, _word, _swap, _insert, _line, _cut, _splice)
