"""SPP-net as a classifier: a trunk, the SPP layer, fc6, fc7 and a softmax over the classes, all of it trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import save
from torch import Tensor, nn

from spp_det.classification.config import ClassificationConfig, ClassifierConfig, load_classification
from spp_det.config import config_to_toml, read_table
from spp_det.errors import ConfigError, DataError
from spp_det.files import read_json, write_json, write_whole
from spp_det.memory import keep_memory
from spp_det.networks import FcHead, Preprocessing, Trunk, build_trunk, fill_from_pretrained
from spp_det.networks.pretrained import randomise
from spp_det.networks.weights import fill, read_tensors
from spp_det.pooling import vector_length
from spp_det.pooling.plain import pool_maps
from spp_det.trust import check_parts

MOST_RANGE = 16.0  # from black to white, of the input of layers that start at random; photographs deviate by a quarter

CONFIG, CLASSES, WEIGHTS = "config.toml", "classes.json", "model.safetensors"


class SPPClassifier(nn.Module):
    """Images of any one size to logits.

    trunk: its layers are trained here, so do not share it; head: without a background; levels: of the pyramid;
    class_names: K names, in the order of the logits. Raises ConfigError where these do not fit each other.
    """

    def __init__(self, trunk: Trunk, head: FcHead, levels: Sequence[int], class_names: Sequence[str]) -> None:
        super().__init__()
        if head.fc6.in_features != vector_length(trunk.out_channels, levels):
            raise ConfigError(
                f"fc6 takes {head.fc6.in_features} numbers, not the levels {list(levels)} of {trunk.name}"
            )
        if head.fc8.out_features != len(class_names):
            raise ConfigError(f"fc8 has {head.fc8.out_features} outputs for {len(class_names)} classes")
        self.trunk, self.head = trunk, head
        self.levels, self.class_names = tuple(levels), tuple(class_names)
        self.trunk.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Also the trunk's layers, which a trunk alone keeps as in testing."""
        super().train(mode)
        self.trunk.body.train(mode)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, 3, H, W], preprocessed, to logits float32 [B, K]."""
        return self.head(pool_maps(self.trunk(x), self.levels)).float()

    @property
    def device(self) -> torch.device:
        """Where the layers are."""
        return self.head.fc8.weight.device

    def tensors(self) -> dict[str, Tensor]:
        """All weights by name, float32, on the CPU."""
        return {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}


def build_classifier(config: ClassificationConfig, class_names: Sequence[str]) -> SPPClassifier:
    """The network of a configuration as it starts: from the trunk's weights, or all of it random, by the seed.

    Raises ConfigError for a random start on pixels of 0 .. 255.
    """
    keep_memory()
    trunk = build_trunk(config.trunk.name, config.trunk.weights, config.trunk.input)
    if config.trunk.weights == "random":
        _check_range(trunk)
        randomise(trunk.body, config.seed)
    levels, settings = config.classifier.levels, config.classifier
    length = vector_length(trunk.out_channels, levels)
    head = FcHead(
        length,
        settings.hidden,
        len(class_names),
        settings.dropout,
        config.seed,
        background=False,
        gain=_fc_gain(settings),
    )
    if trunk.pretrained_fc is not None:
        fill_from_pretrained(head, trunk.pretrained_fc, trunk.out_channels, levels)
    return SPPClassifier(trunk, head, levels, class_names)


def _check_range(trunk: Trunk) -> None:
    """He et al.'s start hands the deviation of the input on to the logits, and conv1's step grows with its square."""
    pixels = trunk.preprocessing
    if pixels.maximum / min(pixels.std) > MOST_RANGE:
        wide = f"pixels of 0 .. {pixels.maximum:g}"
        raise ConfigError(f'trunk.input: {trunk.name} cannot start at random on {wide}: set "torchvision"')


def _fc_gain(settings: ClassifierConfig) -> float:
    """fc6 and fc7 start with this / sqrt(fan_in): with He et al.'s root of 2 up to 256 units, with half of it at 4,096.

    A logit is a sum over fc7, so that its step grows with the number of units: 4,096 of He et al.'s would overshoot at
    the rate of 0.01 where classes are few. For an fc7 of 4,096 inputs this is a deviation of 0.011, the release's 0.01.
    """
    return math.sqrt(2) * min(1, 256 / max(settings.hidden)) ** 0.25


def save_classifier(folder: Path, network: SPPClassifier, config: ClassificationConfig) -> None:
    """The network, its classes and its configuration into a folder."""
    write_whole(folder / WEIGHTS, save(network.tensors()))
    write_json(folder / CLASSES, list(network.class_names))
    write_whole(folder / CONFIG, config_to_toml(config).encode())


def load_classifier(folder: Path, overrides: Sequence[str] = ()) -> tuple[SPPClassifier, ClassificationConfig]:
    """The network that `save_classifier` left, in evaluation mode, and its configuration.

    overrides: of settings that do not change the network, as `--set` takes them.
    Raises DataError, ConfigError or WeightsError, naming the file, where one is missing, broken or does not fit.
    """
    if not (folder / WEIGHTS).is_file():
        raise DataError(folder, f"is no trained classifier (no {WEIGHTS})")
    keep_memory()
    check_parts(read_table(folder / CONFIG), folder / CONFIG, overrides)
    config = load_classification(folder / CONFIG, overrides)
    names = read_json(folder / CLASSES)
    tensors = read_tensors(folder / WEIGHTS)
    outputs = len(tensors.get("head.fc8.bias", ()))
    if outputs != len(names):
        raise DataError(folder / CLASSES, f"names {len(names)} classes, where {WEIGHTS} is for {outputs}")
    trunk = build_trunk(config.trunk.name, "random", config.trunk.input)
    length = vector_length(trunk.out_channels, config.classifier.levels)
    head = FcHead(length, config.classifier.hidden, len(names), config.classifier.dropout, background=False)
    network = SPPClassifier(trunk, head, config.classifier.levels, names)
    fill(network, tensors, folder / WEIGHTS)
    return network.eval(), config


def network_input(pixels: Tensor, shifts: Tensor, preprocessing: Preprocessing) -> Tensor:
    """What a trunk takes, computed where the pixels are, as `Preprocessing` computes it for one image.

    pixels: uint8 [B, H, W, 3], RGB; shifts: float32 [B, 3], added to red, green and blue. Returns float32 [B, 3, H, W].
    """
    shifted = pixels.float() + shifts[:, None, None, :]
    ordered = shifted if preprocessing.channel_order == "rgb" else shifted.flip(3)
    mean, std = (torch.tensor(values, device=pixels.device) for values in (preprocessing.mean, preprocessing.std))
    return ((ordered * (preprocessing.maximum / 255) - mean) / std).permute(0, 3, 1, 2)
