"""The report of a run: one HTML file that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from spp_det.files import write_whole
from spp_det.pipeline.testing import look_at_run
from spp_det.report.contents import gather


def report_run(
    run: Path, split: str | None = None, data: str | None = None, overrides: Sequence[str] = (), out: Path | None = None
) -> Path:
    """Write report.html of a run, by default into its folder; returns where.

    split, data, overrides: as `spp_det.pipeline.evaluate_run` takes them. Detections that the store has are not made
    again.
    """
    tested = look_at_run(run, split, data, overrides)
    path = out or run / "report.html"
    write_whole(path, render({**gather(run, tested), "split": split or tested.config.data.test}).encode())
    return path


def render(contents: Mapping[str, Any]) -> str:
    """The page of what `gather` found, with "split". Names that come from data are escaped."""
    loader = PackageLoader("spp_det.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.lstrip_blocks = True
    environment.filters["percent"] = percent
    return environment.get_template("report.html").render(contents)


def percent(value: float | None) -> str:
    """A fraction as text, in %; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"
