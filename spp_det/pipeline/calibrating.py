"""Give the detector of a run probabilities, learnt on images that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spp_det.detection.calibration import Calibration
from spp_det.detection.memory import CALIBRATION
from spp_det.errors import ConfigError
from spp_det.evaluation.reliability import judged, plot_reliability, reliability
from spp_det.files import write_arrays, write_json
from spp_det.pipeline.testing import look_at_run


def calibrate_run(run: Path, split: str | None = None, data: str | None = None) -> dict[str, Any]:
    """Calibrate on every second image of a split, by default the one for testing, and measure on the others.

    Writes the calibration, calibration.json and reliability.png into the run. Returns `reliability` of the others with
    "images", how many it learnt from, and "split". Raises ConfigError for the split that was trained on, and where
    the split has too little to learn from.
    """
    tested = look_at_run(run, split, data)
    name = split or tested.config.data.test
    if name == tested.config.data.train:
        raise ConfigError(f"{run}: was trained on {name}: calibrate on images that it has not seen")
    ids, found, targets = tested.images.ids, tested.detections(), tested.images.targets
    halves = [judged({i: targets[i] for i in half}, found) for half in (ids[::2], ids[1::2])]
    try:
        calibration = Calibration().fit(*halves[0], len(tested.class_names))
    except ValueError as fault:
        raise ConfigError(f"{run}: {fault}; {name} has too few") from None
    scores, labels, right = halves[1]
    measured = reliability(calibration.probabilities(scores, labels), right)
    result = {**measured, "images": len(ids[::2]), "split": name}
    write_arrays(run / CALIBRATION, calibration.state())
    write_json(run / "calibration.json", result | ({} if measured["count"] else {"error": None}))
    plot_reliability(result, run / "reliability.png")
    return result
