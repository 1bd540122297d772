#!/usr/bin/env python
"""A table of the SPP-net paper: train and test what is missing, and print the paper's figures beside the measured ones.

    python tools/reproduce.py table9 --data data/VOCdevkit --trunk alexnet
    python tools/reproduce.py table9 --data data/VOCdevkit --trunk alexnet --only "ftfc7 bb" --limit 200 \\
        --set finetune.iterations=2000 rcnn:finetune.iterations=500

Stopped at any moment, the same command goes on where it was; stages that rows or tables share are made once.
docs/reproduction.md says what each table needs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from spp_det.files import write_json, write_whole
from spp_det.pipeline.paper_tables import BASES, TABLES, Base
from spp_det.tooling import console, run_tool

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def main(argv: list[str] | None) -> int:
    """Parse the arguments and reproduce."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES, help="a table of the paper, or one of its variants")
    parser.add_argument("--data", required=True, help="a VOCdevkit folder")
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
        help="change settings of all rows, or of those of a row, a column or a side (spp, rcnn)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="take N images of each split, not all")
    parser.add_argument("--edge-model", metavar="FILE", help="of edgeboxes: OpenCV's structured forest, model.yml.gz")
    parser.add_argument("--timing", type=int, default=3, metavar="N", help="time on N images, 0: not at all (3)")
    parser.add_argument("--windows", type=int, default=2000, help="windows an image while timing (2000)")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    args = parser.parse_args(argv)
    if (args.limit is not None and args.limit < 1) or args.timing < 0 or args.windows < 1:
        parser.error("--limit and --windows are 1 or more, --timing 0 or more")
    if (args.table == "edgeboxes") != (args.edge_model is not None):
        parser.error("edgeboxes, and no other table, needs --edge-model")
    from spp_det.pipeline.reproduction import Plan, reproduce  # takes seconds: after what can go wrong without it
    from spp_det.pipeline.reproduction_report import as_json, lines, markdown, notes, rich_table

    table = TABLES[args.table]
    sides = {side: BASES[args.trunk or trunk] for side, trunk in table.trunks.items()}
    if args.config:
        sides = dict.fromkeys(table.trunks, Base(str(args.config.absolute())))
    if args.edge_model:
        model = f"proposals.file={args.edge_model}"
        cells = [replace(c, test=(*c.test, model)) if c.test else c for c in table.cells]
        cells = [replace(c, settings=(*c.settings, model)) if "+" in " ".join(c.settings) else c for c in cells]
        table = replace(table, cells=tuple(cells))
    plan = Plan(table, sides, CONFIGS, args.data, args.out, args.set, args.limit, args.only, args.timing, args.windows)
    outcome = reproduce(plan)
    shown, told = lines(plan, outcome), notes(plan, outcome)
    console.print(rich_table(plan, shown))
    for note in told:
        console.print(f"- {note}", soft_wrap=True, markup=False)
    if args.json:
        write_json(args.json, as_json(plan, outcome, told))
    if args.markdown:
        write_whole(args.markdown, markdown(plan, shown, told).encode())
    return 0


if __name__ == "__main__":
    run_tool(main)
