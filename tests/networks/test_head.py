from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from spp_det.errors import ConfigError, WeightsError
from spp_det.networks import FcHead, PretrainedFc, build_trunk, fill_from_pretrained


def _vectors(rows=5, length=12, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, length)).astype(np.float32)


def _head(**options):
    return FcHead(12, **{"hidden": (8, 6), "num_classes": 3, **options})


def test_layers_are_what_the_formula_says():
    head = _head()
    x = _vectors()
    w = {name: value.numpy() for name, value in head.state().items()}
    fc6 = np.maximum(x @ w["fc6.weight"].T + w["fc6.bias"], 0)
    fc7 = np.maximum(fc6 @ w["fc7.weight"].T + w["fc7.bias"], 0)
    logits = fc7 @ w["fc8.weight"].T + w["fc8.bias"]
    for name, expected in {"pool5": x, "fc6": fc6, "fc7": fc7, "logits": logits}.items():
        found = head.numpy(x, name)
        assert found.dtype == np.float32
        assert found.shape == (5, head.dim(name))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert head.dim("logits") == 4


def test_forward_drops_in_training_only_and_layers_never():
    head = _head(hidden=(200, 100))
    x = torch.from_numpy(_vectors())
    logits = head.eval()(x)
    assert torch.equal(logits, head.layer(x, "logits"))
    head.train()
    assert not torch.equal(head(x), logits)
    assert torch.equal(head.layer(x, "logits"), logits)


def test_the_start_is_seeded_scaled_and_touches_no_other_generator():
    before = torch.random.get_rng_state()
    head = FcHead(4000, hidden=(500, 400), num_classes=20, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    again = FcHead(4000, (500, 400), 20, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))
    assert not torch.equal(head.fc6.weight, FcHead(4000, (500, 400), 20, seed=4).fc6.weight)
    assert head.fc6.weight.std().item() == pytest.approx((2 / 4000) ** 0.5, rel=0.02)
    assert head.fc7.weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert head.fc8.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not any(fc.bias.any() for fc in (head.fc6, head.fc7, head.fc8))


def test_factors_from_the_start_keep_the_variance_of_the_signal():
    head = FcHead(4000, hidden=(500, 400), num_classes=20, seed=3, rank=(300, 200))
    assert (head.dim("code6"), head.dim("fc6"), head.dim("fc7")) == (300, 500, 400)
    again = FcHead(4000, (500, 400), 20, seed=3, rank=(300, 200))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))
    x = torch.from_numpy(_vectors(400, 4000))
    for name, share in {"code6": 1.0, "fc6": 1.0, "fc7": 1.0}.items():  # the mean square that the next layer sees
        assert head.layer(x, name).square().mean().item() == pytest.approx(share, rel=0.2)
    assert not any(fc.bias.any() for fc in (head.fc6.second, head.fc7.second, head.fc8))


def test_no_vector_and_vectors_that_may_not_be_written():
    head = _head()
    assert head.numpy(np.zeros((0, 12), np.float32), "fc7").shape == (0, 6)
    x = _vectors()
    x.flags.writeable = False
    assert head.numpy(x[:, ::-1], "fc6").shape == (5, 8)


@pytest.mark.parametrize(("name", "counts"), [("logits", (1, 2)), ("fc7", (1, 3))])
def test_threads_change_no_more_than_the_rounding_and_their_number_fixes_the_bytes(name, counts):
    head = FcHead(3000, hidden=(256, 128), num_classes=20)
    x = _vectors(301, 3000)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in counts:
            torch.set_num_threads(count)
            found.append(head.numpy(x, name))
            assert (head.numpy(x, name) == found[-1]).all()
    finally:
        torch.set_num_threads(threads)
    # MKL on an Intel processor splits a sum by the number of threads
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-5 * np.abs(found[0]).max())


def test_unknown_layers_and_wrong_lengths():
    head = _head()
    with pytest.raises(ValueError, match="pool5, fc6, fc7, logits"):
        head.dim("fc9")
    with pytest.raises(ValueError, match="fc9"):
        head.numpy(_vectors(), "fc9")
    with pytest.raises(ValueError, match=r"\[R, 12\], not \[5, 11\]"):
        head.numpy(_vectors(length=11), "fc6")


