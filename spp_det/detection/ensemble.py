"""Several detectors as one (section 4.4): each scores all windows, and suppression chooses among the scores of all.

The paper joins networks of one structure whose pre-training began from other random weights: 59.2 and 59.1 became 60.9.
Its union keeps the highest score that any member gives, right or wrong; the mean of the members' scores for a window
loses the errors of each, and is there beside it.
Several fine-tunings of one convolutional network share its maps here, and the pooled vectors too where the pyramids are
the same; they are computed once for an image. (`Detector.ensemble` gets here; spp_det.detection does not import this
file, since it loads torch.)
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.config import Combination, DetectConfig, load_config
from spp_det.detection.candidates import Candidates, select_candidates
from spp_det.detection.detector import Detector, PooledWindows, ScoredWindows
from spp_det.detection.window_detector import WindowDetector
from spp_det.errors import ConfigError
from spp_det.proposals import ProposalMethod
from spp_det.regions import maps_key, pooled_key
from spp_det.structures import Boxes, Image, Proposals, Size, check_image
from spp_det.threads import one_blas_thread
from spp_det.watch import Watch


class Ensemble(WindowDetector):
    """Several detectors as one; one member alone gives what it gives by itself, to the bit.

    members: the detectors, of the same classes in the same order.
    settings, proposals: in place of the first member's.
    combine: "union": all members' scored windows, one suppression over all of them, each window moved by its own
    member; of equal scores the earlier member's window comes first, within a member the earlier window. "mean": each
    window once, with the mean of the members' scores, and moved to the mean of where the members with a regressor move
    it; the scores of the members' SVMs should be of one kind.
    """

    def __init__(
        self,
        members: Sequence[Detector],
        settings: DetectConfig | None = None,
        proposals: ProposalMethod | None = None,
        combine: Combination = "union",
    ) -> None:
        if not members:
            raise ConfigError("an ensemble has one member at least")
        for number, member in enumerate(members):
            if member.class_names != members[0].class_names:
                raise ConfigError(f"member {number} of the ensemble has other classes than member 0, or another order")
            if combine == "mean" and member.first_look is not None:
                raise ConfigError(f"member {number} of the ensemble drops windows: a mean takes the scores of all")
        self.combine = combine
        self.members = tuple(members)
        self.class_names = members[0].class_names
        self.settings = settings or members[0].settings
        self.proposals = proposals or members[0].proposals

    @classmethod
    def load(cls, source: str | PathLike[str] | Sequence[str | PathLike[str]], precision: str = "auto") -> Ensemble:
        """The ensemble of the runs in some folders, or of those that a configuration names under `[ensemble]`.

        precision: see `Detector.load`. A configuration's `[detect]` holds in place of the first run's. Raises
        ConfigError for a configuration without `[ensemble]`, and what `Detector.load` raises.
        """
        if not isinstance(source, (str, PathLike)):
            return cls([Detector.load(run, precision) for run in source])
        config = load_config(Path(source))
        if config.ensemble is None:
            raise ConfigError(f"{source}: has no [ensemble] with the runs to join")
        members = [Detector.load(run, precision) for run in config.ensemble.runs]
        return cls(members, config.detect, combine=config.ensemble.combine)

    def candidates(self, image: Image, proposals: Proposals, watch: Watch | None = None) -> Candidates:
        """Those of all members; where the order has no suppression yet, a window may stand once for each member."""
        image, watch = check_image(image), watch or Watch()
        if not len(proposals):
            return Candidates.empty()
        with one_blas_thread():
            pooled = pool_together(self.members, image, proposals.boxes, watch)
            scored = [member.score(each, watch) for member, each in zip(self.members, pooled, strict=True)]
            with watch.stage("rest_s"):
                if self.combine == "mean":
                    return self._mean(scored, (image.shape[0], image.shape[1]))
                boxes = np.concatenate([each.boxes for each in scored])
                chosen = select_candidates(boxes, np.concatenate([each.scores for each in scored]), self.settings)
                return self._regress(scored, chosen, (image.shape[0], image.shape[1]))

    def _regress(self, scored: Sequence[ScoredWindows], chosen: Candidates, size: Size) -> Candidates:
        """The chosen windows, which count through all members' windows, each moved by its own member."""
        windows, regressed = chosen.windows.copy(), chosen.boxes.copy()
        start, moving = 0, False
        for member, own in zip(self.members, scored, strict=True):
            at = np.flatnonzero((chosen.windows >= start) & (chosen.windows < start + len(own.rows)))
            part = Candidates(chosen.windows[at] - start, chosen.boxes[at], chosen.scores[at], chosen.labels[at])
            moved = member.regress(own, part, size)
            windows[at] = moved.windows
            if moved.regressed is not None:
                regressed[at], moving = moved.regressed, True
            start += len(own.rows)
        if not moving:
            return replace(chosen, windows=windows)
        return replace(chosen, windows=windows, regressed=regressed)

    def _mean(self, scored: Sequence[ScoredWindows], size: Size) -> Candidates:
        chosen = select_candidates(scored[0].boxes, np.mean([each.scores for each in scored], axis=0), self.settings)
        each = [member.regress(own, chosen, size) for member, own in zip(self.members, scored, strict=True)]
        moved = [one.regressed for one in each if one.regressed is not None]
        return each[0] if len(moved) == 0 else each[0].with_regressed(np.mean(moved, axis=0))


def pool_together(members: Sequence[Detector], image: Image, boxes: Boxes, watch: Watch) -> list[PooledWindows]:
    """Every detector's pooled windows, float32 [N, 4], N >= 1; what detectors have in common is computed once."""
    features: dict[Hashable, Any] = {}
    known: dict[Hashable, PooledWindows] = {}
    pooled = []
    for number, member in enumerate(members):
        maps = maps_key(member.regions)
        key = pooled_key(member.regions) if member.first_look is None else number
        if key not in known:
            known[key] = member.pool(image, boxes, watch, features.get(maps))
            features[maps] = known[key].features
        pooled.append(known[key])
    return pooled


def candidates_of_each(members: Sequence[Detector], image: Image, proposals: Proposals) -> list[Candidates]:
    """What each detector finds by itself, as its `candidates`; what detectors have in common is computed once."""
    image, watch = check_image(image), Watch()
    if not len(proposals):
        return [Candidates.empty() for _ in members]
    with one_blas_thread():
        pooled = pool_together(members, image, proposals.boxes, watch)
        return [member.choose(each, image, watch) for member, each in zip(members, pooled, strict=True)]
