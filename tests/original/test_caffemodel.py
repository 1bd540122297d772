"""Caffe's networks: every form of the format there and back, every fault by its one line, and damaged files."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.caffe_wire import NEW, OLD, OLDEST, blob, field, floats, layer, network, shape_of, varint
from torch.nn.functional import max_pool2d

from spp_det.errors import WeightsError
from spp_det.networks import build_trunk
from spp_det.networks.weights import read_tensors
from spp_det.original import caffemodel, convert_caffemodel, read_caffemodel
from spp_det.pooling import pool_windows

FORMS = (OLDEST, OLD, NEW)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def small_net(form: str, **how: bool) -> tuple[bytes, dict[str, np.ndarray]]:
    weights = {
        "conv1.weight": numbers(4, 3, 7, 5),
        "conv1.bias": numbers(4),
        "fc6.weight": numbers(6, 50, seed=1),
        "fc6.bias": numbers(6, seed=2),
        "fc7.weight": numbers(3, 6, seed=3),
    }
    content = network(
        [
            layer("relu", "other", [], form),
            layer(
                "conv1", "convolution", [blob(weights["conv1.weight"], **how), blob(weights["conv1.bias"], **how)], form
            ),
            layer("fc6", "inner product", [blob(weights["fc6.weight"], **how), blob(weights["fc6.bias"], **how)], form),
            layer("fc7", "inner product", [blob(weights["fc7.weight"], **how)], form),
        ]
    )
    return content, weights


def save(folder: Path, content: bytes) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


def fault_of(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_caffemodel(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def fault_of_layers(folder: Path, *layers: bytes) -> str:
    return fault_of(save(folder, network(layers)))


# --- what is read


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("double", [False, True])
def test_every_form(tmp_path: Path, form: str, legacy: bool, packed: bool, double: bool) -> None:
    content, weights = small_net(form, legacy=legacy, packed=packed, double=double, diff=True)
    found = read_caffemodel(save(tmp_path, content))
    assert list(found) == list(weights)
    for name, array in weights.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_a_transposed_inner_product(tmp_path: Path) -> None:
    weight, bias = numbers(5, 3), numbers(3)
    content = network([layer("fc", "inner product", [blob(weight), blob(bias)], transposed=True)])
    found = read_caffemodel(save(tmp_path, content))
    np.testing.assert_array_equal(found["fc.weight"], weight.T)
    assert found["fc.weight"].flags.c_contiguous


def test_layers_of_other_types_keep_their_blobs(tmp_path: Path) -> None:
    mean, factor = numbers(3), np.array(2.5, np.float32)
    content = network([layer("bn", "other", [blob(mean), blob(mean), blob(factor)])])
    found = read_caffemodel(save(tmp_path, content))
    assert {name: array.shape for name, array in found.items()} == {"bn.blob0": (3,), "bn.blob1": (3,), "bn.blob2": ()}


def test_the_old_fields_of_a_shape_go_before_the_new_one(tmp_path: Path) -> None:
    both = shape_of((2, 3), legacy=True) + shape_of((6,), legacy=False)
    content = network([layer("bn", "other", [floats(5, range(6), "f", True) + both])])
    assert read_caffemodel(save(tmp_path, content))["bn.blob0"].shape == (1, 1, 2, 3)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=5),
    form=st.sampled_from(FORMS),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_blob(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int], form: str, packed: bool, seed: int
) -> None:
    array = numbers(*shape, seed=seed)
    content = network([layer("x", "other", [blob(array, packed=packed)], form)])
    path = save(tmp_path_factory.mktemp("blob"), content)
    np.testing.assert_array_equal(read_caffemodel(path)["x.blob0"], array)


def test_a_field_that_comes_in_pieces_is_one(tmp_path: Path) -> None:
    pieces = floats(5, [1, 2], "f", True) + floats(5, [3], "f", False) + floats(5, [4], "f", True)
    content = network([layer("x", "other", [pieces + shape_of((4,), False)])])
    np.testing.assert_array_equal(read_caffemodel(save(tmp_path, content))["x.blob0"], [1, 2, 3, 4])


# --- what is written


def test_conversion_gives_what_the_networks_read(tmp_path: Path) -> None:
    content, weights = small_net(OLD, legacy=True)
    source = save(tmp_path, content)
    for name in ("a.safetensors", "b.safetensors"):
        convert_caffemodel(source, tmp_path / "made" / name)
    found = read_tensors(tmp_path / "made" / "a.safetensors")
    assert {name: value.numpy().tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in weights.items()
    }
    assert (tmp_path / "made" / "a.safetensors").read_bytes() == (tmp_path / "made" / "b.safetensors").read_bytes()
    with safetensors.safe_open(tmp_path / "made" / "a.safetensors", "np") as file:
        facts = json.loads(file.metadata()["caffe"])
    assert facts["source"] == "net.caffemodel"
    assert facts["image_channels"].startswith("BGR")


def test_fc6_of_the_released_pyramid_fits_our_vectors(tmp_path: Path) -> None:
    """fc6 sees Caffe's Concat of four flattened max-pools, levels 1, 2, 3, 6: the order of `pool_windows`."""
    cells = np.maximum(numbers(8, 13, 13, seed=4), 0)
    # kernel and stride of the released net (Zeiler_conv5.prototxt), but stride 6, the paper's, for 7 of the 2 x 2 level
    pools = [max_pool2d(torch.from_numpy(cells)[None], *each) for each in ((13, 13), (7, 6), (5, 4), (3, 2))]
    concatenated = torch.cat([pool.flatten(1) for pool in pools], dim=1)[0].numpy()
    weight, bias = numbers(5, 400, seed=5), numbers(5, seed=6)
    content = network([layer("fc6", "inner product", [blob(weight, legacy=True), blob(bias, legacy=True)], OLD)])
    found = read_caffemodel(save(tmp_path, content))
    vector = pool_windows(cells, np.array([[0, 0, 12, 12]]), levels=(1, 2, 3, 6))[0]
    np.testing.assert_array_equal(vector, concatenated)
    np.testing.assert_array_equal(found["fc6.weight"] @ vector, weight @ concatenated)


