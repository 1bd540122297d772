"""Packs against a plain dict, and against what kills writers and damages files."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spp_det.errors import DataError
from spp_det.pipeline.packs import Packs

NAMES = st.text(min_size=1, max_size=8)
context = multiprocessing.get_context("fork")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def contents(packs: Packs) -> dict[str, bytes]:
    return {name: packs.get(name) for name in packs.names()}


@hypothesis_settings(deadline=None, max_examples=50)
@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=12), st.integers(1, 60), st.integers(0, 3))
def test_what_goes_in_comes_out(
    tmp_path_factory: pytest.TempPathFactory, pieces: dict[str, bytes], pack_bytes: int, reopened: int
) -> None:
    folder = tmp_path_factory.mktemp("packs")
    packs = Packs(folder, pack_bytes)
    for number, (name, content) in enumerate(pieces.items()):
        packs.add(name, content)
        if number == reopened:
            packs.close()
            packs = Packs(folder, pack_bytes)
    assert contents(packs) == contents(Packs(folder)) == pieces
    assert packs.content() == Packs(folder).content()
    assert all(path.stat().st_size < pack_bytes + 40 for path in folder.glob("*.bin"))


def test_a_missing_piece_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path}: holds nothing of cat"):
        Packs(tmp_path).get("cat")


def _write(folder: Path, names: list[str]) -> None:
    packs = Packs(folder, 2000)
    for name in names:
        if name not in packs.names():
            packs.add(name, name.encode() * 100)


def test_processes_write_at_once_and_read_each_other(tmp_path: Path) -> None:
    names = [f"image{number}" for number in range(60)]
    processes = [context.Process(target=_write, args=(tmp_path, names[start::3])) for start in range(3)]
    for process in processes:
        process.start()
    reader = Packs(tmp_path)
    while any(process.is_alive() for process in processes):
        assert all(reader.get(name) == name.encode() * 100 for name in reader.names())
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert contents(reader) == {name: name.encode() * 100 for name in names}


def test_a_forked_process_writes_into_a_pack_of_its_own(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    packs.add("parent", b"1")

    def child() -> None:
        packs.add("child", b"2")

    process = context.Process(target=child)
    process.start()
    process.join()
    packs.add("parent again", b"3")
    assert contents(Packs(tmp_path)) == contents(packs) == {"parent": b"1", "child": b"2", "parent again": b"3"}
    assert len(list(tmp_path.glob("*.bin"))) == 2


def test_killed_writers_leave_the_files_of_one_that_was_not(tmp_path: Path) -> None:
    names = [f"image{number}" for number in range(400)]
    _write(tmp_path / "whole", names)
    rng = random.Random(0)
    for _ in range(12):
        process = context.Process(target=_write, args=(tmp_path / "killed", names))
        process.start()
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    _write(tmp_path / "killed", names)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.parametrize("cut_index", [0, 1])
@pytest.mark.parametrize("cut_pack", [0, 5, 15])
def test_a_half_written_tail_is_cut_off(tmp_path: Path, cut_pack: int, cut_index: int) -> None:
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        packs = Packs(folder)
        for name in "abc":
            packs.add(name, name.encode() * 10)
        packs.close()
    pack, index = packs.pack_path(0), packs.index_path(0)
    os.truncate(pack, 30 - cut_pack)
    os.truncate(index, index.stat().st_size - cut_index)
    again = Packs(tmp_path / "cut")
    left = "abc"[: 3 - max((cut_pack + 9) // 10, cut_index)]
    assert again.names() == set(left)
    for name in "abc"[len(left) :]:
        again.add(name, name.encode() * 10)
    again.close()
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_every_flipped_bit_is_found_and_named(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    packs.add("cat", b"meow" * 8)
    packs.add("dog", b"woof" * 8)
    packs.close()
    path = packs.pack_path(0)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        name = ("cat", "dog")[bit // 8 // 32]
        with pytest.raises(DataError, match=rf"{path}: {name} is broken, its checksum is wrong; spp-det cache verify"):
            packs.get(name)
        assert [name for name, _ in packs.faults()] == [name]


def test_a_flipped_bit_of_an_index_never_gives_a_wrong_piece(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    packs.add("cat", b"meow" * 8)
    packs.add("dog", b"woof" * 8)
    packs.close()
    path = packs.index_path(0)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = {}
        for name in ("cat", "dog"):
            try:
                found[name] = Packs(tmp_path).get(name)
            except DataError as fault:
                assert str(tmp_path) in str(fault)  # noqa: PT017 - most bits break something, some only an end of line
        assert found.items() <= {"cat": b"meow" * 8, "dog": b"woof" * 8}.items()


def test_broken_pieces_are_dropped_and_made_again(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    for name in ("a", "b", "c"):
        packs.add(name, name.encode() * 10)
    before = packs.content()
    packs.close()
    content = bytearray(packs.pack_path(0).read_bytes())
    content[12] ^= 1
    packs.pack_path(0).write_bytes(content)
    packs.drop({name for name, _ in packs.faults()})
    assert packs.names() == {"a", "c"}
    packs.add("b", b"b" * 10)
    assert packs.content() == Packs(tmp_path).content() == before
    assert list(packs.faults()) == []


@pytest.mark.parametrize("ending", ["bin", "index"])
def test_a_pack_deleted_while_it_is_written_is_noticed(tmp_path: Path, ending: str) -> None:
    packs = Packs(tmp_path)
    packs.add("a", b"1")
    (tmp_path / f"pack-0000.{ending}").unlink()
    with pytest.raises(DataError, match=r"pack-0000.bin: was deleted while it was written; the same command makes"):
        packs.add("b", b"2")
    packs.close()
    again = Packs(tmp_path)
    assert again.names() == set()
    again.add("a", b"1")
    assert contents(again) == {"a": b"1"}


def test_a_deleted_pack_is_named_when_it_is_read(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    packs.add("a", b"1")
    packs.pack_path(0).unlink()
    with pytest.raises(DataError, match=r"pack-0000.bin: was deleted, with a in it; spp-det cache verify"):
        packs.get("a")


def test_on_a_full_disk_nothing_is_lost(tmp_path: Path) -> None:
    packs = Packs(tmp_path)
    packs.add("a", b"1" * 100)
    packs.close()
    before = files(tmp_path)
    packs.pack_path(1).symlink_to("/dev/full")  # on which every write ends as on a disk without space
    holder = Packs(tmp_path)
    holder.add("b", b"2")  # pack 0 is taken from here on
    with pytest.raises(OSError, match=r"No space left on device.*pack-0001.bin"):
        packs.add("c", b"3")
    assert contents(Packs(tmp_path)) == {"a": b"1" * 100, "b": b"2"}
    assert all((tmp_path / name).read_bytes().startswith(content) for name, content in before.items())


def test_a_folder_that_cannot_be_written_is_named() -> None:
    folder = Path("/sys/kernel/spp_det")  # where even root makes no folder
    with pytest.raises(OSError, match=r"/sys/kernel/spp_det"):
        Packs(folder).add("a", b"1")
