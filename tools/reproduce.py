#!/usr/bin/env python
"""A table of the SPP-net paper: train and test what is missing, and print the paper's figures beside the measured ones.

    python tools/reproduce.py table9 --data data/VOCdevkit --trunk alexnet
    python tools/reproduce.py table9 --data data/VOCdevkit --trunk alexnet --only "ftfc7 bb" --limit 200 \\
        --set finetune.iterations=2000 rcnn:finetune.iterations=500
    python tools/reproduce.py table2 --data data/imagenet --only "zf5, multi-size"
    python tools/reproduce.py table6 --data data/VOCdevkit --only "zf5, SPP" --set weights=data/weights/zf5.safetensors

Stopped at any moment, the same command goes on where it was; stages that rows or tables share are made once.
docs/reproduction.md says what each table needs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spp_det.files import write_json, write_whole
from spp_det.pipeline.paper_tables import BASES, CLASSIFICATION, TABLES, Base
from spp_det.tooling import console, run_tool

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
# What the tables of classification do not take.
OF_DETECTION = ("trunk", "config", "limit", "timing", "windows", "mean_over")


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = [*TABLES, *CLASSIFICATION]
    parser.add_argument("table", choices=tables, help="a table of the paper, or one of its variants")
    parser.add_argument("--data", required=True, help="a VOCdevkit folder; ImageNet's or Caltech101's class folders")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--trunk", choices=BASES, help="of all rows (default: those of the paper)")
    which.add_argument("--config", type=Path, help="a configuration that all rows start from, in place of a trunk's")
    parser.add_argument("--out", type=Path, default=Path("runs/reproduction"), help="the runs' folder (%(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="make this row or column only")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="[ROW:]KEY=VALUE",
        help="change settings of all rows, or of those of a row, a column, a network or a side (spp, rcnn)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take N images of each split, not all")
    parser.add_argument("--mean-over", nargs="+", metavar="CLASS", help="mean over these classes alone")
    parser.add_argument("--edge-model", metavar="FILE", help="of edgeboxes: OpenCV's structured forest, model.yml.gz")
    parser.add_argument("--timing", type=int, metavar="N", help="time on N images, 0: not at all (3)")
    parser.add_argument("--windows", type=int, help="windows an image while timing (2000)")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    return parser


def main(argv: list[str] | None) -> int:
    """Parse the arguments and reproduce."""
    arguments = parser()
    args = arguments.parse_args(argv)
    if any(value is not None and value < 1 for value in (args.limit, args.windows)) or (args.timing or 0) < 0:
        arguments.error("--limit and --windows are 1 or more, --timing 0 or more")
    if (args.table == "edgeboxes") != (args.edge_model is not None):
        arguments.error("edgeboxes, and no other table, needs --edge-model")
    if args.table in TABLES:
        _detection(args)
        return 0
    given = [name for name in OF_DETECTION if getattr(args, name) is not None]
    if given:
        arguments.error(f"--{given[0].replace('_', '-')} is for the tables of detection")
    _classification(args)
    return 0


def _detection(args: argparse.Namespace) -> None:
    from spp_det.pipeline.reproduction import Plan, reproduce  # takes seconds: after what can go wrong without it
    from spp_det.pipeline.reproduction_report import as_json, lines, notes

    table = TABLES[args.table]
    sides = {side: BASES[args.trunk or trunk] for side, trunk in table.trunks.items()}
    if args.config:
        sides = dict.fromkeys(table.trunks, Base(str(args.config.absolute())))
    if args.edge_model:
        model = f"proposals.file={args.edge_model}"
        cells = [replace(c, test=(*c.test, model)) if c.test else c for c in table.cells]
        cells = [replace(c, settings=(*c.settings, model)) if "+" in " ".join(c.settings) else c for c in cells]
        table = replace(table, cells=tuple(cells))
    timing, windows = 3 if args.timing is None else args.timing, args.windows or 2000
    places = (CONFIGS, args.data, args.out)
    plan = Plan(table, sides, *places, args.set, args.limit, args.only, timing, windows, args.mean_over or ())
    outcome = reproduce(plan)
    told = notes(plan, outcome)
    _show(args, table.title, lines(plan, outcome), told, as_json(plan, outcome, told))


def _classification(args: argparse.Namespace) -> None:
    from spp_det.pipeline.classification_tables import RowsPlan, as_json, lines, notes, reproduce_rows

    plan = RowsPlan(int(args.table.removeprefix("table")), Path(args.data), args.out, args.set, args.only)
    outcome = reproduce_rows(plan)
    told = notes(plan, outcome)
    _show(args, CLASSIFICATION[args.table], lines(plan, outcome), told, as_json(plan, outcome, told))


def _show(
    args: argparse.Namespace, title: str, table: list[list[str]], told: Sequence[str], values: Mapping[str, Any]
) -> None:
    """Print the table and its notes, and write the files that are asked for."""
    from spp_det.pipeline.reproduction_report import markdown, rich_table

    console.print(rich_table(title, table))
    for note in told:
        console.print(f"- {note}", soft_wrap=True, markup=False)
    if args.json:
        write_json(args.json, values)
    if args.markdown:
        write_whole(args.markdown, markdown(title, table, told).encode())


if __name__ == "__main__":
    run_tool(main)
