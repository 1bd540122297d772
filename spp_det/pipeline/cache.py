"""What is in a store, which run uses it, what nobody uses any more, and what is damaged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from spp_det.errors import DataError
from spp_det.files import read_json
from spp_det.locks import holder
from spp_det.pipeline.store import LOCK, USES, StageFolder, Store
from spp_det.places import as_path
from spp_det.tooling import format_bytes, track

CHECK = "check"  # what is kept of images and annotations, which no stage ends


@dataclass(frozen=True)
class Kept:
    """One stage folder of a store.

    pieces: how many images or classes have theirs here, 0 for a stage that keeps files; age: seconds since something
    was written; runs: folders of the runs that use it; busy: the process that makes it now, if any.
    """

    stage: str
    key: str
    done: bool
    bytes: int
    pieces: int
    age: float
    runs: tuple[str, ...]
    busy: str | None


def find_store(path: Path) -> Store:
    """The store at a path, or the one that the run there uses. Raises DataError where it is neither."""
    for name in ("run.json", "training.json"):
        if (path / name).is_file():
            return Store(read_json(path / name)["store"])
    if not any(path.glob("*/*/stage.*")) and not (path / USES).is_dir():
        raise DataError(path, "is neither a store nor a run" if path.is_dir() else "there is no such folder")
    return Store(path)


def list_store(store: Store) -> list[Kept]:
    """Every stage folder, those of one stage beside each other, the newest first."""
    users = runs_of(store)
    found = []
    for stage in stage_folders(store):
        files = [path.stat() for path in stage.folder.rglob("*") if path.is_file()]
        size, newest = sum(facts.st_size for facts in files), max((facts.st_mtime for facts in files), default=0.0)
        runs = tuple(sorted(users.get((stage.stage, stage.key), ())))
        busy = holder(stage.folder / LOCK)
        found.append(
            Kept(stage.stage, stage.key, stage.done, size, len(stage.names()), time.time() - newest, runs, busy)
        )
    return sorted(found, key=lambda kept: (kept.stage, kept.age))


def runs_of(store: Store) -> dict[tuple[str, str], set[str]]:
    """Which runs use a stage and key: those that noted it, and those beside the store; a run that is gone uses none."""
    users: dict[tuple[str, str], set[str]] = {}
    for run, stages in _noted(store):
        if run.is_dir():
            for stage, key in stages:
                users.setdefault((stage, key), set()).add(str(run.resolve()))
    return users


def _noted(store: Store) -> Iterator[tuple[Path, Sequence[Sequence[str]]]]:
    for path in (store.root / USES).glob("*/*.json"):
        facts = read_json(path)
        yield as_path(facts["run"]), facts["stages"]
    keys = {stage.key: stage.stage for stage in stage_folders(store)}
    for path in store.root.parent.glob("*/run.json"):  # a run that was moved
        facts = read_json(path)
        if Path(facts.get("store", "")).resolve() == store.root.resolve():
            made = [each["key"] for each in facts.get("stages", {}).values()]
            yield path.parent, [(keys[key], key) for key in made if key in keys]


def stage_folders(store: Store) -> list[StageFolder]:
    """What the stages left in a store, done or not; their settings are not known."""
    folders = sorted(path for path in store.root.glob("*/*") if path.is_dir() and path.parent.name != USES)
    return [StageFolder(path.parent.name, path.name, path, {}, {}) for path in folders]


def prune(store: Store, listed: Sequence[Kept]) -> list[Kept]:
    """Delete what no run uses and nobody makes now; returns what was deleted."""
    unused = [kept for kept in listed if not kept.runs and kept.busy is None]
    for kept in unused:
        folder = store.root / kept.stage / kept.key
        (folder / "stage.json").unlink(missing_ok=True)  # first: half of it must not count as done
        shutil.rmtree(folder)
    for path in (store.root / USES).glob("*"):
        if not any(as_path(read_json(use)["run"]).is_dir() for use in path.glob("*.json")):
            shutil.rmtree(path)
    return unused


def verify(store: Store, repair: bool = False) -> tuple[list[str], int]:
    """Read everything in a store that has a checksum; (what is damaged, a line each; how many bytes were read).

    repair: drop what is damaged, so that the next run makes it again. Raises DataError where a stage to be repaired is
    just being made.
    """
    faults: list[str] = []
    read = 0
    folders = stage_folders(store)
    for stage in track(folders, "verifying"):
        damage = stage.damage()
        faults += map(str, damage.faults)
        read += sum(path.stat().st_size for path in stage.folder.rglob("*") if path.is_file())
        if repair and damage.faults:
            stage.drop(damage)
    return faults, read


def store_table(store: Store, listed: Sequence[Kept]) -> Table:
    """The stage folders as a table to print."""
    table = Table(title=f"{store.root}, {format_bytes(sum(kept.bytes for kept in listed))}", title_justify="left")
    for heading in ("stage", "key", "state", "size", "pieces", "age", "runs"):
        table.add_column(heading, justify="right" if heading in ("size", "pieces", "age") else "left")
    for kept in listed:
        state = "being made" if kept.busy else "done" if kept.done or kept.stage == CHECK else "partial"
        runs = ", ".join(Path(run).name for run in kept.runs) or "none"
        size, pieces = format_bytes(kept.bytes), str(kept.pieces or "")
        table.add_row(kept.stage, kept.key, state, size, pieces, _age(kept.age), runs)
    return table


def store_json(listed: Sequence[Kept]) -> list[Mapping[str, Any]]:
    """The stage folders as JSON has them."""
    return [asdict(kept) for kept in listed]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"
