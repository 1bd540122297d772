"""A pass in strips gives the map of the whole pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spp_det.images import resize
from spp_det.networks import FcHead, Preprocessing, Trunk, build_trunk, strips
from spp_det.regions import SPPRegions

PIXELS = Preprocessing((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def image(height, width, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (max(1, height // 8), max(1, width // 8), 3), dtype=np.uint8)
    return resize(small, (height, width))


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg16", "efficientnet_lite0", "zf5", "caffenet", "overfeat7", "zf5_released"]
)
@pytest.mark.parametrize("size", [(700, 130), (130, 705)])
def test_strips_give_the_map_of_the_whole(name, size, monkeypatch):
    trunk = build_trunk(name, "random")
    x = trunk.tensor(image(*size))[None]
    with torch.inference_mode():
        whole = trunk.compute(x)
        monkeypatch.setattr(strips, "BUDGET", 0)
        cut = strips._strips(trunk, max(x.shape[2:]), min(x.shape[2:]))
        found = strips.compute_in_strips(trunk, x)
    assert len(cut) > 3
    assert found.shape == whole.shape
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4 * float(whole.abs().max()))


def test_a_cell_sees_no_further_than_its_reach():
    trunk = build_trunk("alexnet", "random")
    reach = strips.extent(trunk).reach
    x = torch.randn(1, 3, 64, 1024, generator=torch.Generator().manual_seed(0)).requires_grad_()
    trunk.body(x)[0, :, 1, 30].sum().backward()
    seen = torch.nonzero(x.grad.abs().sum(dim=(0, 1, 2)))
    assert 30 * 16 - reach <= int(seen.min()) < int(seen.max()) <= 30 * 16 + reach


class SeesAll(nn.Module):
    def forward(self, x):
        return x - x.mean(dim=(2, 3), keepdim=True)


def test_what_sees_the_whole_image_is_made_smaller_and_says_so(monkeypatch):
    body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4, padding=1), SeesAll())
    trunk = Trunk(body, name="all", out_channels=4, stride=4, offset=0.0, preprocessing=PIXELS)
    regions = SPPRegions(trunk, FcHead(4, (8, 8), 2), scales=(64,), levels=(1,))
    assert strips.extent(trunk).reach is None
    assert regions.image_features(image(64, 96)).scaled_sizes == ((64, 96),)
    monkeypatch.setattr(strips, "BUDGET", 32 * 48 * strips.extent(trunk).bytes_per_pixel)
    with pytest.warns(UserWarning, match="96 x 64 pixels is looked at at a short side of 32 pixels, not 64"):
        assert regions.image_features(image(64, 96)).scaled_sizes == ((32, 48),)
