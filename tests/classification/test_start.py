"""The start of a training from scratch: logits and losses at the start, and the first steps of the descent."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from spp_det.classification.config import ClassificationConfig, load_classification
from spp_det.classification.network import SPPClassifier, build_classifier, network_input
from spp_det.errors import ConfigError
from spp_det.images import resize
from spp_det.networks import TRUNKS
from spp_det.training.optimizer import set_rate, sgd

CONFIG = Path(__file__).parent.parent.parent / "configs" / "imagenet_spp_zf5.toml"
CLASSES = [f"class {number}" for number in range(1000)]


def start(*changes: str, classes: int = 1000) -> tuple[SPPClassifier, ClassificationConfig]:
    """The shipped configuration's network, changed, in training mode."""
    config = load_classification(CONFIG, changes)
    return build_classifier(config, CLASSES[:classes]).train(), config


def pictures(count: int, side: int) -> Tensor:
    """Smooth pictures of colours whose deviation is a photograph's, about 64: uint8 [B, side, side, 3]."""
    rng = np.random.default_rng(0)
    coarse = np.clip(rng.normal(120, 75, (count, 9, 9, 3)), 0, 255).astype(np.uint8)
    return torch.from_numpy(np.stack([resize(picture, (side, side)) for picture in coarse]))


def first_logits(network: SPPClassifier, side: int) -> Tensor:
    x = network_input(pictures(4, side), torch.zeros(4, 3), network.trunk.preprocessing)
    with torch.inference_mode():
        return network(x)


def mean_loss(logits: Tensor) -> float:
    """The loss of images that may be of any class."""
    return (logits.logsumexp(1) - logits.mean(1)).mean().item()


@pytest.mark.parametrize("name", TRUNKS)
def test_every_network_starts_with_small_logits(name: str) -> None:
    network, _ = start(f"trunk.name={name}", "classifier.hidden=[1024, 1024]", "classifier.dropout=0")
    logits = first_logits(network, 128)
    assert 0.1 < logits.std() < 1
    assert mean_loss(logits) == pytest.approx(math.log(1000), abs=0.5)


@pytest.mark.parametrize("levels", ["[6]", "[1, 2, 3, 6]", "[1, 2, 3, 4]"])
def test_the_papers_pyramids_and_sizes_start_alike(levels: str) -> None:
    network, config = start(f"classifier.levels={levels}", "classifier.dropout=0")
    for side in config.training.sizes:
        logits = first_logits(network, side)
        assert 0.1 < logits.std() < 1
        assert mean_loss(logits) == pytest.approx(math.log(1000), abs=0.5)


def test_a_random_start_on_pixels_of_0_to_255_is_refused() -> None:
    for name in ("zf5_table1", "convnet5_table1", "overfeat7_table1"):
        with pytest.raises(ConfigError, match=rf"trunk.input: {name} cannot start at random .* set \"torchvision\""):
            start(f"trunk.name={name}", "trunk.input=default")


def test_the_loss_of_zf5_falls_from_the_first_steps() -> None:
    network, config = start("classifier.hidden=[256, 256]", classes=3)
    optimizer = sgd(network, config.training.momentum, config.training.weight_decay)
    set_rate(optimizer, 0.2 * config.training.rate)  # the batch is a tenth of the configuration's
    x = network_input(pictures(12, 64), torch.zeros(12, 3), network.trunk.preprocessing)
    losses = []
    for step in range(50):
        torch.manual_seed(step)
        loss = cross_entropy(network(x), torch.arange(12) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert max(losses) < 1.5
    assert np.mean(losses[-6:]) < 0.95
