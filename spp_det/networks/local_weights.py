"""The weights of networks that nobody offers for download: files of the user's own, under Caffe's names of layers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from spp_det.errors import WeightsError
from spp_det.networks.inputs import choose_input
from spp_det.networks.pretrained import pretrained_fc, randomise
from spp_det.networks.trunk import Preprocessing, PretrainedFc, Trunk
from spp_det.networks.weights import fill, read_tensors
from spp_det.places import WEIGHTS_FOLDER

# The paper's 50 bins, its 30, and its networks without a pyramid, whose fc6 sees 6 x 6 cells.
PYRAMIDS = ((1, 2, 3, 6), (1, 2, 3, 4), (6,))


@dataclass(frozen=True)
class LocalWeights:
    """Where a network's weights are looked for, and whose they are.

    file: the name in WEIGHTS_FOLDER, which is relative to the working directory; origin: where such a file comes from.
    """

    file: str
    origin: str

    def trunk(
        self,
        body: nn.Module,
        name: str,
        *,
        offset: float,
        min_side: int,
        preprocessing: Preprocessing,
        weights: str,
        input: str,
        channels: int = 256,
        stride: int = 16,
    ) -> Trunk:
        """A trunk of these layers with its weights.

        weights: "default" (this file), "random", or the path of another file, with conv1.weight, conv1.bias ... and, if
        it is a whole classifier's, fc6.weight ..., of which fc6 sees one of PYRAMIDS; other names that begin with "fc"
        are left out. The model.safetensors of a classifier that was trained here will do as well, where its pyramid is
        one of PYRAMIDS. input: see `choose_input`; channels: of the last convolution. Raises WeightsError.
        """
        fc = self._fill(body, channels, weights)
        return Trunk(
            body,
            name=name,
            out_channels=channels,
            stride=stride,
            offset=offset,
            min_side=min_side,
            preprocessing=choose_input(input, preprocessing),
            pretrained_fc=fc,
        )

    def _fill(self, body: nn.Module, channels: int, weights: str) -> PretrainedFc | None:
        """Put weights into the convolutions; returns fc6 and fc7 where there are such."""
        if weights == "random":
            randomise(body)
            return None
        path = self._path() if weights == "default" else Path(weights)
        tensors = {_plain_name(name): value for name, value in read_tensors(path).items()}
        fill(body, {name: value for name, value in tensors.items() if not name.startswith("fc")}, path)
        return pretrained_fc(tensors, "fc6", "fc7", channels, PYRAMIDS, path)

    def _path(self) -> Path:
        path = (WEIGHTS_FOLDER / self.file).absolute()
        if not path.is_file():
            raise WeightsError(
                f"{path}: there is no such weight file; it holds {self.origin}. "
                'Put it there, or give the path of another, or "random", as the trunk\'s weights (see docs/networks.md)'
            )
        return path


def _plain_name(name: str) -> str:
    """The name of a layer's tensor without the part of an SPPClassifier that it belongs to."""
    return name.removeprefix("trunk.body.").removeprefix("head.")
