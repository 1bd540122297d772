"""What every region extractor does, and what only one of them does."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch import nn

from spp_det.images import resize, scaled_size
from spp_det.networks import FcHead, Preprocessing, Trunk, build_trunk
from spp_det.pooling import choose_scales, num_bins, window_cells
from spp_det.pooling.plain import pool_windows_plain
from spp_det.regions import REGIONS, ImageMaps, RCNNRegions, SPPRegions

LAYERS = ("pool5", "fc6", "fc7", "logits")
LEVELS = (1, 2, 3)
GRAY = Preprocessing(mean=(128.0, 128.0, 128.0), std=(1.0, 1.0, 1.0), maximum=255.0)


def small_trunk(size_multiple=1):
    """A strided convolution with ReLU: kernel 16 at stride 16, so that cell 0 is centred on pixel 7.5."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 16, stride=16)
    return Trunk(
        nn.Sequential(conv, nn.ReLU()),
        name="small",
        out_channels=8,
        stride=16,
        offset=7.5,
        preprocessing=GRAY,
        size_multiple=size_multiple,
        min_side=16,
    )


def small_head(channels=8, levels=LEVELS):
    return FcHead(channels * num_bins(levels), hidden=(12, 10), num_classes=4)


def build(kind, **options):
    defaults = {"spp": {"scales": (96,)}, "rcnn": {"crop_size": 67, "context": 8}}
    options = defaults[kind] | options
    return REGIONS[kind](small_trunk(), small_head(), levels=LEVELS, **options)


