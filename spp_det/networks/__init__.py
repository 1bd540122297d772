"""Networks: an image tensor to a map (trunks), a pooled vector to fc6, fc7 and logits (the head)."""

from spp_det.networks.compression import Samples, compress_head
from spp_det.networks.head import FcHead, LowRankLinear, fill_from_pretrained
from spp_det.networks.narrowing import narrow_head
from spp_det.networks.precision import Precision, compute_dtype
from spp_det.networks.trunk import Preprocessing, PretrainedFc, Trunk
from spp_det.networks.trunks import TRUNKS, build_trunk

__all__ = [
    "TRUNKS",
    "FcHead",
    "LowRankLinear",
    "Precision",
    "Preprocessing",
    "PretrainedFc",
    "Samples",
    "Trunk",
    "build_trunk",
    "compress_head",
    "compute_dtype",
    "fill_from_pretrained",
    "narrow_head",
]
