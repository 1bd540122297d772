"""A small run on real photographs: cats and trains of VOC2007."""

from __future__ import annotations

from pathlib import Path

import pytest

from spp_det.config import load_config
from spp_det.datasets import VOC_CLASSES, VOCDataset
from spp_det.pipeline import evaluate_run, train

CONFIG = Path(__file__).parent.parent / "configs" / "voc07_lite0.toml"
CLASSES = ("cat", "train")
SETTINGS = [
    "maps.scales=[400]",
    "finetune.iterations=200",
    "finetune.rates=[[200, 0.001]]",
    "finetune.hidden=[256, 256]",
    "finetune.flip=false",
    "proposals.max_windows=800",
]


def with_a_class(root: Path, split: str, each: int) -> list[str]:
    """Image ids, `each` of every class, that show one of the classes and nothing else."""
    dataset = VOCDataset(root, "2007", split)
    found: list[str] = []
    for name in CLASSES:
        label = VOC_CLASSES.index(name)
        of_class = (i for i in dataset.ids if set(dataset.target(i).labels.tolist()) == {label})
        found += [next(of_class) for _ in range(each)]
    return found


@pytest.fixture
def few(voc_root: Path, tmp_path: Path) -> Path:
    """A VOCdevkit folder with a few images of the real one, linked."""
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    for name in ("Annotations", "JPEGImages"):
        (folder / name).symlink_to((voc_root / "VOC2007" / name).resolve())
    for split, each in (("trainval", 30), ("test", 12)):
        ids = with_a_class(voc_root, split, each)
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(ids) + "\n")
    return folder.parent


def test_sixty_photographs_are_enough_to_find_cats_and_trains(few: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(load_config(CONFIG, SETTINGS, data__root=str(few)), run)
    metrics = evaluate_run(run)
    assert metrics["recall"]["recall_0.5"] > 0.9
    assert min(metrics["voc07"]["ap"][name] for name in CLASSES) > 0.4
