"""spp-det check-data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, print_json, words_aside


def check_data(
    data: Annotated[Path, typer.Argument(metavar="DIR", help="a VOCdevkit folder, or your own in its layout")],
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="a class of yours; may stand several times")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option("--split", metavar="NAME", help="default: trainval and test, if there")
    ] = None,
    year: Annotated[str, typer.Option("--year", help="which VOC{year} of a VOCdevkit folder")] = "2007",
    as_json: AsJson = False,
) -> None:
    """Check a data set, and count what is in it.

    Every image is decoded and every box read; what is broken is named. The exit code is 1 where something is.
    """
    from spp_det.datasets import VOC_CLASSES
    from spp_det.datasets.check import check_dataset
    from spp_det.tooling import console, track

    with words_aside(as_json):
        reports = check_dataset(data, year, split or [], tuple(classes or VOC_CLASSES), track)
    if as_json:
        print_json([report.to_dict() for report in reports])
    else:
        for report in reports:
            report.show(console)
    raise typer.Exit(int(any(report.faults for report in reports)))
