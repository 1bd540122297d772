"""The check of a data set, as the command and the tool print it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spp_det.datasets import recognise
from spp_det.datasets.check import SplitReport, check_split
from spp_det.detection import save_image
from spp_det.report.contact_sheet import contact_sheet
from spp_det.tooling import console, track


def check_data_set(
    data: Path,
    form: str | None = None,
    year: str | None = None,
    classes: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    sheet: Path | None = None,
) -> list[SplitReport]:
    """Check the splits of a data set, print what they hold, and draw some images of the first into `sheet`.

    form, year, classes: see `recognise`; splits: those to look at, by default to train and to test on.
    """
    found = recognise(data, form, year, classes)
    for line in found.said:
        console.print(line, soft_wrap=True, markup=False)
    reports = []
    for name in splits or found.usual_splits:
        dataset = found.dataset(name)
        reports.append(check_split(dataset, name, track))
        reports[-1].show(console)
        if sheet and len(reports) == 1:
            save_image(sheet, contact_sheet(dataset, first=[image_id for image_id, _ in reports[0].odd]))
            console.print(f"some images of {name} with their boxes: {sheet}", soft_wrap=True, markup=False)
    return reports
