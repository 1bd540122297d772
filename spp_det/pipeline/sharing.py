"""One stage, made by all processes of a run together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from spp_det.config import Config
from spp_det.errors import ConfigError
from spp_det.networks import compute_dtype
from spp_det.pipeline.store import StageFolder
from spp_det.processes import Processes

Made = tuple[str, Sequence[Mapping[str, np.ndarray]]]  # an image's id, and its arrays for each of the stages


def make_together(
    stage: StageFolder, work: Callable[[], None], waiting: Callable[[str], None], here: Processes
) -> bool:
    """`StageFolder.make` by all processes: the first holds the lock, all do the work; returns whether it was done."""

    def shared() -> None:
        here.agree(lambda: True)
        work()
        here.wait()

    if not here.first:
        if here.agree(lambda: True):
            work()
            here.wait()
            return True
        return False
    made = stage.make(shared, waiting)
    if not made:
        here.agree(lambda: False)
    return made


def fill_stages(
    stages: Sequence[StageFolder],
    ids: Sequence[str],
    make: Callable[[Iterator[str]], Iterable[Made]],
    title: str,
    here: Processes,
) -> None:
    """Make what stages lack of their images, and call them done.

    make: gives what belongs into each of the stages, of every image that it is given. The images come one by one, to
    whichever process is free, so that one which was killed leaves no more undone than what it was at.
    """
    lacking = [set(each) for each in here.agree(lambda: [stage.missing(ids) for stage in stages])]
    missing = [image_id for image_id in ids if any(image_id in each for each in lacking)]
    with here.progress(title, len(ids), len(ids) - len(missing)) as step:
        for image_id, parts in make(here.deal(missing)):
            for stage, its, arrays in zip(stages, lacking, parts, strict=True):
                if image_id in its:
                    stage.write(image_id, arrays)
            step()
        for stage in stages:
            stage.close()
    if here.first:
        for stage in stages:
            stage.finish(ids)
    here.wait()


def common_dtype(config: Config, here: Processes) -> torch.dtype:
    """The type that the networks compute in, in every process, on a GPU too: it is in the keys of what they make.

    Raises ConfigError where "auto" means one on some machines and another on others.
    """
    found = sorted(set(here.gather(str(compute_dtype(config.precision)))))
    if len(found) > 1:
        kinds = ", ".join(found)
        raise ConfigError(f'precision = "auto" is not the same on all machines ({kinds}): --set precision=float32')
    return compute_dtype(config.precision)
