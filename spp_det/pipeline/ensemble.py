"""Test several runs together as one detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from spp_det.config import Combination, Config, load_config
from spp_det.detection.ensemble import Ensemble
from spp_det.errors import ConfigError
from spp_det.files import read_json
from spp_det.parallel import available_cores
from spp_det.parts import make_proposals
from spp_det.pipeline.detections import Subject, load_tested
from spp_det.pipeline.plan import run_digest
from spp_det.pipeline.store import Store, key_of
from spp_det.pipeline.testing import look_at, measure, report
from spp_det.places import as_path
from spp_det.processes import ALONE, Processes
from spp_det.trust import load_run_config


def evaluate_ensemble(
    runs: Sequence[Path],
    config: Path | None = None,
    out: Path | None = None,
    split: str | None = None,
    data: str | None = None,
    overrides: Sequence[str] = (),
    store: Path | None = None,
    skip_bad: bool = False,
    voc_results: Path | None = None,
    here: Processes = ALONE,
    combine: Combination | None = None,
) -> dict[str, Any]:
    """Test runs as one detector; print the tables, write metrics.json, and return what is in it.

    config: a configuration with `[ensemble]`, which names the runs (then `runs` is empty) and says on what, by which
    windows and in which order they are tested; without it all that is as in the first run. out: where metrics.json
    goes, by default a folder beside the first run named after all of them. combine: how their scores become one, see
    Ensemble; None for what the configuration says, else the union.
    overrides: changed settings of the test and of every run. voc_results, here: as for `evaluate_run`.
    Raises ConfigError for a configuration without `[ensemble]`, runs of different classes, and what testing one run
    raises.
    """
    torch.set_num_threads(available_cores())
    replaced = {"data__root": data} if data else {}
    settings = load_config(config, overrides, **replaced) if config else load_run_config(runs[0], overrides, **replaced)
    folders = _named_runs(settings, config) if config else list(runs)
    members = [load_tested(run, overrides, settings, here, **replaced) for run in folders]
    combine = combine or (settings.ensemble.combine if config and settings.ensemble else "union")
    ensemble = Ensemble(members, settings.detect, make_proposals(settings), combine)
    way = [] if combine == "union" else [combine]
    name = " + ".join(map(str, folders)) + "".join(f", {each}" for each in way)
    print(f"together: {name}", flush=True)
    joined = out or folders[0].parent / "+".join([*(run.name for run in folders), *way])
    subject = Subject(name, joined, settings, ensemble, key_of([*(run_digest(run) for run in folders), *way]))
    folder = Store(store or read_json(folders[0] / "run.json")["store"])
    tested = look_at(subject, folder, split, skip_bad, here)
    if not here.first:
        here.wait()
        return read_json(joined / "metrics.json")
    metrics = measure(tested, voc_results)
    metrics |= {"runs": [str(run) for run in folders], "overrides": list(overrides)}
    report(settings, metrics, tested.images, joined)
    here.wait()
    return metrics


def _named_runs(settings: Config, config: Path) -> list[Path]:
    if settings.ensemble is None:
        raise ConfigError(f"{config}: has no [ensemble] with the runs to join")
    return [as_path(run) for run in settings.ensemble.runs]
