"""Where a run stands: which of its stages are done, partly done, or stale, and why.

torch is imported only where the networks are not those that the training was started with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from spp_det.config import Config
from spp_det.datasets import Dataset, open_dataset
from spp_det.errors import DataError
from spp_det.files import read_json
from spp_det.pipeline.plan import TRAINING, NetworkFacts, detect_stage, plan_stages, proposals_stage, run_digest
from spp_det.pipeline.split import Split, open_split
from spp_det.pipeline.store import StageFolder, Store
from spp_det.states import peek_state
from spp_det.trust import load_run_config, run_config_from

State = Literal["done", "partial", "stale", "missing"]
INPUTS = {
    "images": "the images changed",
    "targets": "the objects changed",
    "trunk": "the trunk or its weights changed",
    "file": "the file of boxes changed",
    "proposals": "the proposals changed",
    "finetune": "the fine-tuning changed",
    "detector": "the detector changed",
}


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run.

    state: "done"; "partial", a stopped run left a part, with which the next goes on; "stale", what is there was made
    with other settings or data; "missing". why: how much is there, what changed, or what comes first.
    """

    stage: str
    state: State
    why: str
    key: str | None = None


def run_status(run: Path, overrides: Sequence[str] = ()) -> list[StageStatus]:
    """Every stage of training and testing of a run, whether its training has ended or not.

    overrides: changed settings, as `--set` takes them: what would run again with them. Raises DataError where the
    folder is no run's, and what reading its images raises.
    """
    config, store, kept = _started_with(run, overrides)
    split = open_split(store, open_dataset(config.data, config.data.train), skip_bad=True)
    networks = NetworkFacts.recall(kept, config) or _build_networks(config, store, split.dataset)
    plan = plan_stages(store, config, split, networks)
    made: dict[str, Any] = read_json(run / "run.json").get("stages", {}) if (run / "run.json").exists() else {}
    rows = [
        _of_stage(title, folder, made.get(title, {}).get("key"), _progress(folder, config, len(split.ids)))
        for title, folder in plan.items()
    ]
    rows.append(_of_detector(run, plan, made))
    return rows + _testing(run, config, store, networks, rows[-1].state == "done")


def status_table(run: Path, rows: Sequence[StageStatus]) -> Table:
    """The stages as a table to print."""
    colours = {"done": "green", "partial": "yellow", "stale": "magenta", "missing": "red"}
    table = Table(title=str(run), title_justify="left")
    for heading in ("stage", "state", "why"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.stage, Text(row.state, colours[row.state]), row.why)
    return table


def status_json(rows: Sequence[StageStatus]) -> list[dict[str, Any]]:
    """The stages as JSON has them."""
    return [asdict(row) for row in rows]


def _build_networks(config: Config, store: Store, dataset: Dataset) -> NetworkFacts:
    from spp_det.pipeline.training import Run

    return Run(config, store, skip_bad=True, dataset=dataset).networks


def _started_with(run: Path, overrides: Sequence[str]) -> tuple[Config, Store, Any]:
    """What was to be trained, where its stages are, and what is known of its networks; see `NetworkFacts.recall`."""
    if (run / TRAINING).exists():
        facts = read_json(run / TRAINING)
        config = run_config_from(facts["config"], run / TRAINING, overrides)
    elif (run / "run.json").exists():
        facts = read_json(run / "run.json")
        if "compressed_from" in facts:
            raise DataError(run, f"was compressed from {facts['compressed_from']}: ask for the status of that run")
        config = load_run_config(run, overrides)
    else:
        raise DataError(run, "holds no run; spp-det train begins one" if run.is_dir() else "there is no such run")
    return config, Store(facts["store"]), facts.get("networks")


def _of_stage(title: str, folder: StageFolder, made: str | None, progress: str) -> StageStatus:
    """made: the key of the stage that the run's detector came from, if it has one."""
    if folder.done:
        return StageStatus(title, "done", "", folder.key)
    if made is not None and made != folder.key:
        return StageStatus(
            title, "stale", _difference(folder, made) + (f"; {progress}" if progress else ""), folder.key
        )
    return StageStatus(title, "partial" if progress else "missing", progress, folder.key)


def _progress(folder: StageFolder, config: Config, images: int) -> str:
    """How much of a stage a stopped run left; "" for nothing, and for one that is done."""
    if folder.done:
        return ""
    checkpoint = folder.path("checkpoint.safetensors")
    if checkpoint.exists():
        state = peek_state(checkpoint)
        if "iteration" in state:
            return f"{state['iteration']} of {config.finetune.iterations} iterations"
        return f"{state['step']} of {images * config.svm.passes} images"
    there = len(folder.names())
    if not there:
        return ""
    return f"{there} classes" if folder.stage == "regress" else f"{there} of {images} images"


def _difference(folder: StageFolder, made: str) -> str:
    """What another folder of the same stage was made of, and this one not."""
    path = folder.folder.with_name(made) / "stage.json"
    if not path.exists():
        return "its older result is gone from the store"
    old = read_json(path)
    settings = json.loads(json.dumps(dict(folder.settings)))  # tuples become lists, as in the file
    changes = _changes("", old["settings"], settings)
    changed_inputs = [name for name, key in folder.inputs.items() if old["inputs"].get(name) != key]
    changes += [INPUTS.get(name, f"{name} changed") for name in changed_inputs]
    return "; ".join(changes) or "its code changed"


def _changes(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The values that differ, as texts "table.key was 1, is 2"."""
    texts = []
    for key in {**old, **new}:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            texts += _changes(f"{prefix}{key}.", before, after)
        elif before != after:
            texts.append(f"{prefix}{key} was {before}, is {after}")
    return texts


def _of_detector(run: Path, plan: Mapping[str, StageFolder], made: Mapping[str, Any]) -> StageStatus:
    if not (run / "detector.json").exists():
        return StageStatus("detector", "missing", "comes after all stages of training")
    changed = [title for title, folder in plan.items() if made.get(title, {}).get("key") != folder.key]
    gone = [title for title in made if title not in plan]
    if changed or gone:
        return StageStatus("detector", "stale", f"made with other {', '.join([*changed, *gone])}")
    return StageStatus("detector", "done", f"{len(read_json(run / 'detector.json')['class_names'])} classes")


def _testing(run: Path, config: Config, store: Store, networks: NetworkFacts, trained: bool) -> list[StageStatus]:
    """The stages of testing on the configuration's own split."""
    name = config.data.test
    titles = [f"proposals, {name}", f"detections, {name}", "metrics.json"]
    try:
        split: Split = open_split(store, open_dataset(config.data, name), skip_bad=True)
    except DataError as fault:
        return [StageStatus(title, "missing", str(fault)) for title in titles[:1]]
    count = len(split.ids)
    proposals = proposals_stage(store, config, split)
    rows = [_of_stage(titles[0], proposals, None, _progress(proposals, config, count))]
    if not trained:
        return [*rows, *(StageStatus(title, "missing", "comes after training") for title in titles[1:])]
    detect = detect_stage(store, config, run_digest(run), networks.precision, split, proposals)
    rows.append(_of_stage(titles[1], detect, None, _progress(detect, config, count)))
    metrics = read_json(run / "metrics.json") if (run / "metrics.json").exists() else None
    if metrics is None:
        return [*rows, StageStatus(titles[2], "missing", "spp-det test writes it")]
    if metrics.get("detections") != detect.key:
        return [*rows, StageStatus(titles[2], "stale", "was made from other detections")]
    return [*rows, StageStatus(titles[2], "done", "")]
