"""A run on *shapes* so small that all of its stages take a second: for what is done to many runs."""

from __future__ import annotations

from pathlib import Path

from spp_det.config import Config, load_config

CONFIG = Path(__file__).parent.parent.parent / "configs" / "shapes.toml"
SETTINGS = [
    "precision=float32",
    "data.options={train=4, test=2}",
    "trunk.name=reference.tiny_trunk:tiny_trunk",
    "trunk.weights=random",
    "proposals.max_windows=60",
    "maps.levels=[1, 2]",
    "maps.scales=[160]",
    "finetune.iterations=8",
    "finetune.chunk=2",
    "finetune.batch_size=16",
    "finetune.windows_per_image=8",
    "finetune.hidden=[12, 8]",
    "finetune.flip=true",
]


def tiny_config(shapes: Path, *overrides: str) -> Config:
    """The configuration; `shapes`: the folder of the data set, which is made where it is absent."""
    return load_config(CONFIG, [*SETTINGS, *overrides], data__root=str(shapes))
