"""Where stages keep what they make: one folder per stage and key, `STORE/STAGE/KEY/`.

A key is a hash of the stage's settings, its code's version and its inputs' keys. So a changed setting makes a new
folder, runs what depends on it and nothing else, and never overwrites what another setting made. A folder with
`stage.json` is done; one without holds what a stopped run left, and the next run goes on from there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spp_det.files import write_json

KEY_LENGTH = 16  # hex digits: 64 bits


def key_of(value: Any) -> str:
    """A hash of JSON-like values: the same for the same values, whatever the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True)
class StageFolder:
    """One stage under one key."""

    stage: str
    key: str
    folder: Path
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @property
    def done(self) -> bool:
        """Whether the stage has ended here."""
        return (self.folder / "stage.json").is_file()

    def finish(self) -> None:
        """Say that everything of the stage is here."""
        settings, inputs = dict(self.settings), dict(self.inputs)
        write_json(self.folder / "stage.json", {"stage": self.stage, "settings": settings, "inputs": inputs})

    def path(self, name: str) -> Path:
        """The file of a name, e.g. an image's id; a `/` in it makes a folder."""
        return self.folder / name

    def missing(self, names: list[str], suffix: str) -> list[str]:
        """Those names that have no file yet."""
        there = (
            {str(p.relative_to(self.folder)) for p in self.folder.rglob(f"*{suffix}")}
            if self.folder.exists()
            else set()
        )
        return [name for name in names if name + suffix not in there]


class Store:
    """The folder of all stages."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def stage(self, stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> StageFolder:
        """The folder of a stage with these settings and inputs (names -> keys)."""
        key = key_of([stage, version, settings, inputs])
        return StageFolder(stage, key, self.root / stage / key, settings, inputs)
