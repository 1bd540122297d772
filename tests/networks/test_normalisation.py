from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.caffe_layers import lrn_across_channels, lrn_within_channel

from spp_det.networks.normalisation import AcrossChannels, WithinChannel


def test_a_cell_at_the_corner_divides_by_nine_too():
    x = torch.tensor([[[[3.0, 1.0], [2.0, 0.0]]]])
    scale = 1 + 0.9 / 9 * (9 + 1 + 4)  # 2.4
    assert WithinChannel(3, alpha=0.9)(x)[0, 0, 0, 0].item() == pytest.approx(3 * scale**-0.75)


def test_the_first_channel_divides_by_five_too():
    x = torch.tensor([3.0, 1.0, 2.0, 5.0]).view(1, 4, 1, 1)
    scale = 1 + 0.5 / 5 * (9 + 1 + 4)  # 2.4
    assert AcrossChannels(5, alpha=0.5)(x)[0, 0, 0, 0].item() == pytest.approx(3 * scale**-0.75)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 6), st.integers(1, 6)),
    size=st.sampled_from([1, 3, 5]),
    alpha=st.sampled_from([5e-5, 1e-4, 0.3]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_both_are_caffe_s_formula(shape, size, alpha, seed):
    x = np.random.default_rng(seed).normal(0, 100, shape).astype(np.float32)
    batch = torch.from_numpy(x)[None]
    within, across = WithinChannel(size, alpha)(batch), AcrossChannels(size, alpha)(batch)
    np.testing.assert_allclose(within[0], lrn_within_channel(x, size, alpha, 0.75), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(across[0], lrn_across_channels(x, size, alpha, 0.75), rtol=1e-5, atol=1e-5)


def test_across_channels_is_torch_s():
    x = torch.randn(2, 7, 3, 4, generator=torch.Generator().manual_seed(0)) * 50
    expected = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(AcrossChannels(5, alpha=1e-4)(x), expected)


@pytest.mark.parametrize("norm", [WithinChannel(3, 5e-5), AcrossChannels(5, 1e-4)])
def test_the_bytes_do_not_depend_on_how_threads_cut_it_up(norm):
    x = torch.randn(1, 96, 15, 25, generator=torch.Generator().manual_seed(0)) * 50
    x = x.to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(norm(x))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("norm", [WithinChannel(3, 5e-5), AcrossChannels(5, 1e-4)])
def test_bfloat16_is_computed_in_float32(norm):
    x = (torch.randn(1, 8, 5, 5, generator=torch.Generator().manual_seed(0)) * 50).bfloat16()
    assert norm(x).dtype == torch.bfloat16
    assert torch.equal(norm(x), norm(x.float()).bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_compiled_cells_give_what_gradients_come_back_to(dtype, layout):
    x = torch.randn(3, 20, 7, 9, generator=torch.Generator().manual_seed(0)) * 200
    x = x.to(dtype).to(memory_format=layout)
    norm = AcrossChannels(5, alpha=1e-4)
    learning = norm(x.clone().requires_grad_())
    assert learning.requires_grad
    last_place = {torch.float32: 3e-7, torch.bfloat16: 2**-8}[dtype]  # torch's square root may be off by one there
    torch.testing.assert_close(norm(x), learning.detach(), rtol=last_place, atol=0)
    learning.float().sum().backward()


@pytest.mark.parametrize("norm", [WithinChannel, AcrossChannels])
@pytest.mark.parametrize("size", [0, 2, -1])
def test_an_even_number_of_neighbours_has_no_middle(norm, size):
    with pytest.raises(ValueError, match="odd number wide"):
        norm(size, 1e-4)
