"""spp-det export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spp_det.commands.options import AsJson, RunFolder, print_json, words_aside


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="the folder for the graphs and their manifest")],
    as_json: AsJson = False,
) -> None:
    """Write a detector as ONNX graphs, to be run without torch.

    spp-det detect --onnx DIR runs them with onnxruntime; any other program can, too: docs/export.md says what they take
    and give, and export.json beside them holds all else.
    """
    from spp_det.detection import Detector
    from spp_det.export import export_detector

    with words_aside(as_json):
        files = export_detector(Detector.load(run, precision="float32"), out).files
    if as_json:
        print_json({"export": str(out), "bytes": files})
    else:
        for name, size in files.items():
            print(f"{out / name}: {size / 1e6:.1f} MB")
