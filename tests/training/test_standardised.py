"""Learning on standardised vectors: the same function on vectors as they are once it is folded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.training import World

from spp_det.config import Config, DataConfig, FinetuneConfig, RegionsConfig, TrunkConfig
from spp_det.errors import ConfigError, SppDetError
from spp_det.networks import FcHead
from spp_det.parts import make_head, make_trunk
from spp_det.training import FinetuneSettings, SamplingSettings, Standardised, finetune, standardise

SETTINGS = FinetuneSettings(
    rates=((20, 0.05), (10, 0.005)),
    checkpoint_every=1,
    sampling=SamplingSettings(batch_size=16, chunk=4, windows_per_image=12),
)


class Shifted(World):
    """Vectors with a large common mean, and deviations far from each other."""

    def features(self, index, boxes, layer):
        found = super().features(index, boxes, layer)
        return (found * np.geomspace(0.5, 8, found.shape[1]) + 20).astype(np.float32)


@pytest.mark.parametrize("rank", [None, (6, 5)])
def test_folded_it_says_the_same_of_vectors_as_they_are(rank: tuple[int, int] | None) -> None:
    rng = np.random.default_rng(1)
    vectors = torch.from_numpy(rng.normal(3, 2, (50, 24)).astype(np.float32))
    learner = Standardised(FcHead(24, (16, 12), 3, rank=rank), vectors.mean(0), vectors.std(0)).eval()
    with torch.no_grad():
        before = learner(vectors)
        head = learner.fold()
        torch.testing.assert_close(head(vectors), before, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(FcHead(24, (16, 12), 3, rank=rank).eval()(vectors), before)


def test_the_statistics_are_those_of_the_windows() -> None:
    source = Shifted(images=10)
    learner = standardise(FcHead(24, (16, 12), 3), source, seed=0)
    everything = np.concatenate([source.pooled(i, source.windows(i).boxes) for i in range(10)])
    np.testing.assert_allclose(learner.mean.numpy(), everything.mean(0), rtol=0.05)
    deviation, typical = everything.std(0), float(np.sqrt(everything.var(0).mean()))
    common = deviation > typical / 2
    np.testing.assert_allclose(1 / learner.scale.numpy()[common], deviation[common], rtol=0.2)
    assert 1 / learner.scale.numpy().max() > typical / 15  # what few windows have is not blown up
    again = standardise(FcHead(24, (16, 12), 3), source, seed=0)
    assert torch.equal(again.mean, learner.mean)


def test_it_learns_where_plain_vectors_do_not() -> None:
    source = Shifted(images=20)
    losses = {}
    for name in ("plain", "standardised"):
        head = FcHead(24, (32, 32), 3, dropout=0.1)
        learner = head if name == "plain" else standardise(head, source, seed=0)
        losses[name] = finetune(learner, source, replace(SETTINGS, iterations=60, rates=((60, 0.003),)))[-1]["loss"]
    assert losses["standardised"] < 0.8 * losses["plain"]


def test_it_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path) -> None:
    source = Shifted(images=8)

    def learn(iterations: int, checkpoint: Path | None) -> FcHead:
        learner = standardise(FcHead(24, (8, 8), 3, rank=(4, 4)), source, seed=0)
        finetune(learner, source, replace(SETTINGS, iterations=iterations), checkpoint)
        return learner.fold()

    class KilledError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 9:
            raise KilledError

    learner = standardise(FcHead(24, (8, 8), 3, rank=(4, 4)), source, seed=0)
    with pytest.raises(KilledError):
        finetune(learner, source, replace(SETTINGS, iterations=16), tmp_path / "c.safetensors", stop)
    resumed, undisturbed = learn(16, tmp_path / "c.safetensors"), learn(16, None)
    assert all(torch.equal(a, b) for a, b in zip(resumed.parameters(), undisturbed.parameters(), strict=True))


def test_what_it_cannot_be_used_for() -> None:
    with pytest.raises(SppDetError, match="have no window"):
        standardise(FcHead(24, (8, 8), 3), World(images=0), seed=0)
    rcnn = {"data": DataConfig(root="none"), "regions": RegionsConfig(kind="rcnn")}
    with pytest.raises(ValueError, match=r"R-CNN needs finetune\.first_conv = 0 - at `\$\.finetune\.standardise`"):
        Config(**rcnn, finetune=FinetuneConfig(standardise=True))
    assert Config(**rcnn, finetune=FinetuneConfig(standardise=True, first_conv=0)).finetune.standardise
    config = Config(
        data=DataConfig(root="none"),
        trunk=TrunkConfig("alexnet", "random"),
        finetune=FinetuneConfig(standardise=True, hidden=(8, 8)),
    )
    trunk = make_trunk(config)
    assert make_head(config, trunk, 3).dim("fc6") == 8
    trunk.pretrained_fc = object()
    with pytest.raises(ConfigError, match="this trunk has pretrained ones"):
        make_head(config, trunk, 3)