def test_the_state_goes_through_a_file(tmp_path):
    head, other = _head(seed=1), _head(seed=2)
    save_file(head.state(), tmp_path / "head.safetensors")
    other.load_state(load_file(tmp_path / "head.safetensors"))
    assert (other.numpy(_vectors(), "logits") == head.numpy(_vectors(), "logits")).all()
    with pytest.raises(WeightsError, match=r"run/head: tensor fc6.weight has the shape \[8, 12\], expected \[8, 13\]"):
        FcHead(13, (8, 6), 3).load_state(head.state(), "run/head")


def _pyramid(features, levels):
    pooled = [nn.functional.adaptive_max_pool2d(features, level).flatten(1) for level in levels]
    return torch.cat(pooled, dim=1)


@pytest.mark.parametrize("levels", [(1, 2, 3, 6), (6, 1), (6,)])
def test_a_whole_6x6_map_gives_alexnet_s_own_layers(tmp_path, levels):
    import torchvision

    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = torchvision.models.alexnet().features
        classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(9216, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10)
        ).eval()
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    state |= {f"classifier.{name}": value for name, value in classifier.state_dict().items()}
    torch.save(state, tmp_path / "alexnet.pth")
    trunk = build_trunk("alexnet", str(tmp_path / "alexnet.pth"))
    head = FcHead(256 * sum(n * n for n in levels), hidden=(32, 16), num_classes=4)
    fill_from_pretrained(head, trunk.pretrained_fc, trunk.out_channels, levels)
    x = torch.randn(2, 3, 111, 111, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features_of_x = trunk(x)
        assert features_of_x.shape[2:] == (6, 6)
        vectors = _pyramid(features_of_x, levels)
        flat = features_of_x.flatten(1)
        torch.testing.assert_close(head.layer(vectors, "fc6"), classifier[:3](flat), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(head.layer(vectors, "fc7"), classifier[:6](flat), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("levels", [(1, 2, 3), (3, 1, 2), (4, 2, 1, 3)])
def test_a_classifier_of_several_levels_gives_each_level_its_columns(levels):
    generator = torch.Generator().manual_seed(0)
    theirs = (2, 3, 1)
    weight = torch.randn(8, 5 * 14, generator=generator)
    fc = PretrainedFc(weight, torch.zeros(8), torch.zeros(6, 8), torch.zeros(6), levels=theirs)
    head = FcHead(5 * sum(n * n for n in levels), hidden=(8, 6))
    fill_from_pretrained(head, fc, 5, levels)
    x = torch.randn(2, 5, 7, 9, generator=generator)
    torch.testing.assert_close(head.fc6(_pyramid(x, levels)), _pyramid(x, theirs) @ weight.T, rtol=1e-4, atol=1e-4)


def test_layers_that_do_not_fit_are_refused():
    fc = PretrainedFc(torch.zeros(8, 2 * 36), torch.zeros(8), torch.zeros(6, 8), torch.zeros(6), levels=(6,))
    with pytest.raises(ConfigError, match=r"sees 6 x 6 bins: the pyramid's levels \[1, 2, 4\] lack 6"):
        fill_from_pretrained(FcHead(2 * 21, (8, 6), 3), fc, 2, (1, 2, 4))
    with pytest.raises(ConfigError, match="widths"):
        fill_from_pretrained(FcHead(2 * 37, (9, 6), 3), fc, 2, (1, 6))
    with pytest.raises(ConfigError, match="widths"):
        fill_from_pretrained(FcHead(3 * 37, (8, 6), 3), fc, 3, (1, 6))


def test_layers_by_autocast_are_nearly_those_of_float32():
    head = _head(hidden=(64, 32))
    x = torch.from_numpy(_vectors())
    for name in ("fc6", "fc7", "logits"):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = head.layer(x, name)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), head.layer(x, name), rtol=0.05, atol=0.03)