def photo(height=90, width=130, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


BOXES = np.array([[0, 0, 130, 90], [10, 20, 60, 70], [100, 5, 101, 6], [3.5, 40.25, 128, 45]], np.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_some_channels_alone(dtype):
    """Pooled from maps of some channels are those numbers of the whole vectors, to the bit."""
    regions, chosen = build("spp", scales=(96, 160)), np.array([1, 2, 7])
    regions.trunk.to(dtype)
    of_channel = np.concatenate([np.repeat(np.arange(8), n * n) for n in LEVELS])
    for features in (regions.live_features(photo()), regions.image_features(photo())):
        whole, some = regions.pool(features, BOXES), regions.pool(features.of_channels(chosen), BOXES)
        wanted = whole[:, np.flatnonzero(np.isin(of_channel, chosen))]
        assert some.shape == wanted.shape
        assert (some == wanted).all()


@pytest.mark.parametrize("kind", REGIONS)
class TestEveryExtractor:
    @pytest.mark.parametrize("layer", LAYERS)
    def test_vectors_of_each_layer(self, kind, layer):
        regions = build(kind)
        features = regions.image_features(photo())
        vectors = regions.window_features(features, BOXES, layer)
        assert vectors.dtype == np.float32
        assert vectors.shape == (4, regions.dim(layer))
        assert np.isfinite(vectors).all()
        pooled = regions.window_features(features, BOXES, "pool5")
        np.testing.assert_allclose(vectors, regions.head.numpy(pooled, layer), rtol=1e-5, atol=1e-4)
        assert regions.dim("pool5") == 8 * 14

    def test_order_of_the_boxes(self, kind):
        regions = build(kind)
        features = regions.image_features(photo())
        vectors = regions.window_features(features, BOXES, "pool5")
        order = [2, 0, 3, 1, 0]
        np.testing.assert_allclose(
            regions.window_features(features, BOXES[order], "pool5"), vectors[order], rtol=1e-6, atol=1e-5
        )
        assert (vectors[0] != vectors[1]).any()

    @pytest.mark.parametrize("layer", LAYERS)
    def test_no_box(self, kind, layer):
        regions = build(kind)
        vectors = regions.window_features(regions.image_features(photo()), np.zeros((0, 4), np.float32), layer)
        assert vectors.shape == (0, regions.dim(layer))

    @pytest.mark.parametrize("size", [(40, 1), (1, 40), (1, 1), (400, 3)])
    def test_narrow_images(self, kind, size):
        regions = build(kind)
        box = np.array([[0, 0, size[1], size[0]]], np.float32)
        vectors = regions.window_features(regions.image_features(photo(*size)), box, "pool5")
        assert np.isfinite(vectors).all()

    @pytest.mark.parametrize("several_scales", [False, True])
    def test_the_distinct_vectors_give_every_vector(self, kind, several_scales):
        regions = build(kind, scales=(64, 96, 160)) if several_scales and kind == "spp" else build(kind)
        features = regions.image_features(photo())
        corners = np.random.default_rng(1).uniform(0, 60, (80, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + 25], axis=1)
        boxes = np.concatenate([boxes, boxes[:20] + np.float32(0.01), BOXES])
        first, place = regions.distinct(features, boxes)
        vectors = regions.window_features(features, boxes, "pool5")
        np.testing.assert_allclose(vectors[first][place], vectors, rtol=1e-6, atol=1e-5)
        assert len(first) < len(boxes) or kind == "rcnn"
        assert [len(part) for part in regions.distinct(features, boxes[:0])] == [0, 0]

    def test_unknown_layer(self, kind):
        regions = build(kind)
        with pytest.raises(ValueError, match="fc9"):
            regions.window_features(regions.image_features(photo()), BOXES, "fc9")

    def test_many_boxes_are_as_few(self, kind):
        regions = build(kind)
        features = regions.image_features(photo())
        boxes = np.tile(BOXES, (150, 1))
        vectors = regions.window_features(features, boxes, "fc7")
        few = regions.window_features(features, BOXES, "fc7")
        np.testing.assert_allclose(vectors, np.tile(few, (150, 1)), rtol=1e-4, atol=1e-4)

    def test_with_alexnet(self, kind):
        trunk = build_trunk("alexnet", weights="random")
        head = FcHead(trunk.out_channels * 50, hidden=(6, 5), num_classes=3)
        options = {"scales": (224,)} if kind == "spp" else {}
        regions = REGIONS[kind](trunk, head, **options)
        vectors = regions.window_features(regions.image_features(photo()), BOXES, "pool5")
        assert vectors.shape == (4, 256 * 50)
        assert (vectors[:, : trunk.out_channels].max(axis=1) > 0).all()


class TestSPP:
    def test_equals_the_plain_definition(self):
        image, scales = photo(), (64, 200, 400)
        regions = build("spp", scales=scales)
        maps = regions.image_features(image)
        chosen = choose_scales(BOXES, (90, 130), scales)
        assert len(set(chosen.tolist())) > 1
        pooled = regions.pool(maps, BOXES)
        for box, scale, vector in zip(BOXES, chosen, pooled, strict=True):
            scaled = scaled_size((90, 130), scales[scale])
            feature_map = regions.trunk(regions.trunk.tensor(resize(image, scaled))[None])[0]
            cells = window_cells(box[None], (90, 130), scaled, tuple(feature_map.shape[1:]), 16, 7.5)
            expected = pool_windows_plain(feature_map, torch.from_numpy(cells), LEVELS)[0]
            np.testing.assert_array_equal(vector, expected.numpy())

    def test_given_scales(self):
        regions = build("spp", scales=(64, 96))
        maps = regions.image_features(photo())
        pooled = regions.pool(maps, BOXES, np.array([1, 0, 1, 0]))
        both = [build("spp", scales=(s,)) for s in (64, 96)]
        single = [one.pool(one.image_features(photo()), BOXES) for one in both]
        np.testing.assert_array_equal(pooled, np.stack([single[s][i] for i, s in enumerate((1, 0, 1, 0))]))
        for wrong in ([0, 1], [0, 0, 0, 2], [0, 0, 0, -1]):
            with pytest.raises(ValueError, match="4 indices into the 2 scales"):
                regions.pool(maps, BOXES, np.array(wrong))

    def test_rules_are_used(self):
        maps = build("spp", scales=(300,)).image_features(photo())
        one = build("spp", mapping="paper").cells(maps, BOXES, 0)
        other = build("spp", mapping="released").cells(maps, BOXES, 0)
        assert (one != other).any()

    def test_padding_has_no_cells(self):
        padded = SPPRegions(small_trunk(size_multiple=64), small_head(), (90,), LEVELS).image_features(photo())
        bare = SPPRegions(small_trunk(), small_head(), (90,), LEVELS).image_features(photo())
        assert padded.maps[0].shape == (6, 8, 8)  # centres at 7.5 + 16 * 5 < 90 and 7.5 + 16 * 7 < 130
        np.testing.assert_allclose(padded.maps[0][:5], bare.maps[0], rtol=1e-5, atol=1e-3)

    def test_half_precision(self):
        full, half = build("spp"), build("spp", dtype="float16")
        maps = half.image_features(photo())
        assert maps.maps[0].dtype == np.float16
        vectors = half.window_features(maps, BOXES, "fc6")
        expected = full.window_features(full.image_features(photo()), BOXES, "fc6")
        np.testing.assert_allclose(vectors, expected, rtol=0.02, atol=np.abs(expected).max() * 0.01)

    def test_long_images_stay_bounded(self):
        regions = build("spp", scales=(96, 1200))
        maps = regions.image_features(photo(1500, 20))
        assert maps.scaled_sizes[0] == (7200, 96)
        height, width = maps.scaled_sizes[1]
        assert 2_500_000 < height * width <= 1200 * 2400
        assert regions.pool(maps, np.array([[0, 0, 20, 1500]], np.float32)).shape == (1, 8 * 14)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_stored_maps(self, dtype):
        regions = build("spp", scales=(64, 96), dtype=dtype)
        maps = regions.image_features(photo())
        again = ImageMaps.from_arrays(load(save(maps.arrays())))
        assert (again.size, again.scales, again.scaled_sizes) == (maps.size, maps.scales, maps.scaled_sizes)
        np.testing.assert_array_equal(regions.pool(again, BOXES), regions.pool(maps, BOXES))

    def test_wrong_arguments(self):
        for scales in ((), (0,), (96, 64), (64, 64)):
            with pytest.raises(ValueError, match="scales ascend"):
                build("spp", scales=scales)
        with pytest.raises(ValueError, match="float32 or float16"):
            build("spp", dtype="float64")
        with pytest.raises(ValueError, match="one map for each scale"):
            ImageMaps((5, 5), (1, 2), ((5, 5),), (np.zeros((1, 1, 1), np.float32),))
        with pytest.raises(ValueError, match="a map is"):
            ImageMaps((5, 5), (1,), ((5, 5),), (np.zeros((1, 1)),))


class TestRCNN:
    def test_equals_one_crop_at_a_time(self):
        regions = RCNNRegions(small_trunk(), small_head(), LEVELS, batch_size=3)
        image = photo()
        pooled = regions.window_features(image, BOXES, "pool5")
        for box, vector in zip(BOXES, pooled, strict=True):
            feature_map = regions.trunk(regions.tensor(regions.warp(image, box[None])))[0]
            height, width = feature_map.shape[1:]
            whole = torch.tensor([[0, 0, width - 1, height - 1]])
            expected = pool_windows_plain(feature_map, whole, LEVELS)[0].numpy()
            np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-3)

    def test_steps_have_the_stated_shapes(self):
        regions = RCNNRegions(small_trunk(size_multiple=64), small_head(), LEVELS)
        crops = regions.crops(photo(), BOXES)
        assert crops.shape == (4, 256, 256, 3)
        assert (crops[:, 227:] == 0).all()
        np.testing.assert_array_equal(regions.tensor(regions.warp(photo(), BOXES)).permute(0, 2, 3, 1), crops)
        maps = regions.maps(crops)
        assert maps.shape == (4, 14, 14, 8)  # the last centre within 227 px is 7.5 + 16 * 13
        assert regions.pool(maps).shape == (4, 8 * 14)

    def test_wrong_arguments(self):
        with pytest.raises(ValueError, match="at least one crop"):
            build("rcnn", batch_size=0)
        with pytest.raises(ValueError, match="no room"):
            build("rcnn", context=114).crops(photo(), BOXES)
