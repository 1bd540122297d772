"""R-CNN's fine-tuning beside the same by torch alone, all crops of a batch at once."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.tiny_trunk import tiny_trunk
from reference.training import World
from torch.nn.functional import cross_entropy

import spp_det.training.whole as whole
from spp_det.boxes import flip
from spp_det.errors import ConfigError
from spp_det.images import flip_image
from spp_det.networks import FcHead
from spp_det.regions import RCNNRegions
from spp_det.structures import Boxes, Image
from spp_det.training import FinetuneSettings, SamplingSettings, finetune_whole
from spp_det.training.optimizer import sgd
from spp_det.training.sampling import sample_chunk
from spp_det.training.whole import TunedWhole, pool_whole

LEVELS = (1, 2, 3)
SIDE = 120
SETTINGS = FinetuneSettings(
    iterations=7,
    rates=((5, 0.02), (2, 0.002)),
    checkpoint_every=1,
    bias_rate=2.0,
    fc8_rate=10.0,
    sampling=SamplingSettings(batch_size=24, chunk=3, windows_per_image=12),
)


class Pictures(World):
    """The world of windows, its objects drawn: a plain square of each class's own gray on noise."""

    def image(self, index: int, boxes: Boxes, flipped: bool) -> tuple[Image, Boxes]:
        picture = np.random.default_rng([5, index]).integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        target = self.targets[index]
        for (x1, y1, x2, y2), label in zip(target.boxes.astype(int), target.labels, strict=True):
            picture[y1:y2, x1:x2] = 100 + 50 * label
        return (flip_image(picture), flip(boxes, SIDE)) if flipped else (picture, boxes)


def regions(dropout: float = 0.5) -> RCNNRegions:
    trunk = tiny_trunk()
    head = FcHead(16 * 14, hidden=(20, 16), num_classes=3, dropout=dropout, seed=2)
    return RCNNRegions(trunk, head, LEVELS, crop_size=48, context=4)


def weights(of: RCNNRegions) -> dict[str, np.ndarray]:
    named = [("trunk", of.trunk.state()), ("head", of.head.state())]
    return {f"{part}.{name}": value.numpy() for part, state in named for name, value in state.items()}


