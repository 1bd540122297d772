"""Every fault of a weight file, provoked."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spp_det.errors import ConfigError, WeightsError
from spp_det.networks import TRUNKS, build_trunk


@pytest.fixture(scope="module")
def convolutions():
    """AlexNet's convolutions under torchvision's names, random."""
    state = build_trunk("alexnet", "random").body.state_dict()
    return {name: value.contiguous() for name, value in state.items()}


def _refused(path, trunk="alexnet"):
    with pytest.raises(WeightsError) as caught:
        build_trunk(trunk, str(path))
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_each_kind_of_file_is_read(tmp_path, convolutions):
    np.savez(tmp_path / "a.npz", **{name: value.numpy() for name, value in convolutions.items()})
    save_file(convolutions, tmp_path / "a.safetensors")
    torch.save(convolutions, tmp_path / "a.pth")
    torch.save({"state_dict": convolutions, "epoch": 3}, tmp_path / "a.pt")
    expected = build_trunk("alexnet", "random").digest()
    for path in sorted(tmp_path.iterdir()):
        trunk = build_trunk("alexnet", str(path))
        assert trunk.digest() == expected
        assert trunk.pretrained_fc is None


def test_caffe_s_alexnet_with_its_fc_layers(tmp_path):
    arrays = {name: value.numpy() for name, value in build_trunk("caffe_alexnet", "random").body.state_dict().items()}
    shapes = {"fc6.weight": (5, 9216), "fc6.bias": (5,), "fc7.weight": (4, 5), "fc7.bias": (4,), "fc8.weight": (3, 4)}
    arrays |= {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "caffe.npz", **arrays)
    fc = build_trunk("caffe_alexnet", str(tmp_path / "caffe.npz")).pretrained_fc
    assert fc.levels == (6,)
    assert {name: tuple(value.shape) for name, value in fc.tensors().items()} == {
        "fc6_weight": (5, 9216),
        "fc6_bias": (5,),
        "fc7_weight": (4, 5),
        "fc7_bias": (4,),
    }


def test_a_missing_file(tmp_path):
    assert "no such weight file" in _refused(tmp_path / "none.pth")


def test_a_file_of_another_kind(tmp_path):
    assert "not from .onnx" in _refused(tmp_path / "net.onnx")


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pth", "pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(1000)])
def test_a_broken_file(tmp_path, suffix, content):
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(content)
    assert "broken" in _refused(path)


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "pth"])
def test_a_file_cut_short(tmp_path, convolutions, suffix):
    path = tmp_path / f"net.{suffix}"
    if suffix == "npz":
        np.savez(path, **{name: value.numpy() for name, value in convolutions.items()})
    elif suffix == "pth":
        torch.save(convolutions, path)
    else:
        save_file(convolutions, path)
    path.write_bytes(path.read_bytes()[:100_000])
    assert "broken" in _refused(path)


class _Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_pickle_is_not_run(tmp_path, capsys):
    torch.save({"features.0.weight": _Evil()}, tmp_path / "net.pth")
    assert "more than tensors" in _refused(tmp_path / "net.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(_Evil(), protocol=2))
    assert "broken" in _refused(tmp_path / "raw.pth")
    np.savez(tmp_path / "net.npz", w=np.array([_Evil()], dtype=object))
    assert "broken" in _refused(tmp_path / "net.npz")
    assert capsys.readouterr().out == ""


def test_what_is_no_dict_of_tensors(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    assert "no dict of tensors" in _refused(tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "int.pth")
    assert "epoch is a int, not a tensor" in _refused(tmp_path / "int.pth")


def test_wrong_missing_and_surplus_tensors(tmp_path, convolutions):
    path = tmp_path / "net.safetensors"
    save_file({**convolutions, "features.3.weight": torch.zeros(2, 3)}, path)
    assert _refused(path).endswith("tensor features.3.weight has the shape [2, 3], expected [192, 64, 5, 5]")
    save_file({name: value for name, value in convolutions.items() if name != "features.3.bias"}, path)
    assert _refused(path).endswith("has no tensor features.3.bias, expected with the shape [192]")
    save_file({**convolutions, "features.99.bias": torch.zeros(2)}, path)
    assert "features.99.bias [2] has no place" in _refused(path)
    save_file({**convolutions, "features.3.bias": torch.full((192,), float("nan"))}, path)
    assert "features.3.bias holds a value that is not finite" in _refused(path)
    save_file({**convolutions, "classifier.1.weight": torch.zeros(8, 9216)}, path)
    assert "has no matrix classifier.4.weight" in _refused(path)
    bad_fc = {"classifier.1.weight": torch.zeros(8, 12544), "classifier.4.weight": torch.zeros(8, 8)}
    save_file(convolutions | bad_fc, path)
    assert "classifier.1.weight has the shape [8, 12544], expected [8, 9216]" in _refused(path)


def test_another_network_s_file(tmp_path, convolutions):
    save_file(convolutions, tmp_path / "alexnet.safetensors")
    assert "features.0.weight" in _refused(tmp_path / "alexnet.safetensors", "vgg16")
    assert "conv_stem.weight" in _refused(tmp_path / "alexnet.safetensors", "efficientnet_lite0")
    assert "conv1.weight" in _refused(tmp_path / "alexnet.safetensors", "caffe_alexnet")
    assert "conv1.weight" in _refused(tmp_path / "alexnet.safetensors", "timm:resnet18")


@pytest.mark.parametrize(("trunk", "file"), [("alexnet", "alexnet-owt-7be5be79.pth"), ("vgg16", "vgg16-397923af.pth")])
def test_a_download_that_fails(trunk, file, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(WeightsError, match=rf"https://.*/{file}: the download failed \(.*\); .* give its path"):
        build_trunk(trunk)


def test_a_timm_download_that_fails(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"https://huggingface.co/timm/resnet18.*: the download failed"):
        build_trunk("timm:resnet18")


def test_a_timm_network_from_a_whole_network_s_file(tmp_path):
    import timm

    torch.manual_seed(5)
    for name in ("resnet18", "convnext_atto"):
        net = timm.create_model(name, output_stride=16).eval()
        path = tmp_path / f"{name}.safetensors"
        save_file(net.state_dict(), path)
        trunk = build_trunk(f"timm:{name}", str(path))
        x = torch.randn(1, 3, 64, 64)
        with torch.inference_mode():
            expected = net.forward_intermediates(x, indices=1, intermediates_only=True)[0]
            torch.testing.assert_close(trunk(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("alexnt", "unknown trunk 'alexnt': choose efficientnet_lite0, "),
        ("timm:nothing", "timm has no network"),
        ("no_such_module:Net", "no module no_such_module"),
        ("math:Net", "module math has no Net"),
        ("builtins:max", "made a str"),
        ("timm:", "unknown trunk"),
    ],
)
def test_names_that_mean_nothing(name, fault):
    with pytest.raises(ConfigError, match=fault):
        build_trunk(name)


def test_an_unknown_input():
    with pytest.raises(ConfigError, match="one of default, torchvision, caffe"):
        build_trunk("alexnet", "random", "bgr")


def test_a_trunk_of_the_user_s_own():
    trunk = build_trunk("spp_det.networks.caffenet:caffe_alexnet", "random")
    assert trunk.digest() == TRUNKS["caffe_alexnet"]("random").digest()
