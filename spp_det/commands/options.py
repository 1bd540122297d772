"""What several commands share: options, and how results are printed."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from spp_det.places import as_path

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", parser=as_path, help="the run's folder, which spp-det train wrote")
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", parser=as_path, help="the data set's folder, in place of the run's own"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="change a setting, e.g. svm.C=0.01; may stand several times"),
]
StoreFolder = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="where stages are kept (default: store/ beside the run)")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad-images", help="leave out broken images, and list them")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on standard output, and all else on standard error")]


@contextlib.contextmanager
def words_aside(as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, what is printed in the block goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield


def print_json(value: Any) -> None:
    """A value as JSON on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False), flush=True)


def usage_error(text: str, option: str) -> typer.BadParameter:
    """A mistake in the arguments: exit code 2."""
    return typer.BadParameter(text, param_hint=option)