def test_the_network_that_learns_is_the_one_that_detects() -> None:
    world, extractor = Pictures(), regions()
    image, boxes = world.image(0, world.windows(0).boxes[:9], False)
    maps = extractor.trunk(extractor.tensor(extractor.warp(image, boxes)))
    pooled = pool_whole(maps, extractor)
    np.testing.assert_allclose(pooled.numpy(), extractor.window_features(image, boxes, "pool5"), rtol=1e-5, atol=1e-6)
    logits = extractor.head.layer(pooled, "logits")
    np.testing.assert_allclose(
        logits.detach().numpy(), extractor.window_features(image, boxes, "logits"), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("first_conv", [0, 1, 2])
def test_three_steps_by_torch_alone(first_conv: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD on the whole batch at once, in float64: rates of biases and of the new layer, decay on weights only."""
    monkeypatch.setattr(whole, "PART", 5)
    world, tuned = Pictures(), regions(dropout=0.0)
    plain = deepcopy(tuned)
    finetune_whole(tuned, world, first_conv, replace(SETTINGS, iterations=3))

    warped = np.empty((3, 24), plain.warped_type)

    def read(index, boxes, *, flipped, scale_indices):
        return plain.warp(*world.image(index, boxes, flipped))

    labels = sample_chunk(world, SETTINGS.sampling, SETTINGS.seed, 0, warped, read)
    crops = [plain.tensor(batch).double() for batch in warped]
    trunk, head = plain.trunk.body.double(), plain.head.double()
    learning = {f"head.{name}": value for name, value in head.named_parameters()}
    convs = {f"trunk.{name}": value for name, value in trunk.named_parameters()}
    learning |= {name: value for name, value in convs.items() if int(name[10]) >= first_conv > 0}
    speed = {name: torch.zeros_like(value) for name, value in learning.items()}
    for value in learning.values():
        value.requires_grad_(True)
    for batch, of_batch in zip(crops, labels, strict=True):
        loss = cross_entropy(head(pool_whole(trunk(batch), plain)), torch.from_numpy(of_batch))
        gradients = torch.autograd.grad(loss, list(learning.values()))
        with torch.no_grad():
            for (name, value), gradient in zip(learning.items(), gradients, strict=True):
                bias = name.endswith("bias")
                speed[name] = 0.9 * speed[name] + gradient + (0 if bias else 5e-4) * value
                value -= 0.02 * (2 if bias else 1) * (10 if "fc8" in name else 1) * speed[name]
    expected = {name: value.detach().numpy() for name, value in (learning | convs).items()}
    found = weights(tuned)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=2e-5, err_msg=name)
    start = weights(regions())
    stayed = {name for name in convs if np.array_equal(found[name], start[name])}
    assert stayed == {name for name in convs if not int(name[10]) >= first_conv > 0}


def test_it_learns_to_tell_the_squares() -> None:
    sampling = SamplingSettings(batch_size=48, chunk=20, windows_per_image=24)
    settings = replace(SETTINGS, iterations=60, rates=((60, 0.02),), fc8_rate=1.0, sampling=sampling)
    log = finetune_whole(regions(dropout=0.1), Pictures(images=20), 1, settings)
    assert log[-1]["loss"] < 0.75 * log[0]["loss"]


def test_the_bytes_do_not_depend_on_the_threads() -> None:
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        tuned = regions()
        finetune_whole(tuned, Pictures(), 1, SETTINGS)
        assert torch.get_num_threads() == threads
        found.append(weights(tuned))
    torch.set_num_threads(2)
    assert [name for name in found[0] if not np.array_equal(found[0][name], found[1][name])] == []


class KilledError(Exception):
    pass


def test_goes_on_from_a_checkpoint_to_the_same_bytes(tmp_path: Path) -> None:
    undisturbed = regions()
    log = finetune_whole(undisturbed, Pictures(), 2, SETTINGS)

    def kill(done: int, total: int) -> None:
        if done == 5:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        finetune_whole(regions(), Pictures(), 2, SETTINGS, path, kill)
    again = regions()
    assert finetune_whole(again, Pictures(), 2, SETTINGS, path) == log
    expected, found = weights(undisturbed), weights(again)
    assert [name for name in expected if not np.array_equal(expected[name], found[name])] == []


def test_a_trunk_has_so_many_convolutions() -> None:
    with pytest.raises(ConfigError, match=r"finetune.first_conv = 3: tiny has 2 convolutions"):
        finetune_whole(regions(), Pictures(), 3, SETTINGS)


def test_afterwards_nothing_learns() -> None:
    tuned = regions()
    before = tuned.trunk.digest()
    finetune_whole(tuned, Pictures(), 1, replace(SETTINGS, iterations=1))
    assert not any(weight.requires_grad for weight in tuned.trunk.parameters())
    assert not tuned.head.training
    state = tuned.trunk.state()
    tuned.trunk.load_state(state, "itself")
    assert tuned.trunk.digest() != before


def test_rates_and_decay_of_the_groups() -> None:
    extractor = regions()
    extractor.trunk.learn_from(2)
    tuned = TunedWhole(extractor, Pictures(), pool=None)
    rates = SETTINGS.bias_rate, SETTINGS.fc8_rate
    groups = sgd(tuned.module, SETTINGS.momentum, SETTINGS.weight_decay, *rates).param_groups
    found = {(group["factor"], group["weight_decay"]): len(group["params"]) for group in groups}
    assert found == {(1.0, 5e-4): 3, (2.0, 0.0): 3, (10.0, 5e-4): 1, (20.0, 0.0): 1}
