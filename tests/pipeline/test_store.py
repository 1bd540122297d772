from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from spp_det.errors import DataError
from spp_det.files import read_arrays, read_json, write_arrays, write_json, write_whole
from spp_det.parallel import map_ordered
from spp_det.pipeline.store import Store, key_of


@hypothesis_settings(deadline=None)  # a busy machine is no fault
@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.text(), max_size=5))
def test_a_key_does_not_depend_on_the_order_of_settings(settings: dict) -> None:
    assert key_of(settings) == key_of(dict(reversed(settings.items())))


def test_a_changed_setting_version_or_input_is_another_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    folders = {
        store.stage("svm", 1, {"C": 1}, {"maps": "a"}).folder,
        store.stage("svm", 1, {"C": 2}, {"maps": "a"}).folder,
        store.stage("svm", 2, {"C": 1}, {"maps": "a"}).folder,
        store.stage("svm", 1, {"C": 1}, {"maps": "b"}).folder,
    }
    assert len(folders) == 4
    assert store.stage("svm", 1, {"C": 1}, {"maps": "a"}).folder in folders


def test_a_stage_is_done_when_it_says_so_and_knows_what_is_missing(tmp_path: Path) -> None:
    stage = Store(tmp_path).stage("maps", 1, {}, {})
    assert not stage.done
    assert stage.missing(["a", "b"]) == ["a", "b"]
    stage.write("a", {"x": np.arange(3)})
    assert stage.missing(["b", "a"]) == ["b"]
    with pytest.raises(DataError, match=r"as of b; the same command makes it again"):
        stage.finish(["a", "b"])
    assert not stage.done
    stage.write("b", {"x": np.arange(2)})
    stage.finish(["a", "b"])
    assert stage.done
    assert stage.read("a")["x"].tolist() == [0, 1, 2]
    facts = read_json(stage.path("stage.json"))
    assert facts["content"] == {**facts["content"], "pieces": 2}


def test_a_stage_whose_file_was_deleted_before_its_end_is_not_done(tmp_path: Path) -> None:
    stage = Store(tmp_path).stage("svm", 1, {}, {})
    write_arrays(stage.path("svms.safetensors"), {"w": np.zeros(9)})
    stage.path("svms.safetensors").unlink()
    with pytest.raises(DataError, match=r"what was made was deleted meanwhile; the same command makes it again"):
        stage.finish()
    assert not stage.done


def test_finished_in_any_order_by_any_number_of_writers_a_stage_says_the_same(tmp_path: Path) -> None:
    one, two, other = (Store(tmp_path / name).stage("maps", 1, {}, {}) for name in ("one", "two", "other"))
    second = Store(tmp_path / "two").stage("maps", 1, {}, {})
    for number in range(9):
        one.write(str(number), {"x": np.full(5, number)})
        other.write(str(number), {"x": np.full(5, 3)})
    for number in reversed(range(9)):
        (two if number % 2 else second).write(str(number), {"x": np.full(5, number)})
    second.close()
    for stage in (one, two, other):
        stage.finish([str(number) for number in range(9)])
    said = [stage.path("stage.json").read_text() for stage in (one, two, other)]
    assert said[0] == said[1] != said[2]
    assert len(list(two.folder.glob("*.bin"))) == 2


def test_arrays_come_back_and_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.zeros((0, 4), np.float16)}
    write_arrays(tmp_path / "one", arrays)
    write_arrays(tmp_path / "two", dict(reversed(arrays.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back = read_arrays(tmp_path / "one")
    assert all(np.array_equal(back[name], array) and back[name].dtype == array.dtype for name, array in arrays.items())


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    write_arrays(tmp_path / "whole", {"x": np.zeros(100)})
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-10])
    (tmp_path / "text.json").write_text("{")
    for path, read in [("cut", read_arrays), ("none", read_arrays), ("text.json", read_json), ("none", read_json)]:
        with pytest.raises(DataError, match=path):
            read(tmp_path / path)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")  # type: ignore[arg-type]
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "aside")
    path = tmp_path / "value.json"
    write_json(path, {"old": 1})
    (tmp_path / ".value.json.aside.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device.*value.json"):
        write_json(path, {"new": "x" * 10_000})
    assert read_json(path) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_second_run_waits_for_a_stage_and_takes_what_was_made(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)

    def second() -> None:
        stage = Store(tmp_path).stage("maps", 1, {}, {})
        made = stage.make(lambda: writing.send("made again"), lambda other: writing.send(f"waits for {other}"))
        writing.send((made, stage.read("a")["x"].tolist()))

    process = context.Process(target=second)
    stage = Store(tmp_path).stage("maps", 1, {}, {})

    def work() -> None:
        process.start()
        assert reading.recv().startswith(f"waits for process {os.getpid()} on ")
        stage.write("a", {"x": np.arange(2)})
        stage.finish(["a"])

    assert stage.make(work, lambda _: None)
    assert reading.recv() == (False, [0, 1])
    process.join()
    assert not stage.make(work, lambda _: None)


def _write_for_ever(path: str) -> None:
    number = 0
    while True:
        write_arrays(path, {"x": np.full(200_000, number)})
        number += 1


def test_a_process_killed_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    context = multiprocessing.get_context("fork")
    for delay in (0.05, 0.11, 0.17):
        process = context.Process(target=_write_for_ever, args=(str(path),))
        process.start()
        process.join(delay)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        if path.exists():
            values = read_arrays(path)["x"]
            assert (values == values[0]).all()


def test_results_come_in_order_and_the_first_fault_ends_it() -> None:
    assert list(map_ordered(lambda x: x * x, range(20), workers=3)) == [x * x for x in range(20)]

    def fail(x: int) -> int:
        if x == 5:
            raise DataError("five", "is broken")
        return x

    results = map_ordered(fail, range(1000), workers=2)
    with pytest.raises(DataError, match="five"):
        list(results)
