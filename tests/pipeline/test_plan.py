"""The keys of a run's stages are known without its networks for as long as these must be the same."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

import spp_det
from spp_det.config import Config, load_config
from spp_det.networks import build_trunk
from spp_det.pipeline import plan, seen
from spp_det.pipeline.plan import NetworkFacts, plan_stages
from spp_det.pipeline.store import Store
from spp_det.pipeline.training import Run

SHAPES = Path(__file__).parent.parent.parent / "configs" / "shapes.toml"
FEW = ["data.options={train=2, test=1}", "finetune.hidden=[16, 16]", "maps.scales=[64]"]
FACTS = NetworkFacts(trunk="d1", precision="torch.float32", whole=False)


def shapes(folder: Path, *overrides: str) -> Config:
    return load_config(SHAPES, [*FEW, *overrides], data__root=str(folder / "shapes"))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "FRESH", 0)  # files may be as new as the tests


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["finetune.flip=false", "regress.enabled=false"],
        ["svm.layer=pool5", "regress.layer=fc7"],
        ["finetune.flip=false", "svm.layer=pool5", "svm.flip=true"],
        ["regions.kind=rcnn"],
        ["regions.kind=rcnn", "finetune.first_conv=0", "finetune.flip=true"],
        ["regions.kind=rcnn", "finetune.iterations=0", "svm.layer=pool5"],
    ],
)
def test_what_is_remembered_gives_the_plan_of_the_run(settled: None, tmp_path: Path, overrides: list[str]) -> None:
    config = shapes(tmp_path, *overrides)
    run = Run(config, Store(tmp_path / "store"), False)
    kept = run.started_with()["networks"]
    recalled = NetworkFacts.recall(kept, config)
    assert recalled == run.networks
    assert recalled.whole == (config.regions.kind == "rcnn")
    assert recalled.trunk == build_trunk(config.trunk.name, config.trunk.weights).digest()
    again = plan_stages(run.store, config, run.split, recalled)
    assert list(again) == list(run.plan)
    assert [stage.key for stage in again.values()] == [stage.key for stage in run.plan.values()]


def test_another_setting_of_the_networks_is_not_remembered(settled: None, tmp_path: Path) -> None:
    kept = FACTS.remembered(shapes(tmp_path))
    assert NetworkFacts.recall(kept, shapes(tmp_path, "svm.C=1.0", "finetune.iterations=3")) == FACTS
    for other in ("trunk.name=alexnet", "trunk.weights=random", "precision=bfloat16", "regions.kind=rcnn"):
        assert NetworkFacts.recall(kept, shapes(tmp_path, other)) is None
    for broken in (None, [], {"mark": kept["mark"]}, {**kept, "whole": "no"}, {**kept, "mark": None}):
        assert NetworkFacts.recall(broken, shapes(tmp_path)) is None


def test_a_changed_file_of_weights_or_code_is_seen(
    settled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights, local = tmp_path / "mine.safetensors", tmp_path / "data" / "weights" / "zf5.safetensors"
    local.parent.mkdir(parents=True)
    for path, config in (
        (weights, shapes(tmp_path, f"trunk.weights={weights}")),
        (local, shapes(tmp_path, "trunk.name=zf5", "trunk.weights=default")),
    ):
        path.write_bytes(b"1")
        kept = FACTS.remembered(config)
        assert NetworkFacts.recall(kept, config) == FACTS
        path.write_bytes(b"2")
        os.utime(path, ns=(0, 0))
        assert NetworkFacts.recall(kept, config) is None
    package = tmp_path / "spp_det"
    (package / "networks").mkdir(parents=True)
    (package / "networks" / "trunk.py").write_text("1")
    monkeypatch.setattr(spp_det, "__file__", str(package / "__init__.py"))
    kept = FACTS.remembered(shapes(tmp_path))
    assert NetworkFacts.recall(kept, shapes(tmp_path)) == FACTS
    (package / "networks" / "trunk.py").write_text("22")
    assert NetworkFacts.recall(kept, shapes(tmp_path)) is None


def test_parts_of_the_users_own_are_built_each_time(settled: None, tmp_path: Path) -> None:
    for own in ("trunk.name=reference.parts:make", "trunk.name=timm:resnet18", "regions.kind=reference.parts:make"):
        config = shapes(tmp_path, own)
        assert NetworkFacts.recall(FACTS.remembered(config), config) is None


def test_another_machine_looks_itself(settled: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = FACTS.remembered(shapes(tmp_path))
    monkeypatch.setattr(plan.platform, "node", lambda: "another")
    assert NetworkFacts.recall(kept, shapes(tmp_path)) is None
    assert asdict(FACTS).items() <= kept.items()
