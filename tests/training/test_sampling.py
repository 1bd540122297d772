import numpy as np
import pytest
from reference.training import World, plain_iou

from spp_det.errors import SppDetError
from spp_det.structures import Proposals, Target, empty_boxes
from spp_det.training import SamplingSettings
from spp_det.training.sampling import plan_chunk, sample_chunk

SMALL = SamplingSettings(batch_size=16, chunk=5, windows_per_image=12)


def plan(world: World, settings: SamplingSettings = SMALL, positives: int = 20, negatives: int = 60, seed: int = 0):
    return list(plan_chunk(world, settings, np.random.default_rng(seed), positives, negatives))


def sample(world: World, settings: SamplingSettings = SMALL, seed: int = 1, chunk: int = 0):
    vectors = np.empty((settings.chunk, settings.batch_size, world.dim("pool5")), np.float16)
    return vectors, sample_chunk(world, settings, seed, chunk, vectors)


def without_objects(world: World, image: int) -> None:
    world.targets[image] = Target(empty_boxes(), [], [])


@pytest.mark.parametrize("seed", range(6))
def test_ranges_and_labels_by_brute_force(seed: int) -> None:
    world = World(images=20, seed=seed)
    visits = plan(world, seed=seed)
    assert sum(v.num_positives for v in visits) == 20
    assert sum(len(v.boxes) - v.num_positives for v in visits) == 60
    for visit in visits:
        assert visit.num_positives <= 3
        assert len(visit.boxes) - visit.num_positives <= 9
        target = world.targets[visit.image]
        for row, box in enumerate(visit.boxes):
            overlaps = [plain_iou(box, other) for other in target.boxes]
            if row < visit.num_positives:
                assert max(overlaps) >= 0.5 - 1e-5
                assert visit.labels[row] == target.labels[int(np.argmax(overlaps))]
            else:
                assert 0.1 - 1e-5 <= max(overlaps) < 0.5 + 1e-5
                assert visit.labels[row] == world.num_classes


def test_first_round_draws_no_window_twice() -> None:
    world = World(images=40)
    visits = plan(world)
    assert len({visit.image for visit in visits}) == len(visits)
    for visit in visits:
        assert len(np.unique(visit.boxes, axis=0)) == len(visit.boxes)


def test_few_images_are_used_again() -> None:
    world = World(images=2)
    visits = plan(world, positives=100, negatives=300)
    assert sum(v.num_positives for v in visits) == 100
    assert len(visits) < 100


def test_one_positive_in_all_images_is_enough() -> None:
    world = World(images=5)
    for image in range(1, 5):
        without_objects(world, image)
    visits = plan(world, positives=50, negatives=50)
    assert {v.image for v in visits} == {0}


def test_fractions_and_places() -> None:
    world = World(images=20)
    vectors, labels = sample(world)
    assert labels.shape == (5, 16)
    assert (labels[:, :4] < world.num_classes).all()
    assert (labels[:, 4:] == world.num_classes).all()
    assert np.isfinite(vectors.astype(np.float32)).all()


def test_rows_hold_the_vectors_of_their_windows() -> None:
    world = World(images=20)
    settings = SMALL
    visits = plan(world, settings, positives=20, negatives=60)
    vectors, labels = sample(world)
    assert len(visits) > 1
    known = {}
    for image in range(len(world)):
        windows = world.windows(image)
        for row, vector in enumerate(world.features(image, windows.boxes, "pool5").astype(np.float16)):
            best = windows.best[row]
            known.setdefault(vector.tobytes(), set()).add(int(windows.labels[row]) if best >= 0.5 else 3)
    for vector, label in zip(vectors.reshape(80, -1), labels.ravel(), strict=True):
        assert label in known[vector.tobytes()]


def test_batches_mix_images() -> None:
    world = World(images=40)
    vectors, _ = sample(world)
    image_of = {}
    for image in range(len(world)):
        boxes = world.windows(image).boxes
        for vector in world.features(image, boxes, "pool5").astype(np.float16):
            image_of[vector.tobytes()] = image
    for batch in vectors:
        assert len({image_of[vector.tobytes()] for vector in batch}) >= 4


def test_a_chunk_is_a_function_of_seed_and_number() -> None:
    world = World(images=20)
    first, again = sample(world, chunk=3), sample(world, chunk=3)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (sample(world, chunk=4)[0] != first[0]).any()
    assert (sample(world, seed=2, chunk=3)[0] != first[0]).any()


def test_flips_by_setting() -> None:
    world = World(images=40)
    sample(world)
    flips = [flipped for _, flipped, _ in world.calls]
    assert 0 < sum(flips) < len(flips)
    world.calls.clear()
    sample(world, SamplingSettings(batch_size=16, chunk=5, windows_per_image=12, flip=False))
    assert not any(flipped for _, flipped, _ in world.calls)


def test_random_scales_by_setting() -> None:
    world = World(images=40)
    sample(world)
    assert all(scales is None for _, _, scales in world.calls)
    world.calls.clear()
    sample(world, SamplingSettings(batch_size=16, chunk=5, windows_per_image=12, random_scales=True))
    drawn = np.concatenate([scales for _, _, scales in world.calls])
    assert set(drawn.tolist()) == {0, 1, 2}
    assert len(drawn) == 80


def test_images_without_proposals_or_objects() -> None:
    world = World(images=10)
    for image in (0, 3, 4):
        without_objects(world, image)
    for image in (3, 5):
        world.proposals[image] = Proposals(empty_boxes())
    _, labels = sample(world)
    assert labels.shape == (5, 16)


def test_no_positive_at_all() -> None:
    world = World(images=4)
    for image in range(4):
        without_objects(world, image)
    with pytest.raises(SppDetError, match=r"no window of the 4 training images overlaps an object by 0\.5 or more"):
        sample(world)


def test_no_negative_at_all() -> None:
    world = World(images=4)
    world.proposals = [Proposals(target.boxes) for target in world.targets]
    settings = SamplingSettings(batch_size=16, chunk=5, negative_overlap=(0.4999, 0.5))
    with pytest.raises(SppDetError, match=r"overlaps an object by 0\.4999 to 0\.5"):
        sample(world, settings)


def test_no_image() -> None:
    with pytest.raises(SppDetError, match="of the 0 training images"):
        sample(World(images=0))


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 1}, {"positive_fraction": 1.0}, {"chunk": 0}, {"windows_per_image": 1}]
)
def test_wrong_settings(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"batches of|chunk is"):
        SamplingSettings(**wrong)