def test_a_trunk_takes_a_converted_network(tmp_path: Path) -> None:
    """R-CNN's form: names, order of axes and groups are those that `caffe_alexnet` wants."""
    trunk = build_trunk("caffe_alexnet", "random")
    arrays = {name: value.numpy() for name, value in trunk.body.state_dict().items()}
    arrays |= {"fc6.weight": numbers(2, 9216), "fc6.bias": numbers(2), "fc7.weight": numbers(2, 2)}
    arrays |= {"fc7.bias": numbers(2), "fc8.weight": numbers(5, 2), "fc8.bias": numbers(5)}
    layers = []
    for name in dict.fromkeys(name.split(".")[0] for name in arrays):
        kind = "inner product" if name.startswith("fc") else "convolution"
        blobs = [blob(arrays[f"{name}.{part}"], legacy=True) for part in ("weight", "bias")]
        layers.append(layer(name, kind, blobs, OLDEST))
    out = tmp_path / "net.safetensors"
    convert_caffemodel(save(tmp_path, network(layers)), out)
    loaded = build_trunk("caffe_alexnet", str(out))
    np.savez(tmp_path / "net.npz", **arrays)
    assert loaded.digest() == build_trunk("caffe_alexnet", str(tmp_path / "net.npz")).digest()
    assert loaded.pretrained_fc is not None
    np.testing.assert_array_equal(loaded.pretrained_fc.fc6_weight.numpy(), arrays["fc6.weight"])


# --- faults


def test_a_missing_file(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "none.caffemodel") == "there is no such file"


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    for content in (b"name: 'net' layers { name: 'conv1' }", b"\x89HDF\r\n\x1a\n" + bytes(100), b"PK\x03\x04"):
        assert fault_of(save(tmp_path, content)) == "is no .caffemodel, or is cut short"
    for content in (b"", field(1, b"net"), network([layer("relu", "other", [])])):
        assert "holds no layer with weights" in fault_of(save(tmp_path, content))


def test_a_file_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    claim = varint(100 << 3 | 2) + varint(1 << 40) + b"few"
    assert fault_of(save(tmp_path, claim)) == "is no .caffemodel, or is cut short"
    inner = varint(7 << 3 | 2) + varint(1 << 31) + b"few"
    assert fault_of(save(tmp_path, field(100, inner))) == "layer 1 of 1 is damaged"
    data = varint(5 << 3 | 2) + varint(400) + bytes(40)
    assert fault_of_layers(tmp_path, layer("conv1", "convolution", [data])) == "layer 'conv1' has a damaged blob 0"


