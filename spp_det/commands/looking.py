"""spp-det detect."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, usage_error
from spp_det.places import as_path


class Form(StrEnum):
    """What detections are written as."""

    drawn = "drawn"
    json = "json"
    coco = "coco"
    csv = "csv"
    yolo = "yolo"


def detect(
    pictures: Annotated[
        list[str],
        typer.Argument(
            metavar="PICTURES...",
            help="images, videos, folders, patterns such as 'holiday/*.jpg'; - reads one image from standard input",
        ),
    ],
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", parser=as_path, help="a trained run (default: the detector that ships)"),
    ] = None,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", metavar="DIR", help="in place of a run what spp-det export wrote; needs no torch"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder for what is written")] = Path("found"),
    save: Annotated[
        list[Form] | None,
        typer.Option(
            "--save",
            help="what to write: drawn pictures, JSON, COCO's JSON, CSV, YOLO's text files; may stand several times "
            "(default: drawn, and with --json nothing)",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score", help="leave out SVM margins below this (default: 0 where there are no probabilities)"
        ),
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(
            "--min-probability",
            min=0,
            max=1,
            help="leave out less likely ones, of a calibrated detector (default: 0.5)",
        ),
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="of a video look at each so-manieth frame")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="processes that read pictures and make windows ahead (default: by their number and the cores)",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find objects in pictures and videos.

    Prints a line an image, with --json a line of JSON, and draws the boxes into copies of the pictures. A file that
    cannot be read is named, the others are looked at all the same, and the exit code is 1.
    """
    if run is not None and onnx is not None:
        raise usage_error("give a run or what was exported, and not both", "--run, --onnx")
    from spp_det.pipeline import Looking, detect_files
    from spp_det.shipped import shipped_run

    forms = [form.value for form in dict.fromkeys(save)] if save else [] if as_json else ["drawn"]
    looking = Looking(min_score, min_probability, forms, out, every, as_json, workers)
    code = detect_files(onnx or run or shipped_run(), pictures, looking, exported=onnx is not None)
    raise typer.Exit(code)
