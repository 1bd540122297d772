"""Where mining stands, in a file for each process: what another number of processes can go on from, too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spp_det.states import read_state, write_state
from spp_det.training.mining import Miner
from spp_det.training.svm import Hyperplane


def save(miner: Miner, path: Path, step: int) -> None:
    """Write a checkpoint of a miner's classes after so many steps."""
    arrays = {
        "weights": np.stack([plane.weights for plane in miner.planes]),
        "intercepts": np.array([plane.intercept for plane in miner.planes]),
        "trained": miner.trained,
        "added": miner.added,
        "duals": np.concatenate(miner.duals),
        "dual_lengths": np.array([len(duals) for duals in miner.duals]),
        "steps": np.maximum(miner.begin, step),
    }
    state = {"settings": _identity(miner), "step": step, "labels": miner.learnable, "log": miner.log}
    write_state(path, arrays | miner.cache.state(), state)


def resume(miner: Miner, paths: Iterable[Path]) -> None:
    """Let each of a miner's classes go on from that of the checkpoints which has it, and got farthest with it.

    Raises DataError where one is broken or no checkpoint, SppDetError where it is another run's.
    """
    for path in paths:
        arrays, state = read_state(path, _identity(miner))
        steps = arrays.get("steps", np.full(miner.num_classes, state["step"]))
        known = state.get("labels", miner.learnable)
        labels = [label for label in miner.learnable if label in known and steps[label] > miner.begin[label]]
        duals = np.split(arrays["duals"], np.cumsum(arrays["dual_lengths"])[:-1])
        for label in labels:
            miner.planes[label] = Hyperplane(arrays["weights"][label], float(arrays["intercepts"][label]))
            miner.duals[label] = duals[label]
        for name in ("trained", "added"):
            getattr(miner, name)[labels] = arrays[name][labels]
        miner.begin[labels] = steps[labels]
        miner.cache.take_over(arrays, labels)
        kept = [entry for entry in miner.log if entry["class"] not in labels]
        miner.log = kept + [entry for entry in state["log"] if entry["class"] in labels and entry["event"] == "train"]


def _identity(miner: Miner) -> dict[str, Any]:
    source = miner.source
    shape = {"images": len(source), "classes": miner.num_classes, "dim": source.dim(miner.layer)}
    return asdict(miner.settings) | shape | {"layer": miner.layer}
