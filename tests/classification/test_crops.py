"""Crops, colours, and batches that follow from seed, epoch and number alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.classes import make_folders, small_trunk

from spp_det.classification.config import ClassificationConfig, FoldersConfig, TrainingConfig
from spp_det.classification.crops import colour_components, colour_shift, origins, random_crop
from spp_det.classification.folders import read_folders
from spp_det.classification.loading import TrainingBatches, load, num_batches
from spp_det.classification.network import network_input
from spp_det.images import flip_image
from spp_det.networks import TRUNKS


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(0, 30), st.integers(0, 30))
def test_squares_lie_in_the_image_and_reach_its_corners(side: int, down: int, right: int) -> None:
    places = origins((side + down, side + right), side, 9)
    assert places.shape == (9, 2)
    assert (places >= 0).all()
    assert (places <= [down, right]).all()
    assert places[:5].tolist() == [[down // 2, right // 2], [0, 0], [0, right], [down, 0], [down, right]]


def test_an_image_smaller_than_the_square_is_refused() -> None:
    with pytest.raises(ValueError, match="no square"):
        origins((10, 20), 11)


def test_a_training_crop_is_one_of_ten() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 17, 3), np.uint8)
    ten = [image[y : y + 8, x : x + 8] for y, x in origins((12, 17), 8)]
    ten += [flip_image(crop) for crop in ten]
    found = set()
    for _ in range(200):
        crop = random_crop(image, 8, 8, True, rng)
        found.add(next(i for i, expected in enumerate(ten) if np.array_equal(crop, expected)))
    assert found == set(range(10))


def test_the_smaller_size_shows_the_same_content() -> None:
    image = np.repeat(np.arange(0, 240, 6, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    crop = random_crop(image, 40, 20, False, np.random.default_rng(0))
    assert crop.shape == (20, 20, 3)
    assert abs(crop.astype(float).mean() - image.mean()) < 2


def test_colours_vary_along_their_components(tmp_path: Path) -> None:
    images = read_folders(make_folders(tmp_path / "train", 3))
    components = colour_components(images.paths)
    lengths = np.linalg.norm(components, axis=0)
    assert (np.diff(lengths) > 0).all()
    np.testing.assert_allclose(components.T @ components, np.diag(lengths**2), atol=1e-2 * lengths[2] ** 2)
    rng = np.random.default_rng(0)
    shifts = np.stack([colour_shift(components, 0.1, rng) for _ in range(4000)])
    np.testing.assert_allclose(np.cov(shifts.T), 0.01 * components @ components.T, rtol=0.06)


@pytest.mark.parametrize("name", ["zf5", "alexnet", "efficientnet_lite0"])
def test_the_input_of_a_batch_is_that_of_its_images(name: str) -> None:
    preprocessing = TRUNKS[name]("random").preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    found = network_input(torch.from_numpy(pixels), torch.zeros(2, 3), preprocessing)
    expected = torch.stack([preprocessing(image) for image in pixels])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_a_shift_is_in_pixels_of_red_green_and_blue() -> None:
    preprocessing = small_trunk().preprocessing  # in the order blue, green, red
    pixels = torch.full((1, 2, 2, 3), 100, dtype=torch.uint8)
    shifted = network_input(pixels, torch.tensor([[51.0, 0, 0]]), preprocessing)
    plain = network_input(pixels, torch.zeros(1, 3), preprocessing)
    torch.testing.assert_close((shifted - plain)[0, :, 0, 0], torch.tensor([0.0, 0.0, 0.2 / 0.25]))


def _batches(root: Path, epoch: int, rank: int = 0, world: int = 1) -> TrainingBatches:
    training = TrainingConfig(batch_size=4, short_side=32, crop=24, sizes=(24,))
    config = ClassificationConfig(data=FoldersConfig(root=str(root)), training=training)
    images = read_folders(root)
    return TrainingBatches(images, config, epoch, 24, colour_components(images.paths), rank, world)


def test_batches_do_not_depend_on_who_makes_them(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "train", 3)
    alone, by_two = (list(load(_batches(root, 1), range(3), workers, False)) for workers in (0, 2))
    for one, other in zip(alone, by_two, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.shifts, other.shifts)
        assert torch.equal(one.labels, other.labels)
    assert [len(batch.labels) for batch in alone] == [4, 4, 1]
    assert num_batches(9, TrainingConfig(batch_size=4)) == 3
    assert not torch.equal(alone[0].pixels, _batches(root, 2)[0].pixels)


def test_processes_share_a_batch(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "train", 3)
    whole = _batches(root, 0)[0]
    first, second = (_batches(root, 0, rank, 2)[0] for rank in (0, 1))
    assert torch.equal(whole.pixels[::2], first.pixels)
    assert torch.equal(whole.pixels[1::2], second.pixels)
    assert whole.count == first.count == 4
