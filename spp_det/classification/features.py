"""Whole-image vectors of any layer of a network, for linear classifiers (P4 section 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from torch import Tensor, nn

from spp_det.classification.folders import read_picture
from spp_det.classification.network import load_classifier
from spp_det.config import Precision
from spp_det.errors import ConfigError
from spp_det.images import resize, scaled_size
from spp_det.memory import keep_memory
from spp_det.networks import FcHead, Trunk, build_trunk, fill_from_pretrained
from spp_det.networks.precision import product_type
from spp_det.parallel import available_cores, map_ordered
from spp_det.pooling import PAPER_LEVELS, vector_length
from spp_det.pooling.plain import pool_maps
from spp_det.structures import Image, check_image
from spp_det.tooling import track

View = Literal["full", "crop", "warp"]
FIXED = "a layer's whole map has a fixed length only where all images have one size: view = crop or warp"


class ImageFeatures(TransformerMixin, BaseEstimator):
    """Images to vectors of one layer, as a scikit-learn transformer. There is nothing to fit.

    Parameters
    ----------
    trunk, weights, input: the network, as for `build_trunk`. run: the folder of a classifier trained here instead.
    layer: "conv1", "conv2", ..: the map behind a convolution and its ReLU, counted as they run; "map": the trunk's;
    "pooled": this pooled by a pyramid; "fc6", "fc7", where the weights have them.
    levels: of the pyramid of "pooled", (6,) for the paper's "pool5 (6x6)"; fc6 sees those that it was trained with.
    view: "full": the whole image, its shape kept; "crop": its central square; "warp": squeezed into a square.
    side: px; the image's short side, or the side of the square.
    normalise: scale each vector to length 1.
    precision: of the products, as a classifier's: "auto" is bfloat16 where the processor or GPU is made for it.
    batch_size: images of one size that are computed together. verbose: show the progress.

    `transform` takes a sequence of images, paths or uint8 [H, W, 3] RGB, and returns float32 [N, D].
    """

    def __init__(
        self,
        trunk: str = "efficientnet_lite0",
        weights: str = "default",
        input: str = "default",
        layer: str = "pooled",
        levels: Sequence[int] = PAPER_LEVELS,
        view: View = "full",
        side: int = 224,
        normalise: bool = True,
        run: str | PathLike[str] | None = None,
        precision: Precision = "auto",
        batch_size: int = 16,
        verbose: bool = False,
    ) -> None:
        self.trunk = trunk
        self.weights = weights
        self.input = input
        self.layer = layer
        self.levels = levels
        self.view = view
        self.side = side
        self.normalise = normalise
        self.run = run
        self.precision = precision
        self.batch_size = batch_size
        self.verbose = verbose

    def fit(self, X: Sequence[Any], y: Any = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Nothing is learnt. Raises ConfigError or WeightsError for a network or a layer that is not there."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype_ = product_type(self.precision, device)
        self.network_, self.trunk_ = self._build(device)
        return self

    def transform(self, X: Sequence[Any]) -> npt.NDArray[np.float32]:  # noqa: N803
        """The vectors of images: float32 [N, D]. Raises DataError, naming the file, for one that cannot be read."""
        if not hasattr(self, "network_"):
            self.fit(X)
        images = map_ordered(self._image, X, available_cores())
        shown: Iterable[Image] = track(images, "features", total=len(X)) if self.verbose else images
        rows = [row for batch in _batches(shown, self.batch_size) for row in self._vectors(batch)]
        return np.stack(rows) if rows else np.zeros((0, 0), np.float32)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        return tags

    def _image(self, item: str | PathLike[str] | Image) -> Image:
        """One image as it is shown to the network."""
        image = check_image(item) if isinstance(item, np.ndarray) and item.ndim else read_picture(str(item))
        if self.view == "warp":
            return resize(image, (self.side, self.side))
        scaled = resize(image, scaled_size(image.shape[:2], self.side))
        if self.view == "full":
            return scaled
        top, left = (scaled.shape[0] - self.side) // 2, (scaled.shape[1] - self.side) // 2
        return scaled[top : top + self.side, left : left + self.side]

    @torch.inference_mode()
    def _vectors(self, images: list[Image]) -> npt.NDArray[np.float32]:
        device = next((value.device for value in self.network_.parameters()), torch.device("cpu"))
        x = torch.stack([self.trunk_.tensor(np.ascontiguousarray(image)) for image in images])
        with torch.autocast(device.type, self.dtype_, enabled=self.dtype_ != torch.float32):
            vectors = self.network_(x.to(device)).flatten(1).float()
        if self.normalise:
            vectors = nn.functional.normalize(vectors)
        return vectors.cpu().numpy()

    def _build(self, device: torch.device) -> tuple[nn.Module, Trunk]:
        """The layers from an image tensor to the vectors, and the trunk that makes the tensor."""
        if self.view not in ("full", "crop", "warp"):
            raise ConfigError(f"view is full, crop or warp, not {self.view!r}")
        if self.side < 16 or self.batch_size < 1:
            raise ConfigError(f"a side of {self.side} px, batches of {self.batch_size}: too small")
        if self.run is not None:
            network, _ = load_classifier(Path(self.run))
            trunk, head, fc_levels = network.trunk, network.head, network.levels
        else:
            keep_memory()
            trunk = build_trunk(self.trunk, self.weights, self.input)
            head, fc_levels = None, ()
            if trunk.pretrained_fc is not None and self.layer in ("fc6", "fc7"):
                head, fc_levels = _pretrained_head(trunk)
        layers = _layers(trunk, head, fc_levels, self.layer, tuple(self.levels), self.view)
        return layers.eval().to(device), trunk


class _Pooled(nn.Module):
    """A trunk, the SPP layer and, where there is one, a layer of the head."""

    def __init__(self, trunk: Trunk, levels: tuple[int, ...], head: FcHead | None = None, layer: str = "pool5") -> None:
        super().__init__()
        self.trunk, self.levels, self.head, self.layer = trunk, levels, head, layer

    def forward(self, x: Tensor) -> Tensor:
        """float32 [B, 3, H, W] -> [B, D]."""
        vectors = pool_maps(self.trunk(x), self.levels)
        return vectors if self.head is None else self.head.layer(vectors, self.layer)


def _layers(
    trunk: Trunk, head: FcHead | None, fc_levels: tuple[int, ...], layer: str, levels: tuple[int, ...], view: str
) -> nn.Module:
    if layer == "pooled":
        return _Pooled(trunk, levels)
    if layer in ("fc6", "fc7"):
        if head is None:
            raise ConfigError(f"layer {layer}: the weights of {trunk.name} hold no fully connected layers")
        return _Pooled(trunk, fc_levels, head, layer)
    if layer != "map" and not (layer.startswith("conv") and layer[4:].isdecimal()):
        raise ConfigError(f"a layer is conv1, conv2, .., map, pooled, fc6 or fc7, not {layer!r}")
    if view == "full":
        raise ConfigError(f"layer {layer}: {FIXED}")
    return trunk if layer == "map" else up_to_convolution(trunk, int(layer[4:]))


def up_to_convolution(trunk: Trunk, number: int) -> nn.Sequential:
    """The layers of a trunk up to a convolution, counted from 1 as they run, and its ReLU.

    Raises ConfigError where the trunk's layers do not simply follow each other, or there are fewer.
    """
    leaves = list(_leaves(trunk.body))
    convolutions = [i for i, leaf in enumerate(leaves) if isinstance(leaf, nn.Conv2d)]
    if not 1 <= number <= len(convolutions):
        raise ConfigError(f"layer conv{number}: {trunk.name} has conv1 to conv{len(convolutions)}")
    end = convolutions[number - 1] + 1
    if end < len(leaves) and isinstance(leaves[end], nn.ReLU):
        end += 1
    return nn.Sequential(*leaves[:end])


def _leaves(body: nn.Module) -> Iterator[nn.Module]:
    """The layers that run one after the other."""
    if isinstance(body, nn.Sequential):
        for child in body:
            yield from _leaves(child)
    elif next(body.children(), None) is None:
        yield body
    else:
        raise ConfigError(
            f"layer conv..: {type(body).__name__} is not a plain row of layers; layer map is its last map"
        )


def _pretrained_head(trunk: Trunk) -> tuple[FcHead, tuple[int, ...]]:
    fc = trunk.pretrained_fc
    assert fc is not None
    length = vector_length(trunk.out_channels, fc.levels)
    head = FcHead(length, (len(fc.fc6_weight), len(fc.fc7_weight)), 1, background=False)
    fill_from_pretrained(head, fc, trunk.out_channels, fc.levels)
    return head, fc.levels


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Runs of images of one size, at most `size` of them."""
    for _, run in groupby(images, key=lambda image: image.shape):
        while batch := list(islice(run, size)):
            yield batch
