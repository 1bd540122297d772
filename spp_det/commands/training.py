"""spp-det train, test, status and compress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import (
    AsJson,
    DataFolder,
    RunFolder,
    Settings,
    SkipBad,
    StoreFolder,
    print_json,
    usage_error,
    words_aside,
)
from spp_det.places import as_path


def train(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DATA", parser=as_path, help="your images and boxes, in VOC's, COCO's or YOLO's form"
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="all settings, a TOML file such as those in configs/"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="RUN", parser=as_path, help="the run's folder (default: runs/NAME of the data)"),
    ] = None,
    settings: Settings = None,
    small: Annotated[
        bool, typer.Option("--compress", help="make a smaller and faster detector, too, in RUN-small")
    ] = False,
    store: StoreFolder = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Train a detector on images and boxes.

    With --data alone all settings are chosen by what is in the data; what was chosen is printed, and written beside the
    run as a configuration to change. With --config too, the data take the place of those that it names.

    Stopped at any moment, the same command goes on where it was; a stage whose settings and images are unchanged is
    not run again.
    """
    if config is None and data is None:
        raise usage_error("name your data, or a configuration", "--data, --config")
    from spp_det.files import read_json
    from spp_det.pipeline.beginning import begin
    from spp_det.torchrun import processes

    with processes() as here:
        with words_aside(as_json):
            run, small_run = begin(data, config, out, settings or (), small, store, skip_bad, here)
        if as_json:
            of_small = {"small": str(small_run)} if small_run else {}
            print_json({"run": str(run), **of_small, **read_json(run / "run.json")})


def evaluate(
    run: RunFolder,
    split: Annotated[str | None, typer.Option("--split", help="the images to test on (default: the run's)")] = None,
    data: DataFolder = None,
    settings: Settings = None,
    timing: Annotated[
        int, typer.Option("--timing", metavar="N", min=0, help="time SPP-net beside R-CNN on N images")
    ] = 0,
    windows: Annotated[int, typer.Option("--windows", min=1, help="windows an image while timing")] = 2000,
    store: StoreFolder = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
) -> None:
    """Say how good a run is, class by class.

    Prints average precision and the recall of the proposals, and writes metrics.json into the run's folder.
    """
    from spp_det.files import read_json
    from spp_det.pipeline import evaluate_run
    from spp_det.torchrun import processes

    with processes() as here:
        with words_aside(as_json):
            evaluate_run(
                run,
                split=split,
                data=str(data) if data else None,
                overrides=settings or (),
                timing_images=timing,
                timing_windows=windows,
                store=store,
                skip_bad=skip_bad,
                here=here,
            )
        if as_json:
            print_json(read_json(run / "metrics.json"))


def status(run: RunFolder, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show which stages of a run are done, and why not.

    A stage is done, partial, stale (made with other settings or images), or missing.

    With --set it shows what would run again with a changed setting.
    """
    from spp_det.pipeline.status import run_status, status_json, status_table
    from spp_det.tooling import console

    with words_aside(as_json):
        rows = run_status(run, settings or ())
    if as_json:
        print_json(status_json(rows))
    else:
        console.print(status_table(run, rows))


def compress(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", metavar="NEW", help="the folder of the new run")],
    rank: Annotated[
        list[int] | None,
        typer.Option(
            "--rank",
            metavar="R",
            help="of fc6 and fc7: once for both layers, or once for each; without, as they learnt",
        ),
    ] = None,
    energy: Annotated[
        float | None, typer.Option("--energy", help="the share in 0 .. 1 of what the layers say that stays")
    ] = None,
    keep: Annotated[float, typer.Option("--keep", help="windows that the first look lets through; 1: all")] = 0.1,
    width: Annotated[
        tuple[int, int] | None,
        typer.Option("--width", metavar="N N", help="units of fc6 and of fc7 that stay; all without"),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="training images to compress for")] = 1200,
    data: DataFolder = None,
    windows: Annotated[int, typer.Option("--windows", min=1, help="windows an image while timing")] = 2000,
    test: Annotated[bool, typer.Option("--test/--no-test", help="take the mAP of both, which takes longest")] = True,
    as_json: AsJson = False,
) -> None:
    """Make a smaller and faster detector of a run.

    It goes into a new run beside the old one. Prints size, speed and mAP before and after. Stopped while the two are
    tested, the same command goes on.
    """
    if rank is not None and energy is not None:
        raise usage_error("give a rank or an energy, and not both", "--rank, --energy")
    if rank is not None and len(rank) > 2:
        raise usage_error("stands once for both layers, or once for each", "--rank")
    from spp_det.detection.compression import Compression
    from spp_det.pipeline.compression import compress_run

    ranks = rank * 2 if rank and len(rank) == 1 else rank
    with words_aside(as_json):
        settings = Compression(ranks, energy, keep, width=width)
        result = compress_run(run, out, settings, str(data) if data else None, images, windows, test)
    if as_json:
        print_json({"run": str(out), **result})


def calibrate(
    run: RunFolder,
    split: Annotated[
        str | None, typer.Option("--split", help="images that were not trained on (default: those to test on)")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give a detector probabilities beside its scores.

    Learns from every second image of the split, measures on the others, and draws reliability.png into the run. Then
    spp-det detect --min-probability means the same for every class.
    """
    from spp_det.pipeline.calibrating import calibrate_run

    with words_aside(as_json):
        result = calibrate_run(run, split, str(data) if data else None)
    if as_json:
        print_json(result)
    else:
        print(
            f"calibrated on {result['images']} images of {result['split']}; on the others its probabilities "
            f"(from {result['least']:g} on) are {100 * result['error']:.1f}% off on average: {run / 'reliability.png'}"
        )


def report(
    run: RunFolder,
    split: Annotated[str | None, typer.Option("--split", help="the images to test on (default: the run's)")] = None,
    data: DataFolder = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="the page (default: report.html in RUN)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page with all that a test tells.

    Curves, kinds of error, best and worst detections, timing and settings, in a single file for any browser.
    """
    from spp_det.report.page import report_run

    with words_aside(as_json):
        path = report_run(run, split, str(data) if data else None, settings or (), out)
    if as_json:
        print_json({"report": str(path)})
    else:
        print(path)
