"""A reproduced table as people read it: on the terminal, in Markdown, and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.table import Table

from spp_det.pipeline.paper_tables import R_CNN, Cell
from spp_det.pipeline.reproduction import Outcome, Plan

SECONDS = {"conv_s": "conv, s an image", "fc_s": "fc, s an image", "total_s": "total, s an image"}
Lines = list[list[str]]  # a heading, then a line for each row


def lines(plan: Plan, outcome: Outcome) -> Lines:
    """The table: for each row and column the paper's figure and the one measured here, mAP in %."""
    cells = plan.table.cells
    if any(cell.classes for cell in cells):
        return _per_class(plan, outcome)
    columns = list(dict.fromkeys(cell.column for cell in cells))
    at = {(cell.row, cell.column): cell for cell in cells}
    table = [["mAP, %", *(name for column in columns for name in (f"{column}: paper", "here"))]]
    for row in dict.fromkeys(cell.row for cell in cells):
        pairs = [_pair(plan, outcome, at[row, column]) if (row, column) in at else ("", "") for column in columns]
        table.append([row, *(text for pair in pairs for text in pair)])
    if plan.table.seconds:
        table += [[title, *_seconds(plan, outcome, columns, key)] for key, title in SECONDS.items()]
        table.append(["times as fast as R-CNN", *_speed_ups(plan, outcome, columns)])
    return table


def notes(plan: Plan, outcome: Outcome) -> list[str]:
    """What must be known to read the table, and what is missing from it."""
    made = next(iter(outcome.metrics.values()), None)
    sides = {cell.side: plan.config(cell).trunk for cell in plan.table.cells}
    trunks = ", ".join(f"{side} {trunk.name} ({trunk.weights} weights)" for side, trunk in sides.items())
    told = [f"trunks: {trunks}; data: {plan.data}"]
    if made:
        told.append(f"trained on {made['train_images']} images, tested on {made['images']}")
    if plan.mean_over:
        told.append(f"mean over {', '.join(plan.mean_over)} alone, where the paper's is over VOC's twenty classes")
    if plan.limit:
        told.append(
            f"at most {plan.limit} images of each split (--limit): no figure here is comparable with the paper's"
        )
    if plan.table.seconds and outcome.seconds:
        told.append(
            f"seconds: median of {plan.timing} images, {plan.windows} windows, without proposals, on this machine's "
            "processor; the paper's on a GPU of 2014"
        )
    told += [f"{cell.name}: {fault}" for cell, fault in outcome.faults.items()]
    missing = [cell for cell in plan.table.cells if cell not in outcome.metrics and cell not in outcome.faults]
    if missing:
        told.append("not made yet: " + "; ".join(cell.name for cell in missing))
    return told


def rich_table(title: str, table: Lines) -> Table:
    """The lines for the terminal."""
    shown = Table(title=title, title_justify="left")
    for number, heading in enumerate(table[0]):
        shown.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for line in table[1:]:
        shown.add_row(*line)
    return shown


def markdown(title: str, table: Lines, told: Iterable[str]) -> str:
    """The lines and the notes as Markdown."""
    rule = ["---", *(["---:"] * (len(table[0]) - 1))]
    text = "\n".join("| " + " | ".join(line) + " |" for line in [table[0], rule, *table[1:]])
    return f"**{title}**\n\n{text}\n\n" + "".join(f"- {each}\n" for each in told)


def as_json(plan: Plan, outcome: Outcome, told: Iterable[str]) -> dict[str, Any]:
    """Everything as values: mAP and APs in %, seconds."""
    rows = []
    for cell in plan.table.cells:
        value = outcome.value(cell, plan.mean_over)
        rows.append(
            {
                "row": cell.row,
                "column": cell.column,
                "paper": cell.paper,
                "here": _percent(value["map"]) if value else None,
                "ap": {name: _percent(ap) for name, ap in value["ap"].items()} if value else None,
                "run": str(outcome.runs[cell]) if cell in outcome.runs else None,
                "fault": outcome.faults.get(cell),
            }
        )
    paper = {column: dict(zip(SECONDS, seconds, strict=True)) for column, seconds in plan.table.seconds.items()}
    return {
        "table": plan.table.title,
        "data": plan.data,
        "limit": plan.limit,
        "mean_over": list(plan.mean_over),
        "rows": rows,
        "seconds": outcome.seconds,
        "seconds_paper": paper,
        "notes": list(told),
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _pair(plan: Plan, outcome: Outcome, cell: Cell) -> tuple[str, str]:
    value = outcome.value(cell, plan.mean_over)
    return _figure(cell.paper), _figure(_percent(value["map"]) if value else None)


def _per_class(plan: Plan, outcome: Outcome) -> Lines:
    cells = plan.table.cells
    values = [outcome.value(cell, plan.mean_over) for cell in cells]
    names = next((list(value["ap"]) for value in values if value), [f"class {n}" for n in range(len(cells[0].classes))])
    table = [["AP, %", *(name for cell in cells for name in (f"{cell.row}: paper", "here"))]]
    table.append(["mean", *(text for cell in cells for text in _pair(plan, outcome, cell))])
    for label, name in enumerate(names):
        line = [name]
        for cell, value in zip(cells, values, strict=True):
            # other classes than VOC's have no figure in the paper
            paper = cell.classes[label] if len(names) == len(cell.classes) else None
            line += [_figure(paper), _figure(_percent(value["ap"][name]) if value else None)]
        table.append(line)
    return table


def _seconds(plan: Plan, outcome: Outcome, columns: Iterable[str], key: str) -> list[str]:
    place = list(SECONDS).index(key)
    texts = []
    for column in columns:
        here = outcome.seconds.get(column)
        texts += [f"{plan.table.seconds[column][place]:.3f}", f"{here[key]:.3f}" if here else "-"]
    return texts


def _speed_ups(plan: Plan, outcome: Outcome, columns: Iterable[str]) -> list[str]:
    texts = []
    slow = outcome.seconds.get(R_CNN)
    for column in columns:
        here = outcome.seconds.get(column)
        if column == R_CNN:
            texts += ["", ""]
            continue
        paper = plan.table.seconds[R_CNN][2] / plan.table.seconds[column][2]
        texts += [f"{paper:.0f}x", f"{slow['total_s'] / here['total_s']:.1f}x" if slow and here else "-"]
    return texts
