"""A compressed detector beside the dense one: the same at full rank, near it below, and whole after a trip to disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spp_det import Detector
from spp_det.config import Config, DataConfig, FinetuneConfig, MapsConfig, ProposalsConfig, TrunkConfig
from spp_det.detection.bundle import load_detector, save_detector
from spp_det.detection.compression import Compression, compress_detector, draw_windows
from spp_det.errors import ConfigError, DataError, WeightsError
from spp_det.files import read_arrays, write_arrays
from spp_det.parts import make_head, make_proposals, make_regions, make_trunk
from spp_det.structures import Proposals
from spp_det.training import BoxRegressor, LinearSVMs

NAMES = ("cat", "dog", "cow")
CONFIG = Config(
    data=DataConfig(root="none"),
    proposals=ProposalsConfig(max_windows=400),
    trunk=TrunkConfig("alexnet", "random"),
    maps=MapsConfig((96,), levels=(1, 2)),
    finetune=FinetuneConfig(hidden=(48, 32)),
)


def picture(seed=0):
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (12, 16, 3), np.uint8)
    return np.repeat(np.repeat(blocks, 10, axis=0), 10, axis=1)


@pytest.fixture(scope="module")
def dense():
    trunk = make_trunk(CONFIG)
    head = make_head(CONFIG, trunk, len(NAMES)).eval()
    rng = np.random.default_rng(0)
    svms, regressor = LinearSVMs(), BoxRegressor()
    svms.coef_ = rng.normal(0, 0.1, (3, 32)).astype(np.float32)
    svms.intercept_, svms.scale_ = np.zeros(3, np.float32), 0.5
    regressor.weights_ = rng.normal(0, 0.002, (3, head.dim("pool5") + 1, 4)).astype(np.float32)
    regressor.scale_ = 2.0
    return Detector(make_proposals(CONFIG), make_regions(CONFIG, trunk, head), svms, regressor, NAMES)


def draw(detector, pictures, **options):
    settings = Compression(rank=1, keep=options.pop("keep", 0.5))
    return draw_windows(detector, map(picture, pictures), len(pictures), settings, **options)


@pytest.fixture(scope="module")
def windows(dense):
    return draw(dense, range(10))


def seen(detector):
    image = picture(99)
    proposals = detector.proposals.propose(image, "")
    return detector.candidates(image, Proposals(proposals.boxes[:150]))


def test_windows_are_drawn_by_the_seed(dense, windows):
    whole, coarse, scores = windows.whole, windows.coarse, windows.scores
    assert whole.dtype == coarse.dtype == np.float16
    assert whole.shape[1] == coarse.shape[1] == dense.regions.dim("pool5")  # of levels 1 and 2, as the first look's
    assert 300 < len(whole) <= 400
    assert 400 < len(coarse) == len(scores) <= 1000
    wanted = dense.svms.decision_function(dense.regions.head.numpy(coarse.astype(np.float32), "fc7"))
    np.testing.assert_allclose(scores, wanted, atol=0.01)
    again = draw(dense, range(2))
    for first, second in zip((whole, coarse, scores), (again.whole, again.coarse, again.scores), strict=True):
        assert (second == first[: len(second)]).all()
    other = draw(dense, [0], seed=1)
    assert not np.array_equal(other.whole, whole[: len(other.whole)])
    assert draw(dense, [0], keep=1.0).coarse is None
    with pytest.raises(ValueError, match="drawn without what a first look learns from"):
        compress_detector(dense, Compression(rank=6, keep=0.5), draw(dense, [0], keep=1.0))


def test_half_of_the_windows_drawn_are_the_best(dense):
    image, settings = picture(), Compression(rank=1, keep=0.5)
    boxes = dense.proposals.propose(image, "").boxes
    assert len(boxes) <= 400  # so that all are scored
    vectors = dense.regions.window_features(dense.regions.image_features(image), boxes, "fc7")
    best = np.sort(dense.svms.decision_function(vectors).max(axis=1))[::-1]
    found = np.sort(draw_windows(dense, [image], 1, settings).scores.max(axis=1))[::-1]
    np.testing.assert_allclose(found[:50], best[:50], rtol=1e-5)
    assert len(found) == min(100, len(boxes))


def test_at_full_rank_nothing_changes(dense, windows):
    small = compress_detector(dense, Compression(energy=1.0, keep=1.0), windows)
    ours, theirs = seen(small), seen(dense)
    assert (ours.windows == theirs.windows).all()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=0.02)
    np.testing.assert_allclose(ours.regressed, theirs.regressed, atol=1.0)
    assert small.regression_layer == "code6"
    assert dense.regression_layer == "pool5"
    assert dense.first_look is None


def score_error(small, dense):
    pooled = dense.regions.pool(dense.regions.image_features(picture(99)), np.array([[0, 0, 90, 70]], np.float32))
    pooled = np.concatenate([pooled, draw(dense, [98]).whole.astype(np.float32)])
    ours, theirs = (each.svms.decision_function(each.regions.head.numpy(pooled, "fc7")) for each in (small, dense))
    return np.square(ours - theirs).mean()


def test_windows_make_the_same_rank_lose_less(dense, windows):
    blind = compress_detector(dense, Compression(rank=6))
    fitted = compress_detector(dense, Compression(rank=6, keep=1.0), windows)
    assert blind.regression_layer == "pool5"
    assert score_error(fitted, dense) < 0.5 * score_error(blind, dense)


def test_fewer_units_say_nearly_the_same(dense, windows):
    all_units, some = (
        compress_detector(dense, Compression(rank=12, keep=1.0, width=width), windows) for width in (None, (24, 16))
    )
    spread = np.var(dense.svms.decision_function(dense.regions.head.numpy(windows.whole.astype(np.float32), "fc7")))
    assert some.svms.coef_.shape == (len(NAMES), 16)
    assert score_error(some, dense) < score_error(all_units, dense) + 0.1 * spread


def test_the_first_look_leaves_a_share(dense, windows):
    small = compress_detector(dense, Compression(rank=16, keep=0.5), windows)
    small.first_look.min_windows = 10
    full = compress_detector(dense, Compression(rank=16, keep=1.0), windows)
    some, all_of_them = seen(small), seen(full)
    assert 0 < len(some) <= len(all_of_them)
    scores = {(w, k): s for w, k, s in zip(all_of_them.windows, all_of_them.labels, all_of_them.scores, strict=True)}
    common = [key for key in zip(some.windows, some.labels, strict=True) if key in scores]
    assert common
    for key, score in zip(zip(some.windows, some.labels, strict=True), some.scores, strict=True):
        if key in scores:  # a window that stays has the score that it had
            assert score == pytest.approx(scores[key], abs=1e-4)
    boxes = small.proposals.propose(picture(99), "").boxes[:150]
    assert (some.boxes == boxes[some.windows]).all()


def save(folder, detector):
    save_detector(
        folder,
        CONFIG,
        NAMES,
        detector.regions.trunk,
        detector.regions.head,
        detector.svms,
        detector.regressor,
        detector.regression_layer,
        detector.first_look,
    )


@pytest.mark.parametrize("width", [None, (20, 14)])
def test_a_run_on_disk_is_the_same_detector(dense, windows, tmp_path, width):
    small = compress_detector(dense, Compression(rank=(12, 8), keep=0.5, width=width), windows)
    save(tmp_path / "run", small)
    loaded = load_detector(tmp_path / "run")
    ours, theirs = seen(loaded), seen(small)
    for name, array in ours.arrays().items():
        np.testing.assert_array_equal(array, theirs.arrays()[name], err_msg=name)
    layers = loaded.regions.head.fc6, loaded.regions.head.fc7
    assert tuple(fc.rank for fc in layers) == (12, 8)
    if width is not None:
        assert tuple(fc.out_features for fc in layers) == width


@pytest.mark.parametrize("rank", [None, 12])
def test_precision(dense, windows, tmp_path, rank):
    detector = compress_detector(dense, Compression(rank, keep=0.5), windows) if rank else dense
    save(tmp_path / "run", detector)
    halves = Detector.load(tmp_path / "run", precision="bfloat16")
    assert halves.regions.trunk.dtype is halves.regions.head.fc8.weight.dtype is torch.bfloat16
    wholes = Detector.load(tmp_path / "run", precision="float32")
    assert wholes.regions.trunk.dtype is torch.float32
    boxes = np.array([[0, 0, 160, 120], [20, 10, 120, 90], [80, 50, 150, 110]], np.float32)
    vectors = [
        each.regions.window_features(each.regions.image_features(picture()), boxes, "fc7") for each in (halves, wholes)
    ]
    assert np.square(vectors[0] - vectors[1]).mean() < 0.05**2 * np.square(vectors[1]).mean()
    with pytest.raises(ConfigError, match="precision is one of auto, float32, bfloat16, not 'double'"):
        Detector.load(tmp_path / "run", precision="double")


def test_files_that_do_not_fit(dense, windows, tmp_path):
    save(tmp_path / "run", compress_detector(dense, Compression(rank=(12, 8), keep=0.5), windows))
    head = read_arrays(tmp_path / "run" / "head.safetensors")
    write_arrays(tmp_path / "run" / "head.safetensors", {**head, "fc6.first.weight": np.zeros((5, 3), np.float32)})
    with pytest.raises(WeightsError, match=r"head.safetensors: fc6.first.weight is \[5, 3\], not"):
        load_detector(tmp_path / "run")
    write_arrays(tmp_path / "run" / "head.safetensors", head)
    look = read_arrays(tmp_path / "run" / "first_look.safetensors")
    for name, wrong in (("channels", np.array([3, 999])), ("channels", np.array([3])), ("coef", look["coef"][:1])):
        write_arrays(tmp_path / "run" / "first_look.safetensors", {**look, name: wrong})
        with pytest.raises(DataError, match=r"first_look.safetensors: holds arrays of another shape or kind"):
            load_detector(tmp_path / "run")
    wide = {**look, "channels": np.append(look["channels"][:-1], 999)}
    write_arrays(tmp_path / "run" / "first_look.safetensors", wide)
    with pytest.raises(DataError, match="a channel is none of the map's 256"):
        load_detector(tmp_path / "run")
    del look["hidden_coef"]  # as before it had a hidden layer
    write_arrays(tmp_path / "run" / "first_look.safetensors", look)
    with pytest.raises(DataError, match=r"first_look.safetensors: "):
        load_detector(tmp_path / "run")
    (tmp_path / "run" / "first_look.safetensors").unlink()
    with pytest.raises(DataError, match=r"first_look.safetensors: there is no such file"):
        load_detector(tmp_path / "run")


def test_layers_that_learnt_as_factors_stay(dense, windows):
    """Only a first look is learnt, or fewer units as well: what is scored at all is scored as before."""
    factored = compress_detector(dense, Compression(rank=(12, 8), keep=1.0), windows)
    looking = compress_detector(factored, Compression(keep=0.5), windows)
    assert looking.first_look.keep == 0.5
    assert looking.regression_layer == factored.regression_layer
    for name, value in factored.regions.head.state().items():
        torch.testing.assert_close(looking.regions.head.state()[name], value, rtol=0, atol=0)
    assert (looking.svms.coef_ == factored.svms.coef_).all()
    narrow = compress_detector(factored, Compression(keep=1.0, width=(24, 16)), windows)
    assert narrow.svms.coef_.shape == (len(NAMES), 16)
    assert narrow.first_look is None
    with pytest.raises(ConfigError, match="give a share of windows to keep, or a width"):
        factored.compress(keep=1)
    with pytest.raises(ConfigError, match="fc6 and fc7 are whole: give a rank or an energy"):
        dense.compress()
    with pytest.raises(ConfigError, match="give some images"):
        factored.compress()


def test_what_is_out_of_range_is_told_before_any_work(dense):
    never = iter([])
    with pytest.raises(ConfigError, match=r"the rank of fc7 lies in 1 \.\. 32, not at 40"):
        dense.compress(rank=(40, 40), images=never)
    with pytest.raises(ConfigError, match="share of windows"):
        dense.compress(rank=4, keep=0.0)
    with pytest.raises(ConfigError, match=r"the width of fc6 lies in 1 \.\. \d+, not at 4000"):
        dense.compress(rank=4, images=never, width=(4000, 8))
    with pytest.raises(ConfigError, match="give some images"):
        dense.compress(rank=4, width=(8, 8))
    with pytest.raises(ConfigError, match="already"):
        dense.compress(rank=4).compress(rank=2)


def test_compress_with_pictures(dense):
    small = dense.compress(rank=8, images=[picture(1), picture(2)], keep=0.5)
    assert small.first_look is not None
    assert len(seen(small)) > 0
