"""The networks of the paper: their layer tables, worked by hand, their values, their input and their weight files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference import caffe_layers as caffe
from reference.receptive_field import make_positive, support
from safetensors.torch import save_file
from torch import nn

from spp_det.classification.config import ClassificationConfig, ClassifierConfig, FoldersConfig
from spp_det.classification.network import build_classifier, save_classifier
from spp_det.config import TrunkConfig, load_config
from spp_det.errors import WeightsError
from spp_det.networks import FcHead, build_trunk, fill_from_pretrained
from spp_det.networks.normalisation import AcrossChannels, WithinChannel
from spp_det.networks.probe import probe_geometry
from spp_det.parts import make_trunk
from spp_det.pooling import pool_windows
from spp_det.pooling.pyramid import num_bins

SIZES = (180, 224, 480, 576, 688, 864, 1200)

# The side of each layer's map, of images with the sides SIZES. A convolution of k, stride s, padding p makes
# floor((n + 2p - k) / s) + 1 of n; ZF-5's pools take the ceiling, the others' the floor.
MAPS: dict[str, dict[str, tuple[int, ...]]] = {
    "zf5": {
        "conv1": (90, 112, 240, 288, 344, 432, 600),
        "pool1": (46, 57, 121, 145, 173, 217, 301),
        "conv2": (23, 29, 61, 73, 87, 109, 151),
        "conv5": (12, 15, 31, 37, 44, 55, 76),
    },
    "zf5_table1": {
        "conv1": (89, 111, 239, 287, 343, 431, 599),
        "pool1": (44, 55, 119, 143, 171, 215, 299),
        "conv2": (21, 27, 59, 71, 85, 107, 149),
        "conv5": (10, 13, 29, 35, 42, 53, 74),
    },
    "zf5_released": {
        "conv1": (88, 110, 238, 286, 342, 430, 598),
        "pool1": (44, 55, 119, 143, 171, 215, 299),
        "conv2": (20, 26, 58, 70, 84, 106, 148),
        "conv5": (10, 13, 29, 35, 42, 53, 74),
    },
    "convnet5": {
        "conv1": (45, 56, 120, 144, 172, 216, 300),
        "conv2": (45, 56, 120, 144, 172, 216, 300),
        "pool2": (23, 28, 60, 72, 86, 108, 150),
        "conv5": (12, 14, 30, 36, 43, 54, 75),
    },
    "convnet5_table1": {
        "conv1": (44, 55, 119, 143, 171, 215, 299),
        "conv2": (44, 55, 119, 143, 171, 215, 299),
        "pool2": (21, 27, 59, 71, 85, 107, 149),
        "conv5": (10, 13, 29, 35, 42, 53, 74),
    },
    "overfeat5": {
        "conv1": (90, 112, 240, 288, 344, 432, 600),
        "pool1": (30, 38, 80, 96, 115, 144, 200),
        "conv5": (16, 20, 41, 49, 58, 73, 101),
    },
    "overfeat5_table1": {
        "conv1": (87, 109, 237, 285, 341, 429, 597),
        "pool1": (29, 36, 79, 95, 113, 143, 199),
        "conv5": (14, 18, 39, 47, 56, 71, 99),
    },
    "caffe_alexnet": {
        "conv1": (43, 54, 118, 142, 170, 214, 298),
        "pool1": (21, 27, 59, 71, 85, 107, 149),
        "conv5": (10, 13, 29, 35, 42, 53, 74),
    },
    "vgg16": {"29": (11, 14, 30, 36, 43, 54, 75)},
}
MAPS["msra_zf"] = MAPS["zf5"]
MAPS["caffenet"] = MAPS["caffe_alexnet"]
for _name in ("overfeat5", "overfeat5_table1"):
    _seven = _name.replace("5", "7", 1)
    MAPS[_seven] = MAPS[_name] | {"conv7": MAPS[_name]["conv5"]}

STRIDE_OFFSET_CHANNELS = {
    "zf5": (16, 0.0, 256),
    "zf5_table1": (16, 15.0, 256),
    "zf5_released": (16, 20.0, 256),  # 21 for who counts pixels from 1
    "msra_zf": (16, 0.0, 256),
    "convnet5": (16, 0.0, 256),
    "convnet5_table1": (16, 15.0, 256),
    "overfeat5": (12, -3.0, 512),
    "overfeat5_table1": (12, 8.0, 512),
    "overfeat7": (12, -3.0, 512),
    "overfeat7_table1": (12, 8.0, 512),
    "caffenet": (16, 17.0, 256),
}
OWN_FILES = {
    "zf5": "zf5",
    "zf5_table1": "zf5",
    "zf5_released": "zf5",
    "msra_zf": "msra_zf",
    "convnet5": "convnet5",
    "convnet5_table1": "convnet5",
    "overfeat5": "overfeat5",
    "overfeat5_table1": "overfeat5",
    "overfeat7": "overfeat7",
    "overfeat7_table1": "overfeat7",
    "caffenet": "caffenet",
    "caffe_alexnet": "caffe_alexnet",
}


def _map_sides(body: nn.Sequential, side: int) -> dict[str, int]:
    """The side of the map behind each layer, for a square image, on tensors without values."""
    sides = {}
    x = torch.empty(1, 3, side, side, device="meta")
    for name, layer in _flat(body).items():
        x = layer.to("meta")(x)
        sides[name] = x.shape[-1]
    return sides


def _flat(body: nn.Sequential) -> dict[str, nn.Module]:
    return dict(body.features.named_children() if hasattr(body, "features") else body.named_children())


@pytest.mark.parametrize("name", MAPS)
def test_the_maps_of_each_layer(name):
    trunk = build_trunk(name, "random")
    for column, side in enumerate(SIZES):
        sides = _map_sides(trunk.body, side)
        assert {layer: sides[layer] for layer in MAPS[name]} == {
            layer: row[column] for layer, row in MAPS[name].items()
        }
        last = list(MAPS[name].values())[-1][column]
        assert trunk.map_size((side, 2 * side))[0] == last


def test_table_1_of_the_paper():
    """Its map sizes, all of an image of 224 pixels."""
    zf5, convnet5, overfeat7 = (
        _map_sides(build_trunk(f"{name}_table1", "random").body, 224) for name in ("zf5", "convnet5", "overfeat7")
    )
    assert [zf5[name] for name in ("pool1", "conv2", "conv3", "conv4", "conv5")] == [55, 27, 13, 13, 13]
    assert [convnet5[name] for name in ("conv1", "pool2", "pool3", "conv4", "conv5")] == [55, 27, 13, 13, 13]
    assert [overfeat7[name] for name in ("pool1", "pool2", "conv3", "conv5", "conv7")] == [36, 18, 18, 18, 18]


@pytest.mark.parametrize(("side", "cells"), [(600, 36), (874, 53)])
def test_the_released_network_at_its_other_scales(side, cells):
    assert build_trunk("zf5_released", "random").map_size((side, side)) == (cells, cells)


def test_alexnet_at_the_side_of_r_cnn_s_crops():
    sides = _map_sides(build_trunk("caffe_alexnet", "random").body, 227)
    assert [sides[name] for name in ("conv1", "pool1", "pool2", "conv5")] == [55, 27, 13, 13]


@pytest.mark.parametrize("name", STRIDE_OFFSET_CHANNELS)
def test_the_probe_finds_the_geometry_that_is_stated(name):
    trunk = build_trunk(name, "random")
    assert (trunk.stride, trunk.offset, trunk.out_channels) == STRIDE_OFFSET_CHANNELS[name]
    if name in ("zf5", "zf5_released", "overfeat5"):  # test_trunk_geometry.py looks at every one
        assert probe_geometry(trunk.body) == STRIDE_OFFSET_CHANNELS[name]


def test_a_cell_of_zf5_sees_139_pixels():
    body = make_positive(build_trunk("zf5_released", "random").body)
    body.norm1, body.norm2 = nn.Identity(), nn.Identity()
    assert int(support(body, (401, 31), (401, 31), 12, 0).sum()) == 139


def _named(body):
    return {name: value.numpy().astype(float) for name, value in body.state_dict().items()}


def _zf5_by_hand(image, w, conv1, pool1, conv2, pool2):
    x = np.maximum(caffe.convolve(image, w["conv1.weight"], w["conv1.bias"], 2, conv1), 0)
    x = caffe.max_pool(caffe.lrn_within_channel(x, 3, 5e-5, 0.75), 3, 2, pool1)
    x = np.maximum(caffe.convolve(x, w["conv2.weight"], w["conv2.bias"], 2, conv2), 0)
    x = caffe.max_pool(caffe.lrn_within_channel(x, 3, 5e-5, 0.75), 3, 2, pool2)
    for name in ("conv3", "conv4", "conv5"):
        x = np.maximum(caffe.convolve(x, w[f"{name}.weight"], w[f"{name}.bias"], 1, 1), 0)
    return x


def _convnet5_by_hand(image, w, conv1, pools):
    x = np.maximum(caffe.convolve(image, w["conv1.weight"], w["conv1.bias"], 4, conv1), 0)
    x = caffe.lrn_across_channels(x, 5, 1e-4, 0.75)
    x = np.maximum(caffe.convolve(x, w["conv2.weight"], w["conv2.bias"], 1, 2), 0)
    x = caffe.max_pool(caffe.lrn_across_channels(x, 5, 1e-4, 0.75), 3, 2, pools, whole_windows=True)
    x = np.maximum(caffe.convolve(x, w["conv3.weight"], w["conv3.bias"], 1, 1), 0)
    x = caffe.max_pool(x, 3, 2, pools, whole_windows=True)
    for name in ("conv4", "conv5"):
        x = np.maximum(caffe.convolve(x, w[f"{name}.weight"], w[f"{name}.bias"], 1, 1), 0)
    return x


def _caffenet_by_hand(image, w):
    x = np.maximum(caffe.convolve(image, w["conv1.weight"], w["conv1.bias"], 4, 0), 0)
    x = caffe.lrn_across_channels(caffe.max_pool(x, 3, 2, 0), 5, 1e-4, 0.75)
    x = np.maximum(caffe.convolve(x, w["conv2.weight"], w["conv2.bias"], 1, 2, groups=2), 0)
    x = caffe.lrn_across_channels(caffe.max_pool(x, 3, 2, 0), 5, 1e-4, 0.75)
    for name, groups in (("conv3", 1), ("conv4", 2), ("conv5", 2)):
        x = np.maximum(caffe.convolve(x, w[f"{name}.weight"], w[f"{name}.bias"], 1, 1, groups), 0)
    return x


def _overfeat_by_hand(image, w, conv1, pool1, pool2, last=5):
    x = np.maximum(caffe.convolve(image, w["conv1.weight"], w["conv1.bias"], 2, conv1), 0)
    x = caffe.lrn_within_channel(caffe.max_pool(x, 3, 3, pool1, whole_windows=True), 3, 5e-5, 0.75)
    x = np.maximum(caffe.convolve(x, w["conv2.weight"], w["conv2.bias"], 1, 2), 0)
    x = caffe.max_pool(x, 2, 2, pool2, whole_windows=True)
    for number in range(3, last + 1):
        x = np.maximum(caffe.convolve(x, w[f"conv{number}.weight"], w[f"conv{number}.bias"], 1, 1), 0)
    return x


@pytest.mark.parametrize(
    ("name", "by_hand", "pads"),
    [
        ("zf5", _zf5_by_hand, (3, 1, 2, 1)),
        ("zf5_table1", _zf5_by_hand, (2, 0, 1, 0)),
        ("zf5_released", _zf5_by_hand, (1, 0, 0, 0)),
        ("caffenet", _caffenet_by_hand, ()),
        ("convnet5", _convnet5_by_hand, (5, 1)),
        ("convnet5_table1", _convnet5_by_hand, (2, 0)),
        ("overfeat5", _overfeat_by_hand, (3, 1, 1)),
        ("overfeat7_table1", lambda *args: _overfeat_by_hand(*args, last=7), (0, 0, 0)),
    ],
)
def test_the_values_are_those_of_the_layers_one_after_another(name, by_hand, pads):
    trunk = build_trunk(name, "random")
    generator = torch.Generator().manual_seed(1)
    for parameter in trunk.body.parameters():
        if parameter.ndim == 1:  # the biases, which begin at 0
            parameter.data.normal_(0, 5, generator=generator)
    x = trunk.tensor(np.random.default_rng(2).integers(0, 256, (47, 53, 3), dtype=np.uint8))
    expected = by_hand(x.numpy().astype(float), _named(trunk.body), *pads)
    with torch.inference_mode():
        found = trunk(x[None])[0].numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name", [name for name in STRIDE_OFFSET_CHANNELS if name not in ("msra_zf", "caffenet")])
def test_the_input_is_bgr_less_128(name):
    pixel = np.full((1, 1, 3), (10, 128, 255), np.uint8)  # red, green, blue
    assert build_trunk(name, "random").preprocessing(pixel).flatten().tolist() == [127.0, 0.0, -118.0]


def test_the_input_of_msra_s_zf_is_bgr_less_the_means_of_pixels():
    pixel = np.full((1, 1, 3), (10, 128, 255), np.uint8)
    found = build_trunk("msra_zf", "random").preprocessing(pixel).flatten().tolist()
    assert found == pytest.approx([255 - 102.9801, 128 - 115.9465, 10 - 122.7717], abs=1e-5)


@pytest.mark.parametrize(("cells", "pool"), [(13, nn.MaxPool2d(3, stride=2)), (18, nn.MaxPool2d(3, stride=3))])
def test_the_twin_without_a_pyramid_is_the_level_of_6_bins(cells, pool):
    """A last pool of 13 cells (ZF-5, Convnet*-5) or 18 (Overfeat) to 6 x 6 is what the one level (6,) makes of them."""
    x = torch.randn(4, cells, cells, generator=torch.Generator().manual_seed(0)).relu()
    whole = np.array([[0, 0, cells - 1, cells - 1]])
    assert (pool_windows(x.numpy(), whole, (6,))[0] == pool(x).flatten().numpy()).all()


def test_the_groups_of_each_network():
    groups = {
        name: [layer.groups for layer in build_trunk(name, "random").body.modules() if isinstance(layer, nn.Conv2d)]
        for name in ("caffe_alexnet", "caffenet", "convnet5", "zf5", "overfeat7")
    }
    assert groups == {
        "caffe_alexnet": [1, 2, 1, 2, 2],
        "caffenet": [1, 2, 1, 2, 2],
        "convnet5": [1] * 5,
        "zf5": [1] * 5,
        "overfeat7": [1] * 7,
    }


@pytest.mark.parametrize("name", OWN_FILES)
def test_a_weight_file_that_is_not_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError) as caught:
        build_trunk(name)
    message = str(caught.value)
    path = tmp_path / "data" / "weights" / f"{OWN_FILES[name]}.safetensors"
    assert message.startswith(f"{path}: there is no such weight file; it holds the ")
    assert "\n" not in message


def test_the_paper_s_configuration_says_which_file_it_wants(tmp_path, monkeypatch):
    from test_config import CONFIGS

    path = next(path for path in CONFIGS if path.stem == "voc07_zf5_paper").absolute()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"data/weights/zf5.safetensors: .* ZF-5, .* tools/convert_weights.py"):
        make_trunk(load_config(path))
    assert make_trunk(load_config(path, ["trunk.weights=random"])).name == "zf5"


def test_one_file_serves_zf5_however_it_is_padded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "weights").mkdir(parents=True)
    weights = build_trunk("zf5", "random").body.state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    fc = {"fc6.weight": (5, 36 * 256), "fc6.bias": (5,), "fc7.weight": (4, 5), "fc7.bias": (4,), "fc8.weight": (9, 4)}
    save_file(weights | {name: torch.ones(shape) for name, shape in fc.items()}, "data/weights/zf5.safetensors")
    for name in ("zf5", "zf5_table1", "zf5_released"):
        trunk = build_trunk(name)
        assert all(torch.equal(value, weights[key]) for key, value in trunk.body.state_dict().items())
        assert trunk.pretrained_fc.levels == (6,)
        assert trunk.digest() == build_trunk(name, "data/weights/zf5.safetensors").digest()
    assert build_trunk("zf5").digest() != build_trunk("zf5_table1").digest(), "their maps differ"


@pytest.mark.parametrize("levels", [(1, 2, 3, 6), (1, 2, 3, 4), (6,)])
def test_fc6_sees_the_pyramid_that_its_columns_are_of(levels, tmp_path):
    generator = torch.Generator().manual_seed(0)
    columns = 256 * num_bins(levels)
    shapes = {"fc6.weight": (5, columns), "fc6.bias": (5,), "fc7.weight": (4, 5), "fc7.bias": (4,)}
    fc = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    convolutions = {name: value.contiguous() for name, value in build_trunk("zf5", "random").body.state_dict().items()}
    save_file(convolutions | fc, tmp_path / "zf5.safetensors")
    pretrained = build_trunk("zf5", str(tmp_path / "zf5.safetensors")).pretrained_fc
    assert pretrained.levels == levels
    head = FcHead(columns, hidden=(5, 4))
    fill_from_pretrained(head, pretrained, 256, levels)
    assert torch.equal(head.fc6.weight, fc["fc6.weight"])
    assert torch.equal(head.fc7.weight, fc["fc7.weight"])


@pytest.mark.parametrize("levels", [(1, 2, 3, 6), (6,)])
def test_a_classifier_that_was_trained_here_becomes_a_detector_s_trunk(levels, tmp_path):
    """Trunk, fc6 and fc7 say of a window of the whole map what they say of the image in the classifier."""
    config = ClassificationConfig(
        data=FoldersConfig(root="none"),
        trunk=TrunkConfig("zf5", "random", "torchvision"),
        classifier=ClassifierConfig(levels, (8, 6)),
    )
    network = build_classifier(config, ("cat", "dog")).eval()
    save_classifier(tmp_path, network, config)
    trunk = build_trunk("zf5", str(tmp_path / "model.safetensors"), "torchvision")
    head = FcHead(256 * num_bins(levels), hidden=(8, 6))
    fill_from_pretrained(head, trunk.pretrained_fc, 256, levels)
    image = np.random.default_rng(0).integers(0, 256, (180, 240, 3), np.uint8)
    x = trunk.tensor(image)[None]
    with torch.inference_mode():
        cells = trunk(x)[0]
        whole = np.array([[0, 0, cells.shape[2] - 1, cells.shape[1] - 1]])
        fc7 = head.layer(pool_windows(cells, whole, levels), "fc7")
        said, wanted = network.head.fc8(fc7), network(x)
    assert wanted.abs().max() > 0.001
    torch.testing.assert_close(said, wanted)


def test_an_fc6_that_sees_no_pyramid_of_the_paper(tmp_path):
    weights = {name: value.contiguous() for name, value in build_trunk("zf5", "random").body.state_dict().items()}
    weights |= {"fc6.weight": torch.zeros(5, 256 * 16), "fc7.weight": torch.zeros(4, 5)}
    save_file(weights, tmp_path / "zf5.safetensors")
    with pytest.raises(WeightsError, match=r"fc6.weight has the shape \[5, 4096\], expected \[5, 12800\]"):
        build_trunk("zf5", str(tmp_path / "zf5.safetensors"))


def _save(name, file):
    save_file({key: value.contiguous() for key, value in build_trunk(name, "random").body.state_dict().items()}, file)


def test_another_network_s_file_is_refused(tmp_path):
    file = tmp_path / "overfeat5.safetensors"
    _save("overfeat5", file)
    with pytest.raises(WeightsError, match=r"conv3.weight has the shape \[512, 256, 3, 3\], expected \[384, "):
        build_trunk("zf5", str(file))
    with pytest.raises(WeightsError, match=r"has no tensor conv6.weight"):
        build_trunk("overfeat7", str(file))
    _save("overfeat7", file)
    with pytest.raises(WeightsError, match=r"conv6.* has no place"):
        build_trunk("overfeat5", str(file))


def test_where_each_network_normalises():
    kinds = {
        name: [
            type(layer)
            for layer in build_trunk(name, "random").body
            if isinstance(layer, (WithinChannel, AcrossChannels))
        ]
        for name in ("zf5", "overfeat5", "convnet5")
    }
    assert kinds == {
        "zf5": [WithinChannel, WithinChannel],
        "overfeat5": [WithinChannel],
        "convnet5": [AcrossChannels, AcrossChannels],
    }
