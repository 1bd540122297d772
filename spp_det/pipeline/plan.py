"""Which stages a training and a test have, and their folders in the store, before one is run and without torch."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

import spp_det
from spp_det.config import Config
from spp_det.datasets import positives_only
from spp_det.errors import DataError
from spp_det.pipeline.seen import file_states
from spp_det.pipeline.split import Split
from spp_det.pipeline.store import StageFolder, Store, key_of
from spp_det.places import WEIGHTS_FOLDER

TRAINING = "training.json"  # what a training was started with, for those who ask before it has ended
MAPS_TITLES = {False: "maps", True: "maps, mirrored"}  # by whether the images are mirrored
VERSIONS = {"proposals": 4, "maps": 2, "vectors": 2, "finetune": 1, "svm": 2, "regress": 2, "detect": 2}


@dataclass(frozen=True)
class NetworkFacts:
    """What keys need to know of the networks, which take seconds to build.

    trunk: its digest; precision: the torch.dtype that it computes in, as text; whole: whether windows are crops that go
    through the whole trunk, as R-CNN's do.
    """

    trunk: str
    precision: str
    whole: bool

    def remembered(self, config: Config) -> dict[str, Any]:
        """What TRAINING keeps, as JSON has it."""
        return {**asdict(self), "mark": _mark(config)}

    @classmethod
    def recall(cls, kept: Any, config: Config) -> NetworkFacts | None:
        """What was kept, as long as it must still be so: with these settings, files of weights, code and machine."""
        mark = _mark(config)
        if mark is None or not isinstance(kept, dict) or kept.get("mark") != mark:
            return None
        try:
            return msgspec.convert(kept, cls)
        except msgspec.ValidationError:
            return None


def _mark(config: Config) -> str | None:
    """A hash of all that `NetworkFacts` follow from; None where that cannot be known, as of the user's own parts."""
    if ":" in config.trunk.name or ":" in config.regions.kind:
        return None
    package = Path(spp_det.__file__).parent
    code = [*package.glob("networks/*.py"), *package.glob("regions/*.py")]
    weights = config.trunk.weights
    files = [*WEIGHTS_FOLDER.glob("*")] if weights == "default" else [] if weights == "random" else [Path(weights)]
    states = file_states(sorted([*code, *files]))
    if not states.any(axis=1).all():
        return None
    settings = [msgspec.to_builtins(config.trunk), config.regions.kind, config.precision]
    return key_of([*settings, platform.node(), spp_det.__version__, states.tolist()])


def plan_stages(store: Store, config: Config, split: Split, networks: NetworkFacts) -> dict[str, StageFolder]:
    """The folders of all stages of a training by their titles, in the order that they run."""
    return {**_plan_images(store, config, split, networks), **_plan_learning(store, config, split, networks)}


def sides(config: Config) -> list[bool]:
    """Whether the images are seen mirrored: as they are, and for what learns with flips the other way too."""
    tuned = config.finetune.flip and config.finetune.iterations
    return [False, True] if tuned or config.svm.flip else [False]


def frozen_crops(config: Config, networks: NetworkFacts) -> bool:
    """R-CNN whose convolutions stay as they are: each crop is seen once; all else starts from its pooled vector."""
    return networks.whole and 0 in (config.finetune.iterations, config.finetune.first_conv)


def crops_title(layer: str, flipped: bool = False) -> str:
    """The title of the stage that keeps the vectors of crops at a layer."""
    return f"{layer} of crops" + (", mirrored" if flipped else "")


def proposals_stage(store: Store, config: Config, split: Split) -> StageFolder:
    """The folder of a split's proposals."""
    settings: dict[str, Any] = {**msgspec.to_builtins(config.proposals), "seed": config.seed}
    inputs = {"images": split.images_key}
    if config.proposals.file:
        inputs["file"] = _file_digest(config.proposals.file)
    without = without_proposals(split)
    if without:
        inputs["without"] = key_of(without)
    return store.stage("proposals", VERSIONS["proposals"], settings, inputs)


