"""spp-det add-class, remove-class and rename-class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, RunFolder, print_json, words_aside

OutFolder = Annotated[
    Path | None, typer.Option("--out", metavar="NEW", help="write the detector here (default: into RUN itself)")
]


def add_class(
    run: RunFolder,
    name: Annotated[str, typer.Option("--name", help="the class, as the annotations call it")],
    data: Annotated[Path, typer.Option("--data", metavar="DATA", help="a data set with images of it, of any form")],
    split: Annotated[str | None, typer.Option("--split", help="which of its images (default: to train on)")] = None,
    images: Annotated[int | None, typer.Option("--images", min=1, help="at most so many of them")] = None,
    out: OutFolder = None,
    as_json: AsJson = False,
) -> None:
    """Teach a detector one more class, in seconds.

    Some twenty images are enough to begin with. Only an SVM and a box regressor are trained; all other classes stay as
    they are. The same command with more images later goes on from the examples that it kept.
    """
    from spp_det.pipeline.classes import add_to_run
    from spp_det.tooling import counted

    with words_aside(as_json):
        done = add_to_run(run, name, data, split, images, out)
    if as_json:
        print_json(done)
    else:
        print(
            f"{name}: {counted(done['objects'], 'object')} in {counted(done['images'], 'image')}, {done['seconds']} s; "
            f"the SVM keeps {done['positives']} positives and {done['negatives']} negatives; see {done['run']}"
        )


def remove_class(
    run: RunFolder, name: Annotated[str, typer.Argument(help="the class to forget")], out: OutFolder = None
) -> None:
    """Forget a class of a detector."""
    from spp_det.pipeline.classes import remove_from_run

    remove_from_run(run, name, out)


def rename_class(
    run: RunFolder,
    old: Annotated[str, typer.Argument(help="its name")],
    new: Annotated[str, typer.Argument(help="its new name")],
    out: OutFolder = None,
) -> None:
    """Give a class of a detector another name."""
    from spp_det.pipeline.classes import rename_in_run

    rename_in_run(run, old, new, out)
