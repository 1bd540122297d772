"""What a run and its store hold, whichever processes wrote it."""

from __future__ import annotations

from pathlib import Path

from spp_det.pipeline.packs import Packs

OTHER_EACH_TIME = ("run.json", "training.json", "metrics.json")  # seconds and folders are in them


def artefacts(folder: Path) -> dict[str, bytes]:
    """The bytes of every image's arrays and of every file in `run/` and `store/`, by where they are.

    Not of those with seconds in them, of locks, of how old the images are (`check`) and of who uses a stage (`uses`).
    """
    found: dict[str, bytes] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        place = file.relative_to(folder)
        if place.parts[0] not in ("run", "store"):
            continue
        if {"check", "uses"} & set(place.parts) or file.name.startswith(".") or file.suffix in (".lock", ".bin"):
            continue
        if file.suffix == ".index":
            packs = Packs(file.parent)
            found |= {f"{place.parent}/{name}": packs.get(name) for name in packs.names()}
        elif file.name not in OTHER_EACH_TIME:
            found[str(place)] = file.read_bytes()
    return found


def assert_same(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    """The same names with the same bytes."""
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
