"""The figures of a report, each as a picture that stands in the page itself."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image as PillowImage

from spp_det.detection.drawing import class_colour, draw
from spp_det.evaluation.recall_curve import PANELS
from spp_det.evaluation.reliability import draw_reliability
from spp_det.evaluation.voc import Curve
from spp_det.images import resize, scaled_size
from spp_det.structures import Detections, Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 200  # of a curve: more cannot be seen
COLUMNS = 4  # of classes in a legend
PICTURE_SIDE = 220  # px, the shorter side of a picture


def curves_figure(curves: Mapping[str, Curve]) -> str:
    """Precision against recall of each class that has objects."""
    figure = _figure(5.2, _height(curves))
    axes = figure.subplots()
    for label, (name, curve) in enumerate(curves.items()):
        if curve.objects and len(curve.recall):
            rises = np.flatnonzero(np.diff(curve.recall, append=2.0))  # the last point at each recall
            rows = rises[np.unique(np.linspace(0, len(rises) - 1, POINTS).astype(int))]
            colour = [channel / 255 for channel in class_colour(label)]
            axes.plot(curve.recall[rows], curve.precision[rows], label=name, color=colour, linewidth=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.3)
    _legend_below(figure)
    return _svg(figure)


def recall_figure(curve: Mapping[str, Sequence[float]]) -> str:
    """What the first windows of an image cover, against how many they are; see `recall_curve`."""
    figure = _figure(5.2, 3.4)
    axes = figure.subplots()
    for name, title in PANELS.items():
        axes.plot(curve["windows"], curve[name], marker=".", label=title)
    axes.set(xscale="log", ylim=(0, 1), xlabel="windows an image")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _svg(figure)


def mining_figure(log: Sequence[Mapping[str, Any]], class_names: Sequence[str]) -> str:
    """The negatives that each class was trained on, along the images that were gone through."""
    figure = _figure(5.2, _height(class_names))
    axes = figure.subplots()
    for label, name in enumerate(class_names):
        events = [event for event in log if event["event"] == "train" and event["class"] == label]
        colour = [channel / 255 for channel in class_colour(label)]
        images, negatives = ([event[key] for event in events] for key in ("image", "negatives"))
        axes.plot(images, negatives, marker=".", markersize=3, linewidth=0.8, label=name, color=colour)
    axes.set(xlabel="images gone through", ylabel="negatives in a training")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(alpha=0.3)
    _legend_below(figure)
    return _svg(figure)


def reliability_figure(result: Mapping[str, Any]) -> str:
    """How the probabilities of a calibrated detector and what was right go together."""
    figure = _figure(4.2, 4.2)
    draw_reliability(figure.subplots(), result)
    return _svg(figure)


def picture(image: Image, detections: Detections) -> str:
    """An image with detections drawn in, small, as a data URL."""
    height, width = image.shape[:2]
    size = scaled_size((height, width), min(PICTURE_SIDE, min(height, width)))
    factor = np.array([size[1] / width, size[0] / height] * 2, np.float32)
    small = Detections(detections.boxes * factor, detections.scores, detections.labels, detections.class_names)
    content = io.BytesIO()
    drawn = draw(resize(image, size), small, min_score=float("-inf"))
    PillowImage.fromarray(drawn).save(content, "JPEG", quality=80)
    return _data_url("image/jpeg", content.getvalue())


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _height(classes: Sequence[str] | Mapping[str, Any]) -> float:
    """Inches of a figure with so many classes in its legend."""
    return 3.6 + 0.18 * math.ceil(len(classes) / COLUMNS)


def _legend_below(figure: Figure) -> None:
    """The classes below the axes, in columns: beside them a phone would have no room for the curves."""
    figure.legend(loc="outside lower center", ncols=COLUMNS, frameon=False, fontsize=8)


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "spp_det", "svg.fonttype": "path"}):  # the same bytes every time
        figure.savefig(content, format="svg", metadata={"Date": None})
    return _data_url("image/svg+xml", content.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
