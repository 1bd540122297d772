"""spp-det cache on a store that is filled by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from spp_det import cli
from spp_det.errors import DataError
from spp_det.files import write_arrays, write_json
from spp_det.locks import locked
from spp_det.pipeline.packs import Packs
from spp_det.pipeline.store import LOCK, StageFolder, Store


def fill(store: Store, stage: str, seed: int, pieces: int = 3) -> StageFolder:
    folder = store.stage(stage, 1, {"seed": seed}, {})
    for number in range(pieces):
        folder.write(f"image{number}", {"x": np.full(100, seed + number)})
    folder.finish([f"image{number}" for number in range(pieces)])
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def call(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    capsys.readouterr()
    code = cli.run(["cache", *map(str, arguments)])
    return code, capsys.readouterr().out


def use(store: Store, run: Path, purpose: str, *stages: StageFolder) -> None:
    run.mkdir(parents=True, exist_ok=True)
    store.note_use(run, purpose, [(stage.stage, stage.key) for stage in stages])


def test_ls_says_what_is_there_and_who_uses_it(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path
) -> None:
    maps, old = fill(store, "maps", 1), fill(store, "maps", 2)
    part = store.stage("proposals", 1, {}, {})
    part.write("image0", {"x": np.zeros(4)})
    use(store, tmp_path / "one", "train", maps, part)
    use(store, tmp_path / "two", "train", maps)
    rows = {row["key"]: row for row in json.loads(call(capsys, "ls", store.root, "--json")[1])}
    assert {key: len(row["runs"]) for key, row in rows.items()} == {maps.key: 2, old.key: 0, part.key: 1}
    assert {key: row["done"] for key, row in rows.items()} == {maps.key: True, old.key: True, part.key: False}
    assert rows[maps.key]["pieces"] == 3
    assert rows[maps.key]["bytes"] == sum(path.stat().st_size for path in maps.folder.iterdir())
    write_json(tmp_path / "one" / "run.json", {"store": str(store.root), "stages": {}})
    code, printed = call(capsys, "ls", tmp_path / "one")  # the store of a run
    assert code == 0
    assert "partial" in printed
    assert "one, two" in printed


def test_a_run_is_listed_once_though_the_store_is_named_from_where_one_stands(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = fill(store, "maps", 1)
    use(store, tmp_path / "one", "train", maps)
    write_json(tmp_path / "one" / "run.json", {"store": str(store.root), "stages": {"maps": {"key": maps.key}}})
    monkeypatch.chdir(tmp_path)
    (row,) = json.loads(call(capsys, "ls", "store", "--json")[1])
    assert row["runs"] == [str(tmp_path / "one")]


def test_prune_deletes_what_no_run_uses_once_it_is_told_to(
    capsys: pytest.CaptureFixture[str], store: Store, tmp_path: Path
) -> None:
    used, unused, tested = fill(store, "maps", 1), fill(store, "maps", 2), fill(store, "detect", 3)
    moved, gone, busy = fill(store, "maps", 4), fill(store, "maps", 5), fill(store, "maps", 6)
    use(store, tmp_path / "run", "train", used)
    use(store, tmp_path / "run", "test", tested)
    facts = {"store": str(store.root), "stages": {"maps": {"key": moved.key}}}
    write_json(tmp_path / "new name" / "run.json", facts)
    store.note_use(tmp_path / "deleted", "train", [("maps", gone.key)])
    with locked(busy.folder / LOCK):
        code, printed = call(capsys, "prune", store.root)
        assert code == 0
        assert unused.key in printed
        assert gone.key in printed
        assert "--yes deletes it" in printed
        assert all(folder.done for folder in (used, unused, tested, moved, gone, busy))
        assert "deleted: " in call(capsys, "prune", store.root, "--yes")[1]
    left = [folder.done for folder in (used, unused, tested, moved, gone, busy)]
    assert left == [True, False, True, True, False, True]
    assert not unused.folder.exists()


def test_training_with_other_stages_forgets_the_tests_before(store: Store, tmp_path: Path) -> None:
    from spp_det.pipeline.cache import runs_of

    one, two, tested = fill(store, "maps", 1), fill(store, "maps", 2), fill(store, "detect", 3)
    use(store, tmp_path / "run", "train", one)
    use(store, tmp_path / "run", "test", tested)
    use(store, tmp_path / "run", "train", one)
    assert set(runs_of(store)) == {("maps", one.key), ("detect", tested.key)}
    use(store, tmp_path / "run", "train", two)
    assert set(runs_of(store)) == {("maps", two.key)}


def test_verify_names_what_is_damaged_and_repair_lets_it_be_made_again(
    capsys: pytest.CaptureFixture[str], store: Store
) -> None:
    maps, svm = fill(store, "maps", 1), store.stage("svm", 1, {}, {})
    write_arrays(svm.path("svms.safetensors"), {"w": np.zeros(9)})
    svm.finish()
    code, printed = call(capsys, "verify", store.root)
    assert (code, "all as it was written" in printed) == (0, True)
    pack = next(maps.folder.glob("*.bin"))
    for path in (pack, svm.path("svms.safetensors")):
        content = bytearray(path.read_bytes())
        content[-5] ^= 4
        path.write_bytes(content)
    code, printed = call(capsys, "verify", store.root)
    assert code == 1
    assert f"{pack}: image2 is broken, its checksum is wrong; spp-det cache verify --repair" in printed
    assert f"{svm.path('svms.safetensors')}: is broken, its checksum is wrong" in printed
    with pytest.raises(DataError, match=r"image2 is broken"):
        maps.read("image2")
    with pytest.raises(DataError, match=r"svms.safetensors: is broken"):
        svm.make(lambda: None, lambda _: None)
    assert call(capsys, "verify", store.root, "--repair")[0] == 1
    assert call(capsys, "verify", store.root)[0] == 0
    assert not maps.done
    assert Packs(maps.folder).names() == {"image0", "image1"}
    assert not svm.done
    assert not svm.path("svms.safetensors").exists()


@pytest.mark.parametrize("endings", [("bin",), ("index",), ("bin", "index")], ids="+".join)
def test_a_deleted_pack_is_missed_and_made_again(
    capsys: pytest.CaptureFixture[str], store: Store, endings: tuple[str, ...]
) -> None:
    folder = fill(store, "maps", 1).folder
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for ending in endings:
        (folder / f"pack-0000.{ending}").unlink()
    maps = store.stage("maps", 1, {"seed": 1}, {})
    said = rf"{maps.folder}: 0 of 3 pieces are left as they were; spp-det cache verify --repair"
    with pytest.raises(DataError, match=said):  # a run that comes later says so before it works on
        maps.make(lambda: None, lambda _: None)
    code, printed = call(capsys, "verify", store.root, "--repair")
    assert (code, "0 of 3 pieces are left" in printed, "1 damaged, dropped" in printed) == (1, True, True)
    assert not maps.done
    fill(store, "maps", 1)
    assert {path.name: path.read_bytes() for path in maps.folder.iterdir() if path.suffix != ".lock"} == whole
    assert call(capsys, "verify", store.root)[0] == 0


def test_an_index_that_is_none_goes_with_its_pack(capsys: pytest.CaptureFixture[str], store: Store) -> None:
    maps, other = fill(store, "maps", 1), fill(store, "maps", 2)
    maps.packs.index_path(0).write_bytes(b"{}\n")
    code, printed = call(capsys, "verify", store.root, "--repair")
    assert (code, f"{maps.packs.index_path(0)}: is not an index" in printed) == (1, True)
    assert (list(maps.folder.glob("pack-*")), maps.done, other.done) == ([], False, True)
    assert fill(store, "maps", 1).done


def test_another_folder_is_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, text in ((tmp_path, "is neither a store nor a run"), (tmp_path / "none", "there is no such folder")):
        monkeypatch.setattr(sys, "argv", ["spp-det", "cache", "ls", str(path)])
        with pytest.raises(DataError, match=rf"{path}: {text}"):
            cli.run(["cache", "ls", str(path)])
