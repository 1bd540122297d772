"""One conformance test over every trunk of the package and one of timm's, with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det.networks import TRUNKS, build_trunk

SIZES = [(64, 96), (75, 101), (33, 47), (1, 3)]


@pytest.fixture(scope="module", params=[*TRUNKS, "timm:resnet18"])
def trunk(request):
    return build_trunk(request.param, weights="random")


def _image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_maps_have_the_stated_shape(trunk, size):
    x = trunk.tensor(_image(size))
    assert x.dtype == torch.float32
    assert x.shape == (3, *trunk.padded_size(size))
    with torch.inference_mode():
        features = trunk(x[None])
    assert features.dtype == torch.float32
    assert features.shape == (1, trunk.out_channels, *trunk.map_size(size))
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert features.isfinite().all()


def test_the_least_side_is_the_least(trunk):
    if trunk.min_side > 1:
        one_less = trunk.min_side - 1
        with pytest.raises(RuntimeError):
            trunk(torch.zeros(1, 3, one_less, one_less))


def test_the_input_is_what_the_preprocessing_states(trunk):
    p = trunk.preprocessing
    image = _image((20, 70))
    x = trunk.tensor(image).numpy()
    ordered = image if p.channel_order == "rgb" else image[:, :, ::-1]
    expected = (ordered * (p.maximum / 255) - np.array(p.mean)) / np.array(p.std)
    np.testing.assert_allclose(x[:, :20, :70], expected.transpose(2, 0, 1), rtol=1e-4, atol=1e-4)
    assert not x[:, 20:].any()
    assert not x[:, :, 70:].any()


def test_an_image_is_not_changed_and_must_be_one(trunk):
    image = _image((40, 40))
    before = image.copy()
    trunk.tensor(image)
    assert (image == before).all()
    with pytest.raises(ValueError, match="uint8"):
        trunk.tensor(image.astype(np.float32))


def test_a_batch_gives_what_its_images_give(trunk):
    xs = torch.stack([trunk.tensor(_image((64, 64), seed)) for seed in (0, 1)])
    with torch.inference_mode():
        batch = trunk(xs)
        for x, features in zip(xs, batch, strict=True):
            rounding = 1e-5 * float(features.max())  # random weights on pixels up to 255 give values of hundreds
            torch.testing.assert_close(trunk(x[None])[0], features, rtol=1e-4, atol=max(1e-4, rounding))


def test_a_trunk_never_trains(trunk):
    trunk.train()
    assert not any(module.training for module in trunk.modules())
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


def test_the_digest_is_of_the_weights_and_the_input(trunk):
    assert build_trunk(trunk.name, weights="random").digest() == trunk.digest()
    other_weights = build_trunk(trunk.name, weights="random")
    next(other_weights.parameters())[0, 0, 0, 0] += 1e-3
    assert other_weights.digest() != trunk.digest()
    other_input = "torchvision" if trunk.preprocessing.channel_order == "bgr" else "caffe"
    assert build_trunk(trunk.name, weights="random", input=other_input).digest() != trunk.digest()


def test_threads_change_no_more_than_the_rounding_and_their_number_fixes_the_bytes(trunk):
    x = trunk.tensor(_image((96, 160)))[None]
    threads = torch.get_num_threads()
    maps = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            with torch.inference_mode():
                maps.append(trunk(x))
                assert torch.equal(trunk(x), maps[-1])
    finally:
        torch.set_num_threads(threads)
    for other in maps[1:]:  # on an Intel processor convolutions split their sums by the number of threads
        torch.testing.assert_close(other, maps[0], rtol=1e-3, atol=1e-4 * float(maps[0].abs().max()))