def without_proposals(split: Split) -> list[str]:
    """The images of which training takes the marked objects alone."""
    partly = positives_only(split.dataset)
    return [image_id for image_id in split.ids if image_id in partly] if partly else []


def maps_stage(store: Store, config: Config, split: Split, trunk: str, flipped: bool) -> StageFolder:
    """The folder of a split's maps by a trunk of a digest, of the images as they are or mirrored."""
    settings = {"scales": list(config.maps.scales), "flipped": flipped}
    return store.stage("maps", VERSIONS["maps"], settings, {"images": split.images_key, "trunk": trunk})


def detect_stage(
    store: Store, config: Config, digest: str, precision: str, images: Split, proposals: StageFolder
) -> StageFolder:
    """The folder of the detections of a split by a detector of a digest.

    precision: the torch.dtype that it computes in, as text.
    """
    tables = ("regions", "regress", "detect")
    settings: dict[str, Any] = {name: msgspec.to_builtins(getattr(config, name)) for name in tables}
    settings |= {"svm": config.svm.shaping(), "maps": config.maps.shaping(), "precision": precision}
    inputs = {"proposals": proposals.key, "images": images.images_key, "detector": digest}
    return store.stage("detect", VERSIONS["detect"], settings, inputs)


def run_digest(run: Path) -> str:
    """A hash of a run's detector."""
    sha = hashlib.sha256()
    for name in ("detector.json", "head.safetensors", "svms.safetensors", "regressor.safetensors"):
        if (run / name).exists():
            sha.update((run / name).read_bytes())
    return sha.hexdigest()


def _plan_images(store: Store, config: Config, split: Split, networks: NetworkFacts) -> dict[str, StageFolder]:
    """The stages that look at images alone."""
    plan = {"proposals": proposals_stage(store, config, split)}
    if not networks.whole and config.maps.keep:
        for flipped in sides(config):
            plan[MAPS_TITLES[flipped]] = maps_stage(store, config, split, networks.trunk, flipped)
    return plan


def _plan_learning(store: Store, config: Config, split: Split, networks: NetworkFacts) -> dict[str, StageFolder]:
    """The stages that learn: all stand on what shapes every vector, and on one another."""
    svm, regress = config.svm, config.regress
    shaping = {
        "regions": msgspec.to_builtins(config.regions),
        "maps": {"levels": list(config.maps.levels)} if networks.whole else config.maps.shaping(),
        "use_difficult": config.data.use_difficult,
        "seed": config.seed,
        "precision": networks.precision,
    }
    proposals = proposals_stage(store, config, split).key
    basis = {"proposals": proposals, "targets": split.targets_key, "trunk": networks.trunk}

    def stage(name: str, table: Any, **inputs: str) -> StageFolder:
        settings = {**shaping, name: json.loads(msgspec.json.encode(table))}
        return store.stage(name, VERSIONS[name], settings, {**basis, **inputs})

    def standing_on(layer: str) -> dict[str, str]:
        """What a layer's vectors depend on: pooled ones on no layer that is tuned, unless the trunk is."""
        untouched = layer == "pool5" and (not networks.whole or frozen)
        return {} if untouched else {"finetune": tuned.key}

    frozen = frozen_crops(config, networks)
    tuned = stage("finetune", config.finetune)
    plan = {}
    if frozen:
        for flipped in sides(config):
            plan[crops_title("pool5", flipped)] = stage("vectors", {"layer": "pool5", "flipped": flipped})
    plan["fine-tuning"] = tuned
    if networks.whole and not frozen:
        plan[crops_title(svm.layer)] = stage("vectors", {"layer": svm.layer}, finetune=tuned.key)
    plan["SVMs"] = stage("svm", svm.shaping(), **standing_on(svm.layer))
    if regress.enabled:
        plan["box regression"] = stage("regress", regress, **standing_on(regress.layer))
    return plan


def _file_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as fault:
        raise DataError(path, fault.strerror or str(fault)) from None
