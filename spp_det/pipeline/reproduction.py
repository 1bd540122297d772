"""Make a table of the paper: train and test what is missing, each stage that rows share once, and measure the seconds.

Every row is a run of its own in one folder, named after its settings, and all runs have one store; so a stopped
command goes on where it was, and another table takes what it can from the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from spp_det.config import Config, config_to_dict, load_config
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError, WeightsError
from spp_det.evaluation import time_detectors
from spp_det.files import read_json, write_json
from spp_det.parts import make_dataset, make_trunk, spread
from spp_det.pipeline.ensemble import evaluate_ensemble
from spp_det.pipeline.paper_tables import RCNN, Base, Cell, PaperTable
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import Store, key_of
from spp_det.pipeline.testing import METHODS, evaluate_run
from spp_det.pipeline.training import say, train
from spp_det.tooling import progress
from spp_det.trust import load_run_config


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced, and how.

    bases: where each side's rows start, and the folder of their files. data: the data set's folder.
    changes: settings of the user's, `key=value` for all rows or `ROW:key=value`, where ROW is a row, a column or a
    side (spp, rcnn): these go before the table's own, those behind. limit: images of each split; None for all.
    only: rows, columns, or `column row`s to make; none for all. timing: images to measure the seconds on; 0 for none.
    """

    table: PaperTable
    bases: Mapping[str, Base]
    configs: Path
    data: str
    out: Path
    changes: Sequence[str] = ()
    limit: int | None = None
    only: Sequence[str] = ()
    timing: int = 3
    windows: int = 2000

    def wants(self, cell: Cell) -> bool:
        """Whether a cell is to be made."""
        names = {cell.row, cell.column, cell.name}
        return not self.only or bool(names & set(self.only))

    def config(self, cell: Cell) -> Config:
        """The configuration that makes a cell. Raises ConfigError."""
        base = self.bases[cell.side]
        names = {cell.row, cell.column, cell.side}
        aimed = [_aim(change) for change in self.changes]
        settings = [
            *base.settings,
            *((*RCNN, *base.rcnn) if cell.side == "rcnn" else ()),
            *(setting for aim, setting in aimed if not aim),
            *cell.settings,
            *(setting for aim, setting in aimed if aim in names),
            *([f"data.max_images={self.limit}"] if self.limit else []),
        ]
        return load_config(self.configs / base.config, settings, data__root=self.data)


@dataclass
class Outcome:
    """What came of a plan: by cell, the run's folder, its metrics, or why there are none; and seconds by column."""

    runs: dict[Cell, Path] = field(default_factory=dict)
    metrics: dict[Cell, dict[str, Any]] = field(default_factory=dict)
    faults: dict[Cell, str] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    def value(self, cell: Cell) -> dict[str, Any] | None:
        """{"map", "ap"} of a cell, fractions; None where it was not made."""
        metrics = self.metrics.get(cell)
        if metrics is None:
            return None
        return metrics[
            metrics["method"] + ("" if cell.regressed or not metrics["regression"] else "_without_regression")
        ]


def reproduce(plan: Plan) -> Outcome:
    """Make the table's cells that are wanted, and take up those that were made before.

    Raises ConfigError for a name that no row has, WeightsError where a trunk's weights are missing, before any work.
    """
    cells = plan.table.cells
    _check_names(plan)
    configs = {cell: plan.config(cell) for cell in cells}
    _check_weights([(cell, configs[cell]) for cell in cells if plan.wants(cell)])
    store = Store(plan.out / "store")
    splits: dict[str, tuple[Split, Split]] = {}
    outcome = Outcome()
    for number, cell in enumerate(cells, 1):
        config = configs[cell]
        data = key_of(msgspec.to_builtins(config.data))
        if data not in splits:
            splits[data] = _open(store, config)
        train_images, test_images = splits[data]
        joined = [outcome.runs[one] for one in cells if one.row in cell.joins and one in outcome.runs]
        if len(joined) < len(cell.joins):
            continue
        run = plan.out / ("+".join(each.name for each in joined) or _folder(cell, config))
        inputs = [train_images.images_key, train_images.targets_key, test_images.images_key, test_images.targets_key]
        result = run / f"result-{key_of([inputs, *cell.test])}.json"
        if plan.wants(cell) and not result.exists():
            say(f"== {cell.name} ({number} of {len(cells)}): {run}")
            try:
                write_json(result, _make(cell, config, run, store, joined) | {"train_images": len(train_images.ids)})
            except ConfigError as fault:  # a part that does not fit this row, as a pyramid without the level of fc6
                outcome.faults[cell] = str(fault)
        if result.exists():
            outcome.runs[cell], outcome.metrics[cell] = run, read_json(result)
    if plan.timing:
        _time_columns(plan, outcome, next(test for _, test in splits.values()))
    return outcome


