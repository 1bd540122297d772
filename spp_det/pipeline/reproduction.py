"""Make a table of the paper: train and test what is missing, each stage that rows share once, and measure the seconds.

Every row is a run of its own in one folder, named after its settings, and all runs have one store; so a stopped
command goes on where it was, and another table takes what it can from the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import msgspec

from spp_det.config import Config, config_to_dict, load_config
from spp_det.datasets import open_dataset, spread
from spp_det.detection.bundle import load_detector
from spp_det.errors import ConfigError, WeightsError
from spp_det.evaluation import time_detectors
from spp_det.files import read_json, write_json
from spp_det.parts import make_trunk
from spp_det.pipeline.detections import look_together
from spp_det.pipeline.ensemble import evaluate_ensemble
from spp_det.pipeline.paper_tables import RCNN, Base, Cell, PaperTable, aim
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import Store, key_of
from spp_det.pipeline.testing import METHODS, evaluate_run
from spp_det.pipeline.training import say, train
from spp_det.tooling import progress
from spp_det.trust import load_run_config

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What is to be reproduced, and how.

    bases: where each side's rows start, and the folder of their files. data: the data set's folder.
    changes: settings of the user's, `key=value` for all rows or `ROW:key=value`, where ROW is a row, a column or a
    side (spp, rcnn): these go before the table's own, those behind. limit: images of each split; None for all.
    only: rows, columns, or `column row`s to make; none for all. timing: images to measure the seconds on; 0 for none.
    mean_over: the classes that the figures are the mean of; none for all.
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
    mean_over: Sequence[str] = ()

    def wants(self, cell: Cell) -> bool:
        """Whether a cell is to be made."""
        names = {cell.row, cell.column, cell.name}
        return not self.only or bool(names & set(self.only))

    def config(self, cell: Cell) -> Config:
        """The configuration that makes a cell. Raises ConfigError."""
        base = self.bases[cell.side]
        names = {cell.row, cell.column, cell.side}
        aimed = [aim(change) for change in self.changes]
        settings = [
            *base.settings,
            *((*RCNN, *base.rcnn) if cell.side == "rcnn" else ()),
            *(setting for to, setting in aimed if not to),
            *cell.settings,
            *(setting for to, setting in aimed if to in names),
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

    def value(self, cell: Cell, mean_over: Sequence[str] = ()) -> dict[str, Any] | None:
        """{"map", "ap"} of a cell, fractions, the mean over these classes or all; None where it was not made."""
        metrics = self.metrics.get(cell)
        if metrics is None:
            return None
        plain = "" if cell.regressed or not metrics["regression"] else "_without_regression"
        value = metrics[metrics["method"] + plain]
        return {**value, "map": fmean(value["ap"][name] for name in mean_over)} if mean_over else value


def reproduce(plan: Plan) -> Outcome:
    """Make the table's cells that are wanted, column by column, and take up those that were made before.

    Raises ConfigError for a name that no row or class has, WeightsError where a trunk's weights are missing, before any
    work.
    """
    cells = plan.table.cells
    _check_names(plan)
    configs = {cell: plan.config(cell) for cell in cells}
    _check_weights([(cell, configs[cell]) for cell in cells if plan.wants(cell)])
    store = Store(plan.out / "store")
    splits: dict[str, tuple[Split, Split]] = {}
    outcome = Outcome()
    for column in _distinct(cell.column for cell in cells):
        ready: list[_Ready] = []
        for cell in (cell for cell in cells if cell.column == column):
            config = configs[cell]
            data = key_of(msgspec.to_builtins(config.data))
            if data not in splits:
                splits[data] = _open(store, config)
                _check_classes(plan, splits[data][1])
            each = _ready(plan, cell, config, ready, splits[data])
            if each is not None and _train(plan, each, ready, store, outcome):
                ready.append(each)
        _test(plan, ready, store)
        for each in ready:
            if each.made:
                outcome.runs[each.cell], outcome.metrics[each.cell] = each.run, read_json(each.result)
    if plan.timing:
        _time_columns(plan, outcome, next(test for _, test in splits.values()))
    return outcome


@dataclass(frozen=True)
class _Ready:
    """A cell whose parts are there: its run, those that it joins, and the file of what came of it."""

    cell: Cell
    config: Config
    run: Path
    joined: tuple[Path, ...]
    result: Path
    train_images: int

    @property
    def made(self) -> bool:
        """Whether it was tested."""
        return self.result.exists()


def _ready(
    plan: Plan, cell: Cell, config: Config, before: Sequence[_Ready], splits: tuple[Split, Split]
) -> _Ready | None:
    """A cell, unless it joins rows that are not there. before: those of its column that come first."""
    there = [each for each in before if each.cell.row in cell.joins and (each.made or plan.wants(each.cell))]
    if len(there) < len(cell.joins):
        return None
    joined = tuple(each.run for each in there)
    run = plan.out / ("+".join(each.name for each in joined) or _folder(cell, config))
    inputs = [key for split in splits for key in (split.images_key, split.targets_key)]
    way = [] if cell.combine == "union" else [cell.combine]
    result = run / f"result-{key_of([inputs, *cell.test, *way])}.json"
    return _Ready(cell, config, run, joined, result, len(splits[0].ids))


def _train(plan: Plan, each: _Ready, before: Sequence[_Ready], store: Store, outcome: Outcome) -> bool:
    """Train the run of a cell that is wanted, if it needs that; False, the fault noted, where its parts do not fit."""
    trained = {one.run for one in before if one.made or plan.wants(one.cell)}
    there = each.made or each.joined or each.run in trained
    if there or not plan.wants(each.cell):
        return True
    cells = plan.table.cells
    say(f"== {each.cell.name} ({cells.index(each.cell) + 1} of {len(cells)}): {each.run}")
    try:
        train(each.config, each.run, store.root)
    except ConfigError as fault:  # as of a pyramid without the level of fc6
        outcome.faults[each.cell] = str(fault)
        return False
    return True


def _test(plan: Plan, ready: Sequence[_Ready], store: Store) -> None:
    """Test the runs of a column that were not tested yet, all together."""
    left = [each for each in ready if not each.made and plan.wants(each.cell)]
    single = [each for each in left if not each.joined]
    for test in _distinct(each.cell.test for each in single):
        look_together(_distinct(each.run for each in single if each.cell.test == test), store, test)
    for each in left:
        if each.made:  # with the row before, which is of the same run
            continue
        if each.joined:
            evaluate_ensemble(each.joined, out=each.run, store=store.root, combine=each.cell.combine)
        else:
            evaluate_run(each.run, overrides=each.cell.test, store=store.root)
        shown = {"method": METHODS[each.config.evaluate.method], "regression": each.config.regress.enabled}
        write_json(each.result, read_json(each.run / "metrics.json") | shown | {"train_images": each.train_images})


def _check_names(plan: Plan) -> None:
    cells = plan.table.cells
    names = {name for cell in cells for name in (cell.row, cell.column, cell.name)}
    for asked in plan.only:
        if asked not in names:
            raise ConfigError(f"--only {asked}: the table has {', '.join(_distinct(cell.row for cell in cells))}")
    for to, _ in map(aim, plan.changes):
        if to and to not in names | {"spp", "rcnn"}:
            raise ConfigError(f"--set {to}:..: the table has no such row or column")


def _check_classes(plan: Plan, test: Split) -> None:
    without = test.classes_without_objects()
    known = [name for name in test.dataset.class_names if name not in without]
    for name in plan.mean_over:
        if name not in known:
            raise ConfigError(f"--mean-over {name}: there are objects of {', '.join(known)} to test on")


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
        open_split(store, open_dataset(config.data, config.data.train)),
        open_split(store, open_dataset(config.data, config.data.test)),
    )


def _folder(cell: Cell, config: Config) -> str:
    words = "-".join("".join(c if c.isalnum() else " " for c in f"{cell.column} {config.trunk.name}").lower().split())
    return f"{words}-{config.svm.layer}-{key_of(config_to_dict(config))}"


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


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
