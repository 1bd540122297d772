"""Networks: an image tensor to a map (trunks), a pooled vector to fc6, fc7 and logits (the head)."""

from spp_det.networks.head import FcHead, fill_from_pretrained
from spp_det.networks.trunk import Preprocessing, PretrainedFc, Trunk
from spp_det.networks.trunks import TRUNKS, build_trunk

__all__ = ["TRUNKS", "FcHead", "Preprocessing", "PretrainedFc", "Trunk", "build_trunk", "fill_from_pretrained"]