def _make(cell: Cell, config: Config, run: Path, store: Store, joined: Sequence[Path]) -> dict[str, Any]:
    """Train and test the run of a cell, or test those that it joins; the metrics, and which of them the table shows."""
    if joined:
        evaluate_ensemble(joined, out=run, store=store.root)
    else:
        train(config, run, store.root)
        evaluate_run(run, overrides=cell.test, store=store.root)
    shown = {"method": METHODS[config.evaluate.method], "regression": config.regress.enabled}
    return read_json(run / "metrics.json") | shown


def _aim(change: str) -> tuple[str, str]:
    """(whom a change is for, "" for all; the change itself)."""
    before, colon, rest = change.partition(":")
    return (before, rest) if colon and "=" not in before else ("", change)


def _check_names(plan: Plan) -> None:
    cells = plan.table.cells
    names = {name for cell in cells for name in (cell.row, cell.column, cell.name)}
    for asked in plan.only:
        if asked not in names:
            raise ConfigError(f"--only {asked}: the table has {', '.join(_distinct(cell.row for cell in cells))}")
    for aim, _ in map(_aim, plan.changes):
        if aim and aim not in names | {"spp", "rcnn"}:
            raise ConfigError(f"--set {aim}:..: the table has no such row or column")


def _check_weights(wanted: Iterable[tuple[Cell, Config]]) -> None:
    """Build each trunk once: what lacks is said before the first row takes its hours."""
    known = set()
    for cell, config in wanted:
        if config.trunk in known:
            continue
        known.add(config.trunk)
        try:
            make_trunk(config)
        except WeightsError as fault:
            raise WeightsError(f"{cell.column} needs pretrained weights: {fault}") from None


def _open(store: Store, config: Config) -> tuple[Split, Split]:
    return (
        open_split(store, make_dataset(config, config.data.train)),
        open_split(store, make_dataset(config, config.data.test)),
    )


def _folder(cell: Cell, config: Config) -> str:
    words = "-".join("".join(c if c.isalnum() else " " for c in f"{cell.column} {config.trunk.name}").lower().split())
    return f"{words}-{config.svm.layer}-{key_of(config_to_dict(config))}"


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _time_columns(plan: Plan, outcome: Outcome, images: Split) -> None:
    """Time each column of SPP-net that has a run beside R-CNN's run or, where there is none, its own with crops."""
    last = {cell.column: (cell, run) for cell, run in outcome.runs.items()}  # the deepest row of each column
    rcnn = next(((cell.column, run) for cell, run in last.values() if cell.side == "rcnn"), ("R-CNN", None))
    chosen = [(image_id, images.dataset.image(image_id)) for image_id in spread(images.ids, plan.timing)]
    for column, (cell, run) in last.items():
        if cell.side != "spp" or not plan.table.seconds:
            continue
        other = rcnn[1] or run
        file = run / f"timing-{key_of([images.images_key, plan.timing, plan.windows, other.name])}.json"
        if not file.exists():
            say(f"== seconds of {column}: {run}")
            config = load_run_config(run)
            ours = load_detector(run, precision=config.precision)
            theirs = load_detector(other, ["regions.kind=rcnn"], config.precision)
            with progress("timing") as show:
                write_json(file, time_detectors(chosen, ours, theirs, plan.windows, progress=show))
        timed = read_json(file)
        outcome.seconds[column] = _summary(timed["spp"])
        outcome.seconds[rcnn[0]] = _summary(timed["rcnn"])


def _summary(seconds: Mapping[str, float]) -> dict[str, float]:
    """As the paper counts: convolutions and pooling, fc layers, and all without proposals."""
    return {
        "conv_s": seconds["maps_s"] + seconds["pooling_s"],
        "fc_s": seconds["fc_s"],
        "total_s": seconds["total_s"] - seconds["proposals_s"],
    }