@pytest.mark.parametrize(
    ("dims", "count"),
    [((3, 4), 11), ((3, 4), 13), ((0, 4), 0), ((), 0), ((-2, -3), 6), ((1 << 40, 1 << 40), 6), ((1,) * 33, 1)],
)
def test_a_shape_that_does_not_fit(tmp_path: Path, dims: tuple[int, ...], count: int) -> None:
    content = floats(5, [1.0] * count, "f", True) + shape_of(dims, legacy=False)
    text = fault_of_layers(tmp_path, layer("fc6", "inner product", [content]))
    assert text.startswith("layer 'fc6' has blob 0 of the shape [")
    assert text.endswith(f" with {count} numbers")


def test_a_large_claim_takes_no_memory(tmp_path: Path) -> None:
    content = network([layer("x", "other", [floats(5, [1.0], "f", True) + shape_of((1 << 30, 8), False)])])
    path = save(tmp_path, content)
    fault_of(path)
    tracemalloc.start()
    fault_of(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_weights_that_do_not_fit_their_layer(tmp_path: Path) -> None:
    weight, bias = blob(numbers(4, 6)), blob(numbers(5))
    assert "[4, 6] and [5], which do not fit" in fault_of_layers(
        tmp_path, layer("fc6", "inner product", [weight, bias])
    )
    assert "has 3 blobs" in fault_of_layers(tmp_path, layer("conv1", "convolution", [weight, bias, bias]))
    for array in (numbers(6), numbers(2, 1, 4, 6)):
        assert "which is no matrix" in fault_of_layers(tmp_path, layer("fc6", "inner product", [blob(array)]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_number_that_is_not_finite(tmp_path: Path, value: float) -> None:
    text = fault_of_layers(tmp_path, layer("fc6", "inner product", [blob(np.array([[1, value]]), double=True)]))
    assert text == "layer 'fc6' has a number in blob 0 that is not finite"


def test_names(tmp_path: Path) -> None:
    one = layer("fc6", "inner product", [blob(numbers(2, 3))])
    assert fault_of_layers(tmp_path, one, one) == "layer 'fc6' stands in the file twice"
    assert fault_of_layers(tmp_path, layer("", "other", [blob(numbers(2))])) == "a layer with weights has no name"
    no_text = field(100, field(1, b"\xff\xfe") + field(7, blob(numbers(2))))
    assert fault_of(save(tmp_path, no_text)) == "layer 1 of 1 has a name or type that is no text"
    assert fault_of_layers(tmp_path, layer("a\nb\x1b[31m", "other", [b""])).startswith(r"layer 'a\nb\x1b[31m' has")


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = layer("x", "other", [])
    assert "claims 10001 layers; at most 10000" in fault_of_layers(tmp_path, *[empty] * 10_001)
    assert "layer 'x' claims 101 blobs" in fault_of_layers(tmp_path, layer("x", "other", [b""] * 101))
    monkeypatch.setattr(caffemodel, "MAX_BYTES", 100)
    assert "has more than" in fault_of(save(tmp_path, bytes(101)))


def test_a_failed_conversion_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"before")
    with pytest.raises(WeightsError):
        convert_caffemodel(save(tmp_path, b"nothing"), out)
    assert out.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.caffemodel", "net.safetensors"]


# --- damaged files: the documented error, or arrays that are whole


def read_or_refuse(path: Path, content: bytes) -> bool:
    """Whether it was refused."""
    path.write_bytes(content)
    try:
        found = read_caffemodel(path)
    except WeightsError as caught:
        fault = str(caught)
    else:
        fault = ""
    if fault:
        assert fault.startswith(f"{path}: ")
        assert "\n" not in fault
        return True
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in found.values())
    return False


@pytest.mark.parametrize("form", FORMS)
def test_files_cut_short(tmp_path: Path, form: str) -> None:
    content, _ = small_net(form)
    path = tmp_path / "cut.caffemodel"
    refused = [read_or_refuse(path, content[:size]) for size in range(0, len(content), 7)]
    assert sum(refused) >= len(refused) - 3  # one that ends between two layers is a whole file of fewer


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bits(tmp_path: Path, form: str) -> None:
    content, _ = small_net(form, legacy=form == OLD, double=form == NEW)
    rng = random.Random(3)
    path = tmp_path / "flipped.caffemodel"
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        read_or_refuse(path, bytes(damaged))


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    read_or_refuse(tmp_path_factory.mktemp("any") / "x.caffemodel", content)
