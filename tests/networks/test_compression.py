"""Thin fully connected layers: the best of their rank, by the matrix alone or over samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from spp_det.errors import ConfigError
from spp_det.networks import FcHead, LowRankLinear, Samples, compress_head

LENGTH, HIDDEN, CLASSES = 40, (24, 16), 3


@pytest.fixture(scope="module")
def head():
    head = FcHead(LENGTH, HIDDEN, CLASSES, seed=1)
    torch.nn.init.normal_(head.fc6.bias, generator=torch.Generator().manual_seed(2))
    torch.nn.init.normal_(head.fc7.bias, generator=torch.Generator().manual_seed(3))
    return head


@pytest.fixture(scope="module")
def vectors():
    """Windows of real images vary in some directions more than in others."""
    rng = np.random.default_rng(0)
    scales = np.exp(-np.arange(LENGTH) / 6)
    turned = np.linalg.qr(rng.standard_normal((LENGTH, LENGTH)))[0]
    return ((rng.standard_normal((1500, LENGTH)) * scales) @ turned + 0.3).astype(np.float32)


def weights(head):
    return {name: value.numpy().astype(np.float64) for name, value in head.state().items()}


def test_the_truncation_is_the_decomposition_s(head):
    small = weights(compress_head(head, (5, 7)))
    for name, rank in (("fc6", 5), ("fc7", 7)):
        left, values, right = np.linalg.svd(weights(head)[f"{name}.weight"], full_matrices=False)
        product = small[f"{name}.second.weight"] @ small[f"{name}.first.weight"]
        np.testing.assert_allclose(product, (left[:, :rank] * values[:rank]) @ right[:rank], atol=1e-5)
        np.testing.assert_allclose(small[f"{name}.second.bias"], weights(head)[f"{name}.bias"], atol=1e-6)


@pytest.mark.parametrize("sampled", ["nothing", "windows", "scores", "beside"])
def test_the_full_rank_changes_nothing(head, vectors, sampled):
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((CLASSES, HIDDEN[1])).astype(np.float32)
    beside = rng.standard_normal((LENGTH, 4)).astype(np.float32)
    samples = {
        "nothing": None,
        "windows": Samples(vectors),
        "scores": Samples(vectors.astype(np.float16), scores),
        "beside": Samples(vectors, scores, beside),
    }[sampled]
    rank = (HIDDEN[0], HIDDEN[1]) if sampled != "beside" else None
    small = compress_head(head, rank, None if rank else 1.0, samples)
    for layer in ("fc6", "fc7", "logits"):
        np.testing.assert_allclose(small.numpy(vectors, layer), head.numpy(vectors, layer), rtol=1e-3, atol=1e-3)


def test_over_samples_the_outputs_are_the_best_of_their_rank(head, vectors):
    """Eckart and Young: no projection of the centred outputs loses less than their principal components."""
    small = compress_head(head, (4, 16), samples=Samples(vectors))
    exact = vectors.astype(np.float64) @ weights(head)["fc6.weight"].T
    values = np.linalg.svd(exact - exact.mean(0), compute_uv=False)
    of_small = weights(small)
    codes = vectors.astype(np.float64) @ of_small["fc6.first.weight"].T
    found = codes @ of_small["fc6.second.weight"].T + of_small["fc6.second.bias"] - weights(head)["fc6.bias"]
    assert np.square(found - exact).sum() == pytest.approx(np.square(values[4:]).sum(), rel=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.05, 1.0))
def test_the_energy_is_kept_by_the_least_rank(seed, energy):
    head = FcHead(10, (8, 6), 2, seed=seed)
    small = compress_head(head, energy=energy)
    for name in ("fc6", "fc7"):
        squares = np.square(np.linalg.svd(weights(head)[f"{name}.weight"], compute_uv=False))
        share = np.cumsum(squares) / squares.sum()
        rank = getattr(small, name).rank
        assert share[rank - 1] >= energy - 1e-6
        assert rank == 1 or share[rank - 2] < energy + 1e-6


def score_error(head, small, vectors, scores):
    return np.square((small.numpy(vectors, "fc7") - head.numpy(vectors, "fc7")) @ scores.T).mean()


def test_what_is_known_of_the_use_makes_the_same_rank_lose_less(head, vectors):
    scores = np.random.default_rng(4).standard_normal((CLASSES, HIDDEN[1])).astype(np.float32)
    rank = (6, 5)
    blind = score_error(head, compress_head(head, rank), vectors, scores)
    sampled = score_error(head, compress_head(head, rank, samples=Samples(vectors)), vectors, scores)
    weighed = score_error(head, compress_head(head, rank, samples=Samples(vectors, scores)), vectors, scores)
    assert weighed < 0.8 * sampled
    assert sampled < 0.5 * blind


def test_the_code_tells_what_stands_beside(head, vectors):
    beside = np.random.default_rng(5).standard_normal((LENGTH, 4)).astype(np.float32)
    wanted = vectors @ beside

    def told(samples):
        codes = compress_head(head, (6, 6), samples=samples).numpy(vectors, "code6")
        rows = np.concatenate([codes, np.ones((len(codes), 1), np.float32)], axis=1)
        left = wanted - rows @ np.linalg.lstsq(rows, wanted, rcond=None)[0]
        return 1 - left.var() / wanted.var()

    assert told(Samples(vectors, beside=beside)) > 0.97
    assert told(Samples(vectors, beside=beside)) > told(Samples(vectors))


def test_the_old_head_stays_and_the_new_one_can_be_tuned(head):
    before = head.state()
    small = compress_head(head, 3)
    small(torch.ones(2, LENGTH)).sum().backward()
    assert small.fc6.first.weight.grad is not None
    assert all(torch.equal(before[name], value) for name, value in head.state().items())


def test_the_code_is_a_layer_of_a_compressed_head_only(head, vectors):
    small = compress_head(head, (3, 2))
    assert (small.dim("code6"), small.dim("fc6"), small.dim("fc7")) == (3, *HIDDEN)
    code, fc7 = small.numpy_layers(vectors, ("code6", "fc7"))
    np.testing.assert_allclose(code, vectors @ weights(small)["fc6.first.weight"].T, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(fc7, small.numpy(vectors, "fc7"))
    with pytest.raises(ValueError, match="pool5, fc6, fc7, logits, not 'code6'"):
        head.dim("code6")


def test_the_state_goes_through_a_file(head, vectors, tmp_path):
    small = compress_head(head, (3, 2))
    save_file(small.state(), tmp_path / "head.safetensors")
    other = compress_head(FcHead(LENGTH, HIDDEN, CLASSES, seed=9), (3, 2))
    other.load_state(load_file(tmp_path / "head.safetensors"))
    assert (other.numpy(vectors, "logits") == small.numpy(vectors, "logits")).all()


def test_what_is_out_of_range_is_told(head):
    for rank in (0, (5, 17), (25, 5)):
        with pytest.raises(ConfigError, match=r"the rank of fc[67] lies in 1 \.\. (24|16), not at"):
            compress_head(head, rank)
    for energy in (0.0, 1.5):
        with pytest.raises(ConfigError, match="energy"):
            compress_head(head, energy=energy)
    for both in ({}, {"rank": 3, "energy": 0.5}):
        with pytest.raises(ValueError, match="not both"):
            compress_head(head, **both)
    with pytest.raises(ConfigError, match="already"):
        compress_head(compress_head(head, 3), 2)


def test_a_low_rank_layer_multiplies_its_factors():
    layer = LowRankLinear(7, 5, 2)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    expected = x @ (layer.second.weight @ layer.first.weight).T + layer.second.bias
    torch.testing.assert_close(layer(x), expected)
