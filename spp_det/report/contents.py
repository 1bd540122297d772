"""What a report says, gathered from a run, its store and its detections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.config import config_to_toml
from spp_det.evaluation import proposal_recall
from spp_det.evaluation.error_kinds import KINDS, error_kinds, kinds_of, missed
from spp_det.evaluation.recall_curve import ranked, recall_curve
from spp_det.evaluation.timing import TITLES, without_proposals
from spp_det.evaluation.voc import average_precision, precision_recall
from spp_det.files import read_json
from spp_det.installation import versions
from spp_det.pipeline.testing import Tested
from spp_det.report import figures
from spp_det.structures import Detections, Target

MIN_SCORE = 0.0  # the SVMs' own border: what spp-det detect shows
SHOWN = 12  # pictures of a kind
WINDOW_COUNTS = (10, 30, 100, 300, 1000, 3000, 10_000)
KIND_TEXTS = {
    "right": "right",
    "location": "location: the right class, but the box fits too little",
    "class": "class: an object of another class",
    "both": "both: another class, and the box fits too little",
    "duplicate": "duplicate: a better detection has the object already",
    "background": "background: nothing is there",
    "missed": "missed: objects that no detection found",
}


def gather(run: Path, tested: Tested) -> dict[str, Any]:
    """Everything that the page shows, by section; figures and pictures as data URLs, fractions in [0, 1]."""
    targets, names, settings = tested.images.targets, tested.class_names, tested.config.evaluate
    detections = tested.detections()
    curves = precision_recall(targets, detections, names, settings.min_overlap, settings.overlap_test)
    ap = {
        name: average_precision(curve.recall, curve.precision, settings.method)
        for name, curve in curves.items()
        if curve.objects
    }
    rows = [{"name": name, "objects": curve.objects, "ap": ap.get(name)} for name, curve in curves.items()]
    shown = {image_id: found.above(MIN_SCORE) for image_id, found in detections.items()}
    windows = tested.windows()
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").exists() else {}
    return {
        "run": run.name,
        "images": len(targets),
        "objects": sum(curve.objects for curve in curves.values()),
        "skipped": list(tested.images.skipped.values()),
        "method": settings.method,
        "min_overlap": settings.min_overlap,
        "map": float(np.mean(list(ap.values()))) if ap else None,
        "classes": rows,
        "curves": figures.curves_figure(curves),
        "recall": proposal_recall(targets, windows, names),
        "recall_figure": figures.recall_figure(recall_curve(targets, ranked(windows), WINDOW_COUNTS)),
        "errors": _errors(error_kinds(targets, shown, names, settings.min_overlap)),
        "kinds": KIND_TEXTS,
        "pictures": _pictures(tested, shown),
        "timing": _timing(metrics.get("timing")),
        "mining": _mining(run, names),
        "calibration": _calibration(run),
        "settings": config_to_toml(tested.config),
        "versions": versions(),
    }


def _errors(counts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """A row a class and one for all: what was found by kind, each with its share of the row."""
    total = {kind: sum(row[kind] for row in counts.values()) for kind in KIND_TEXTS}
    rows = []
    for name, row in {"all": total, **counts}.items():
        found = sum(row.values())
        shares = {kind: row[kind] / found if found else 0.0 for kind in KIND_TEXTS}
        rows.append({"name": name, "counts": row, "shares": shares})
    return rows


def _pictures(tested: Tested, shown: Mapping[str, Detections]) -> list[dict[str, Any]]:
    """Three groups: the best right detections, the worst wrong ones, and the largest objects that were missed."""
    targets, overlap = tested.images.targets, tested.config.evaluate.min_overlap
    judged = [
        (float(score), image_id, row, kind)
        for image_id, found in shown.items()
        for row, (score, kind) in enumerate(zip(found.scores, kinds_of(targets[image_id], found, overlap), strict=True))
    ]
    judged.sort(key=lambda one: (-one[0], one[1], one[2]))
    best = _one_a_class([one for one in judged if one[3] == "right"], shown)
    worst = [one for one in judged if one[3] in KINDS][:SHOWN]
    groups = [
        {"title": "The surest that are right", "pictures": [_one(tested, shown, *one) for one in best]},
        {"title": "The surest that are wrong", "pictures": [_one(tested, shown, *one) for one in worst]},
        {"title": "The largest that were missed", "pictures": _missed(tested, shown)},
    ]
    return [group for group in groups if group["pictures"]]


def _one_a_class(judged: list[tuple[float, str, int, str]], shown: Mapping[str, Detections]) -> list[Any]:
    """The best of each class first, then the next best."""
    seen: dict[int, int] = {}
    ranks = []
    for place, (_, image_id, row, _) in enumerate(judged):
        label = int(shown[image_id].labels[row])
        seen[label] = seen.get(label, 0) + 1
        ranks.append((seen[label], place))
    return [judged[place] for _, place in sorted(ranks)[:SHOWN]]


def _one(
    tested: Tested, shown: Mapping[str, Detections], score: float, image_id: str, row: int, kind: str
) -> dict[str, str]:
    one = shown[image_id][row : row + 1]
    return {
        "image": figures.picture(tested.images.dataset.image(image_id), one),
        "text": f"{one.names[0]} {score:.2f}" + ("" if kind == "right" else f", {kind}"),
        "name": image_id,
    }


def _missed(tested: Tested, shown: Mapping[str, Detections]) -> list[dict[str, str]]:
    overlap, names = tested.config.evaluate.min_overlap, tested.class_names
    lost: list[tuple[float, str, Target]] = []
    for image_id, target in tested.images.targets.items():
        height, width = tested.images.sizes[image_id]
        for row in np.flatnonzero(missed(target, shown[image_id], overlap)):
            x1, y1, x2, y2 = target.boxes[row]
            lost.append((float((x2 - x1) * (y2 - y1)) / (height * width), image_id, target[row : row + 1]))
    lost.sort(key=lambda one: (-one[0], one[1]))
    pictures = []
    for _, image_id, one in lost[:SHOWN]:
        marked = Detections(one.boxes, np.zeros(1, np.float32), one.labels, names)
        image = figures.picture(tested.images.dataset.image(image_id), marked)
        pictures.append({"image": image, "text": names[one.labels[0]], "name": image_id})
    return pictures


def _timing(timing: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The bars of the timing: a row a stage, with each side's share of the slower side's total."""
    if timing is None:
        return None
    sides = {"SPP-net": timing["spp"], "R-CNN": timing["rcnn"]}
    longest = max(seconds["total_s"] for seconds in sides.values())
    bars = []
    for name, seconds in sides.items():
        stages = {TITLES[stage]: value for stage, value in seconds.items() if stage != "total_s"}
        bars.append(
            {
                "name": name,
                "total": seconds["total_s"],
                "without_proposals": without_proposals(seconds),
                "stages": [{"name": stage, "s": value, "share": value / longest} for stage, value in stages.items()],
            }
        )
    keys = ("windows", "images", "threads", "speedup", "speedup_with_proposals")
    return {"bars": bars, **{key: timing[key] for key in keys}}


def _mining(run: Path, class_names: tuple[str, ...]) -> dict[str, Any] | None:
    """The history of the mining, where the store still has it."""
    facts = read_json(run / "run.json") if (run / "run.json").exists() else {}
    stage = facts.get("stages", {}).get("SVMs")
    if stage is None:
        return None
    path = Path(facts["store"]) / "svm" / stage["key"] / "log.json"
    if not path.exists():
        return None
    log = read_json(path)
    trainings = [event for event in log if event["event"] == "train"]
    return {
        "figure": figures.mining_figure(log, class_names),
        "trainings": len(trainings),
        "unfinished": sum(not event["converged"] for event in trainings),
        "without": [class_names[event["class"]] for event in log if event["event"] == "no positives"],
    }


def _calibration(run: Path) -> dict[str, Any] | None:
    path = run / "calibration.json"
    if not path.exists():
        return None
    result = read_json(path)
    return {**result, "figure": figures.reliability_figure(result)}
