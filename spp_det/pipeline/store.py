"""Where stages keep what they make: one folder per stage and key, `STORE/STAGE/KEY/`.

A key is a hash of the stage's settings, its code's version and its inputs' keys. So a changed setting makes a new
folder, runs what depends on it and nothing else, and never overwrites what another setting made. A folder with
`stage.json` is done; one without holds what a stopped run left, and the next run goes on from there. What a stage makes
of each image is in packs, see packs.py; the few files of the stages that learn lie beside them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.errors import ConfigError, DataError
from spp_det.files import arrays_from_bytes, arrays_to_bytes, read_json, write_json
from spp_det.locks import locked
from spp_det.pipeline.packs import MEND, Packs
from spp_det.places import as_path, is_remote

KEY_LENGTH = 16  # hex digits: 64 bits
LOCK = "stage.lock"
USES = "uses"  # the folder of who uses what


def key_of(value: Any) -> str:
    """A hash of JSON-like values: the same for the same values, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True)
class Damage:
    """What is wrong in a stage's folder, and what has to go: pieces and files by name, packs by number."""

    faults: Sequence[DataError]
    names: Collection[str] = ()
    files: Collection[str] = ()
    indexes: Collection[int] = ()


@dataclass(frozen=True)
class StageFolder:
    """One stage under one key."""

    stage: str
    key: str
    folder: Path
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    packs: Packs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "packs", Packs(self.folder))

    @property
    def done(self) -> bool:
        """Whether the stage has ended here."""
        return (self.folder / "stage.json").is_file()

    def finish(self, names: Collection[str] = ()) -> None:
        """Say that everything of the stage is here, once it is on the disk.

        names: what must have been written; none of a stage that has files instead. Where processes share a stage, one
        of them calls this, after all have closed theirs. Raises DataError where something is missing, since somebody
        deleted it.
        """
        self.packs.sync()
        missing = self.missing(names)
        if missing:
            gone = f"of {len(missing)} images what was made was deleted meanwhile, as of {missing[0]}"
            raise DataError(self.folder, f"{gone}; the same command makes it again")
        facts: dict[str, Any] = {"stage": self.stage, "settings": dict(self.settings), "inputs": dict(self.inputs)}
        if names:
            facts["content"] = self.packs.content()
        files = sorted(path for path in self.folder.glob("*.safetensors"))
        if not (names or files):
            raise DataError(self.folder, "what was made was deleted meanwhile; the same command makes it again")
        if files:
            facts["files"] = {path.name: _file_digest(path) for path in files}
        write_json(self.folder / "stage.json", facts)

    def damaged_files(self) -> Iterator[tuple[str, DataError]]:
        """(name, what is wrong) of every file of a stage that is done and not what it was then."""
        for name, digest in self._facts().get("files", {}).items():
            path = self.folder / name
            if not path.is_file():
                yield name, DataError(path, f"was deleted; {MEND}")
            elif _file_digest(path) != digest:
                yield name, DataError(path, f"is broken, its checksum is wrong; {MEND}")

    def lost(self) -> DataError | None:
        """What is wrong where the packs of a stage that is done do not hold what they did then.

        Of a pack that was deleted, alone or with its index, nothing is left that a checksum could fail of.
        """
        then = self._facts().get("content")
        if then is None or self.packs.content() == then:
            return None
        return DataError(self.folder, f"{len(self.names())} of {then['pieces']} pieces are left as they were; {MEND}")

    def _facts(self) -> dict[str, Any]:
        """What was said when the stage ended; nothing of one that has not. Raises DataError where it is broken."""
        path = self.folder / "stage.json"
        try:
            facts = read_json(path) if self.done else {}
        except DataError:
            facts = None
        if not isinstance(facts, dict):
            raise DataError(path, f"is broken; {MEND}")
        return facts

    def damage(self) -> Damage:
        """Read everything here that has a checksum, and say what is not as it was written."""
        indexes = dict(self.packs.broken_indexes())
        if indexes:
            return Damage(list(indexes.values()), indexes=set(indexes))
        try:
            self._facts()
        except DataError as fault:  # which goes in any case, and with it all that it says of the others
            return Damage([fault])
        pieces, files, lost = dict(self.packs.faults()), dict(self.damaged_files()), self.lost()
        faults = [*pieces.values(), *files.values(), *([lost] if lost else [])]
        return Damage(faults, names=set(pieces), files=set(files))

    def drop(self, damage: Damage) -> None:
        """Delete what is damaged; the stage is no longer done, and the next run makes that again.

        Raises DataError where it is just being made.
        """
        with locked(self.folder / LOCK):
            (self.folder / "stage.json").unlink(missing_ok=True)
            for number in damage.indexes:
                self.packs.delete(number)
            if damage.names:
                self.packs.drop(damage.names)
            for name in damage.files:
                (self.folder / name).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """A file of its own, for the few that a stage that learns has."""
        return self.folder / name

    def names(self) -> set[str]:
        """The names, e.g. images' ids, of which arrays are here, by whichever process they were written."""
        return self.packs.names()

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those names of which there are no arrays yet, in their order."""
        there = self.names()
        return [name for name in names if name not in there]

    def write(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays of a name; other threads, processes and machines may write into the same stage."""
        self.packs.add(name, arrays_to_bytes(arrays))

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a name. Raises DataError, naming file and name, where they are missing or damaged."""
        return arrays_from_bytes(self.packs.get(name), f"{self.folder}, {name}")

    def make(self, work: Callable[[], None], waiting: Callable[[str], None]) -> bool:
        """Do the work, which ends in `finish`, unless the stage is done; returns whether it was done here and now.

        One run at a time: another that makes the same stage is waited for, after `waiting` was called with the process
        that does. The processes of one run share a stage within the work: all `write` at once. Raises DataError where
        a file of a done stage is damaged, or something of it was deleted.
        """
        if self.done:
            self.check()
            return False
        with locked(self.folder / LOCK, waiting):
            if self.done:
                return False
            work()
            return True

    def check(self) -> None:
        """Raises DataError where a file of a stage that is done is damaged, or something of it was deleted."""
        for _, fault in self.damaged_files():
            raise fault
        lost = self.lost()
        if lost is not None:
            raise lost

    def close(self) -> None:
        """End writing for now: another process may go on in the same files."""
        self.packs.close()


class Store:
    """The folder of all stages."""

    def __init__(self, root: str | Path) -> None:
        self.root = as_path(root)
        if is_remote(self.root):
            raise ConfigError(f"{root}: stages are kept on a disk, where files can be locked: name one with --store")

    def stage(self, stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> StageFolder:
        """The folder of a stage with these settings and inputs (names -> keys)."""
        key = key_of([stage, version, settings, inputs])
        return StageFolder(stage, key, self.root / stage / key, settings, inputs)

    def note_use(self, run: Path, purpose: str, stages: Iterable[tuple[str, str]]) -> None:
        """Keep in mind that a run uses these stages (name, key), for `spp-det cache`.

        purpose: what for; "train" forgets what the run was tested with before, where it was trained with other stages.
        """
        folder = self.root / USES / key_of(str(run.resolve()))
        facts = {"run": str(run.resolve()), "stages": sorted([name, key] for name, key in stages)}
        path = folder / f"{purpose}.json"
        if path.exists() and read_json(path) == facts:
            return
        if purpose == "train":
            shutil.rmtree(folder, ignore_errors=True)
        write_json(path, facts)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
