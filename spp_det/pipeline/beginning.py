"""From data, or a configuration, to a trained run: what `spp-det train` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spp_det.config import Config, load_config
from spp_det.detection.compression import Compression
from spp_det.errors import ConfigError
from spp_det.pipeline.choosing import plan_training
from spp_det.pipeline.compression import compress_run, is_compressed_from
from spp_det.pipeline.training import say, train
from spp_det.processes import ALONE, Processes

RANKS = (256, 128)  # of fc6 and fc7 in the small detector


def begin(
    data: Path | None,
    config: Path | None,
    out: Path | None = None,
    overrides: Sequence[str] = (),
    small: bool = False,
    store: Path | None = None,
    skip_bad: bool = False,
    here: Processes = ALONE,
) -> tuple[Path, Path | None]:
    """Train on a data set, on a configuration, or on the one with the settings of the other.

    out: the run's folder, by default below runs/ with the name of the configuration, else of the data. small: compress
    the detector too, into a run beside it. here: the processes that train together. Returns both runs.
    At least one of `data` and `config` is given; raises what choosing, reading and training raise.
    """
    if config is not None:
        run = out or Path("runs") / config.stem
        chosen = load_config(config, overrides, **({"data__root": str(data)} if data else {}))
    else:
        assert data is not None
        run = out or Path("runs") / _name(data)
        with here.first_ahead():
            chosen = _choose(data, run, ["svm.layer=fc7", *overrides] if small else overrides)
    if small and chosen.svm.layer != "fc7":
        raise ConfigError('only SVMs that read "fc7" can be compressed: --compress and svm.layer do not go together')
    train(chosen, run, store=store, skip_bad=skip_bad, here=here)
    small_run = run.with_name(f"{run.name}-small") if small else None
    if here.first and small_run is not None and not is_compressed_from(small_run, run):
        (small_run / "detector.json").unlink(missing_ok=True)  # of an earlier detector
        compress_run(run, small_run, Compression(ranks(chosen)), tested=False)
    here.wait()
    say(f"next: spp-det test {run}; spp-det detect PICTURE --run {small_run or run}")
    return run, small_run


def ranks(config: Config) -> tuple[int, int]:
    """RANKS, or half of the layers' widths where those are narrow."""
    first, second = (min(rank, width // 2) for rank, width in zip(RANKS, config.finetune.hidden, strict=True))
    return first, second


def _choose(data: Path, run: Path, overrides: Sequence[str]) -> Config:
    """The configuration that is chosen, told, and written beside the run."""
    plan = plan_training(data, overrides)
    for line in plan.said:
        say(f"  {line}")
    file = run.with_name(f"{run.name}.toml")
    if plan.write(file):
        say(f"all settings: {file}; change them, and train with --config {file}")
    else:
        say(f"{file} is another configuration, and stays: --config {file} would train with it; this one goes to {run}")
    return plan.config


def _name(data: Path) -> str:
    """What a run of these data is called: as their folder, or their file without its ending."""
    whole = data.resolve()
    return (whole.stem if whole.is_file() else whole.name) or "run"
