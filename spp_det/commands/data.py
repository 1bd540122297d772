"""spp-det check-data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, print_json, words_aside
from spp_det.places import as_path


def check_data(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", parser=as_path, help="a folder (VOC's form or YOLO's), a COCO .json or a YOLO .yaml file"
        ),
    ],
    form: Annotated[str | None, typer.Option("--format", help="its form (default: found by looking)")] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="keep this class; may stand several times")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="default: those to train and to test on")
    ] = None,
    year: Annotated[str | None, typer.Option("--year", help="of a VOCdevkit folder with several")] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE", help="draw some images with their boxes into this file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a data set, and count what is in it.

    Every image is decoded and every box read; what is broken, and what looks odd, is named. The exit code is 1 where
    something is broken.
    """
    from spp_det.report.checking import check_data_set

    with words_aside(as_json):
        reports = check_data_set(data, form, year, classes, split, sheet)
    if as_json:
        print_json([report.to_dict() for report in reports])
    raise typer.Exit(int(any(report.faults for report in reports)))
