"""The paper's tables of classification, made row by row; what was made before is taken up."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spp_det.classification.tables import Row, row_config, row_features, rows, run_row
from spp_det.config import config_to_dict, parse_setting
from spp_det.errors import ConfigError, DataError, WeightsError
from spp_det.files import read_json, write_json
from spp_det.pipeline.paper_tables import CLASSIFICATION, aim
from spp_det.pipeline.store import key_of
from spp_det.pipeline.training import say

Lines = list[list[str]]  # a heading, then a line for each row


@dataclass(frozen=True)
class RowsPlan:
    """What is to be made: table 2, 3, 4, 6 or 7.

    data: ImageNet's folder with train and val, a VOC devkit, or Caltech101's class folders. changes: settings of the
    user's, `key=value` for all rows or `ROW:key=value`, where ROW is a row or a network. only: rows or networks to
    make; none for all.
    """

    table: int
    data: Path
    out: Path
    changes: Sequence[str] = ()
    only: Sequence[str] = ()

    def wants(self, row: Row) -> bool:
        """Whether a row is to be made."""
        return not self.only or row.name in self.only or row.network in self.only

    def settings(self, row: Row) -> dict[str, Any]:
        """The user's settings of a row, those aimed at it last. Raises ConfigError."""
        aimed = [aim(change) for change in self.changes]
        chosen = [text for to, text in aimed if not to] + [text for to, text in aimed if to in (row.name, row.network)]
        return dict(map(parse_setting, chosen))


@dataclass
class RowsOutcome:
    """What came of a plan by the rows' names: figures in % by column, or why there are none."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


def reproduce_rows(plan: RowsPlan) -> RowsOutcome:
    """Make the rows that are wanted, and take up those that were made before.

    Raises ConfigError for a name that no row has, DataError for data that are not there, WeightsError where a network's
    weights are missing, before any work.
    """
    known = rows(plan.table)
    _check_names(plan, known)
    if not plan.data.is_dir():
        raise DataError(plan.data, "there is no such folder")
    outcome = RowsOutcome()
    data = _listing(plan.data)
    results: list[tuple[Row, Path]] = []
    for row in known:
        try:
            key = key_of([row.name, data, _made_of(row, plan.settings(row))])
        except WeightsError as fault:
            if plan.wants(row):
                raise WeightsError(f"{row.name} needs pretrained weights: {fault}") from None
        except ConfigError as fault:  # as of fc6 where the weights have none
            if plan.wants(row):
                outcome.faults[row.name] = str(fault)
        else:
            results.append((row, plan.out / f"table{plan.table}" / f"{key}.json"))
    for number, (row, result) in enumerate(results, 1):
        if plan.wants(row) and not result.exists():
            say(f"== {row.name} ({number} of {len(results)})")
            figures = run_row(row, plan.data, plan.out, plan.settings(row))
            write_json(result, {"row": row.name, "figures": figures})
        if result.exists():
            outcome.figures[row.name] = read_json(result)["figures"]
    return outcome


def lines(plan: RowsPlan, outcome: RowsOutcome) -> Lines:
    """The table: for each row and column the paper's figure and the one measured here, in %."""
    known = rows(plan.table)
    columns = list(dict.fromkeys(column for row in known for column in row.paper))
    table = [["%", *(name for column in columns for name in (f"{column}: paper", "here"))]]
    for row in known:
        here = outcome.figures.get(row.name, {})
        pairs = [(_figure(row.paper.get(column)), _figure(here.get(column))) for column in columns]
        table.append([row.name, *(text for pair in pairs for text in pair)])
    return table


def notes(plan: RowsPlan, outcome: RowsOutcome) -> list[str]:
    """What must be known to read the table, and what is missing from it."""
    told = [f"data: {plan.data}"]
    if plan.changes:
        told.append(f"settings: {' '.join(plan.changes)}")
    told += [f"{name}: {fault}" for name, fault in outcome.faults.items()]
    missing = [row.name for row in rows(plan.table) if row.name not in {*outcome.figures, *outcome.faults}]
    if missing:
        told.append("not made yet: " + "; ".join(missing))
    return told


def as_json(plan: RowsPlan, outcome: RowsOutcome, told: Sequence[str]) -> dict[str, Any]:
    """Everything as values, in %."""
    made = [
        {
            "row": row.name,
            "network": row.network,
            "paper": dict(row.paper),
            "here": outcome.figures.get(row.name),
            "fault": outcome.faults.get(row.name),
        }
        for row in rows(plan.table)
    ]
    title = CLASSIFICATION[f"table{plan.table}"]
    return {"table": title, "data": str(plan.data), "rows": made, "notes": list(told)}


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _check_names(plan: RowsPlan, known: Sequence[Row]) -> None:
    names = list(dict.fromkeys([*(row.network for row in known), *(row.name for row in known)]))
    for asked in plan.only:
        if asked not in names:
            raise ConfigError(f"--only {asked}: the table has {'; '.join(names)}")
    for to, text in map(aim, plan.changes):
        if to and to not in names:
            raise ConfigError(f"--set {to}:{text}: the table has no such row or network")


def _made_of(row: Row, changes: dict[str, Any]) -> Any:
    """What a row's figures come from but for the data: settings, and the weights' digest where it has such."""
    if row.kind == "imagenet":
        return config_to_dict(row_config(row, changes))
    extractor, splits = row_features(row, changes)
    extractor.fit([])
    made_of = [extractor.get_params(), vars(splits), extractor.trunk_.digest()]
    if extractor.run is not None:
        made_of.append(hashlib.sha256((Path(extractor.run) / "model.safetensors").read_bytes()).hexdigest())
    return [str(each) for each in made_of]


def _listing(root: Path) -> str:
    """A hash of the names and sizes of all files below a folder, by which changed data are known."""
    sha = hashlib.sha256()
    for name, size in sorted(_files(root, "")):
        sha.update(f"{name}\n{size}\n".encode())
    return sha.hexdigest()


def _files(folder: Path, inside: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path), f"{inside}{entry.name}/")
            else:
                yield inside + entry.name, entry.stat().st_size
