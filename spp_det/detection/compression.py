"""A detector made smaller and faster: thin fc6 and fc7, SVMs and box regressor fitted to them, and a first look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spp_det.detection.detector import Detector
from spp_det.detection.first_look import FirstLook, level_columns
from spp_det.errors import ConfigError
from spp_det.networks import FcHead, Samples, compress_head, narrow_head
from spp_det.networks.compression import check_ranks, is_factored
from spp_det.networks.narrowing import check_width
from spp_det.regions import SPPRegions
from spp_det.structures import Image
from spp_det.training import BoxRegressor, LinearSVMs

Vectors = npt.NDArray[np.floating]
BLOCK = 1024  # windows that go through the head at a time
SCORED = 400  # windows of an image that some are chosen from
LOOKED = 100  # of these, what the first look learns from: coarse vectors, of many images
WHOLE, MOST_WHOLE = 40, 16_000  # of an image, and in all: whole vectors, 25 KB each
RIDGE = 0.01  # of the mean square of the features


@dataclass(frozen=True)
class Compression:
    """How a detector is compressed.

    rank: of fc6 and fc7, or (of fc6, of fc7); energy: the share to keep instead, see networks/compression.py. Neither,
    for layers that learnt as factors (finetune.rank): these stay, and so does what the regressor reads.
    keep: the share of an image's windows that the first look lets through; 1 for no first look.
    levels: of the pyramid that the first look sees, among the detector's own.
    width: units of fc6 and of fc7 that stay, chosen by windows, see networks/narrowing.py; None for all.
    """

    rank: int | Sequence[int] | None = None
    energy: float | None = None
    keep: float = 0.1
    levels: tuple[int, ...] = (1, 2)
    width: tuple[int, int] | None = None

    @property
    def factored(self) -> bool:
        """Whether the layers are factors already, which stay."""
        return self.rank is None and self.energy is None

    def check(self, detector: Detector) -> None:
        """Raises ConfigError where this does not fit a detector, before hours are spent on it."""
        if not isinstance(detector.regions, SPPRegions) or detector.layer != "fc7":
            raise ConfigError('only a detector of pooled windows whose SVMs read "fc7" can be compressed')
        if self.factored:
            if not is_factored(detector.regions.head):
                raise ConfigError("fc6 and fc7 are whole: give a rank or an energy")
            if self.keep == 1 and self.width is None:
                raise ConfigError("fc6 and fc7 have their factors: give a share of windows to keep, or a width")
        else:
            check_ranks(detector.regions.head, self.rank, self.energy)
        if self.width is not None:
            check_width(detector.regions.head, self.width)
        if not 0 < self.keep <= 1:
            raise ConfigError(f"the share of windows to keep lies in 0 .. 1, not at {self.keep}")
        if self.keep < 1:
            level_columns(1, detector.regions.levels, self.levels)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Windows of some images that a detector is compressed for.

    whole: float16 [N, D], pooled vectors. Of more windows: coarse, float16 [M, D'], at the levels of the first look,
    and scores, float32 [M, K], what the detector's SVMs say of them; both None where there is to be no look.
    """

    whole: npt.NDArray[np.float16]
    coarse: npt.NDArray[np.float16] | None = None
    scores: npt.NDArray[np.float32] | None = None


def compress_detector(detector: Detector, settings: Compression, drawn: Drawn | None = None) -> Detector:
    """A new detector beside the old one, which stays as it is.

    drawn: see `draw_windows`. With windows the factors keep what the scores and the box offsets depend on; then the
    SVMs, and the regressor on what lies between the factors of fc6, are fitted by ridges that let them say over these
    windows what they said before; and a first look is learnt. Without, the matrices are truncated and nothing else
    changes.
    Raises ConfigError where the settings do not fit the detector.
    """
    settings.check(detector)
    regions = detector.regions
    assert isinstance(regions, SPPRegions)
    small = copy.copy(detector)
    small.folder, small.memories = None, {}  # what is kept there are vectors of the old layers
    small.calibration = None  # of the old scores
    small.regions = copy.copy(regions)
    if drawn is None:
        if settings.width is not None or settings.factored:
            raise ConfigError("which units and windows stay is learnt by windows: give some images")
        head = compress_head(regions.head, settings.rank, settings.energy)
    else:
        head = _fit(small, regions, settings, drawn)
    small.regions.head = head.to(regions.trunk.dtype)
    return small


def _fit(small: Detector, regions: SPPRegions, settings: Compression, drawn: Drawn) -> FcHead:
    """The compressed head; what stands behind it in `small`, and the first look, are fitted to it."""
    windows = drawn.whole
    svms, regressor = small.svms, small.regressor
    assert isinstance(svms, LinearSVMs)
    beside = None
    if not settings.factored and regressor is not None and small.regression_layer == "pool5":
        assert isinstance(regressor, BoxRegressor)
        beside = _columns(regressor)
    if settings.factored:
        head = copy.deepcopy(regions.head).float().eval()
    else:
        samples = Samples(windows, svms.coef_ * np.float32(svms.scale_), beside)
        head = compress_head(regions.head, settings.rank, settings.energy, samples)
    scores = svms.decision_function(_at(regions.head, windows, "fc7"))
    if settings.width is not None:
        head, units = narrow_head(head, settings.width, windows, scores)
        svms = copy.copy(svms)
        svms.coef_ = svms.coef_[:, units]
    if not settings.factored or settings.width is not None:
        small.svms = _refit_svms(svms, _at(head, windows, "fc7"), scores)
    if beside is not None:
        assert isinstance(regressor, BoxRegressor)
        small.regressor = _refit_regressor(regressor, windows, _at(head, windows, "code6"))
        small.regression_layer = "code6"
    if settings.keep < 1:
        if drawn.coarse is None or drawn.scores is None:
            raise ValueError("the windows were drawn without what a first look learns from")
        small.first_look = FirstLook(settings.levels, settings.keep).fit(drawn.coarse, drawn.scores)
    return head


def _at(head: FcHead, windows: Vectors, layer: str) -> Vectors:
    starts = range(0, len(windows), BLOCK)
    return np.concatenate([head.numpy(windows[start : start + BLOCK].astype(np.float32), layer) for start in starts])


def _columns(regressor: BoxRegressor) -> Vectors:
    """The weights of all classes as one matrix: float32 [D, 4 K], for unscaled features."""
    weights = regressor.weights_[:, :-1] * np.float32(regressor.scale_)  # [K, D, 4]
    return np.ascontiguousarray(weights.transpose(1, 0, 2).reshape(weights.shape[1], -1))


def _refit_svms(svms: LinearSVMs, vectors: Vectors, scores: Vectors) -> LinearSVMs:
    """The SVMs, changed by the least that lets them give these scores to the compressed vectors."""
    missing = scores - svms.decision_function(vectors)
    coef, intercept = _ridge(vectors, missing)
    fitted = copy.copy(svms)
    fitted.coef_ = (svms.coef_ + coef.T / svms.scale_).astype(np.float32)
    fitted.intercept_ = (svms.intercept_ + intercept).astype(np.float32)
    return fitted


def _refit_regressor(regressor: BoxRegressor, windows: Vectors, codes: Vectors) -> BoxRegressor:
    """A regressor that says from codes [N, r] what the old one says from pooled vectors."""
    columns, classes = _columns(regressor), len(regressor.weights_)
    starts = range(0, len(windows), BLOCK)
    offsets = [windows[start : start + BLOCK].astype(np.float32) @ columns for start in starts]
    coef, intercept = _ridge(codes, np.concatenate(offsets))
    fitted = copy.copy(regressor)
    fitted.layer, fitted.scale_ = "code6", 1.0
    last = regressor.weights_[:, -1:] + intercept.reshape(classes, 1, 4)
    weights = [coef.reshape(-1, classes, 4).transpose(1, 0, 2), last]
    fitted.weights_ = np.concatenate(weights, axis=1, dtype=np.float32)
    return fitted


def _ridge(vectors: Vectors, targets: Vectors) -> tuple[Vectors, Vectors]:
    """(coefficients float32 [D, T], intercept [T]) by least squares, a little regularised."""
    centre, target = vectors.mean(axis=0), targets.mean(axis=0)
    rows = vectors - centre
    gram = (rows.T @ rows).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * max(np.trace(gram) / len(gram), 1e-30)
    coef = np.linalg.solve(gram, rows.T @ (targets - target)).astype(np.float32)
    return coef, target - centre @ coef


def draw_windows(
    detector: Detector,
    images: Iterable[Image],
    count: int,
    settings: Compression,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Drawn:
    """Windows of so many images, for the compression.

    Of SCORED random windows of an image half of those taken are the ones that the detector scores best, and half are
    random, so that what looks like an object is as well known as what does not. Every image that was trained on may be
    used; some hundreds are enough for the layers, and the first look is the better for more.
    progress: called with the number of images done.
    """
    rng = np.random.default_rng(seed)
    whole = max(1, min(WHOLE, MOST_WHOLE // max(1, count)))
    regions, columns = detector.regions, None
    assert isinstance(regions, SPPRegions)
    if settings.keep < 1:
        columns = level_columns(regions.trunk.out_channels, regions.levels, settings.levels)
    whole_vectors, coarse, scores = [], [], []
    for done, image in enumerate(images, 1):
        boxes = detector.proposals.propose(image, "").boxes
        boxes = boxes[np.sort(rng.permutation(len(boxes))[:SCORED])]
        pooled = regions.pooled(regions.image_features(image), boxes)
        (vectors,) = regions.head.numpy_layers(pooled, (detector.layer,))
        found = detector.svms.decision_function(vectors)
        best = np.argsort(-found.max(axis=1), kind="stable")
        whole_vectors.append(pooled[_half_best(best, whole, rng)].astype(np.float16))
        if columns is not None:
            looked = _half_best(best, LOOKED, rng)
            coarse.append(pooled[np.ix_(looked, columns)].astype(np.float16))
            scores.append(found[looked].astype(np.float32))
        progress(done)
    if columns is None:
        return Drawn(np.concatenate(whole_vectors))
    return Drawn(np.concatenate(whole_vectors), np.concatenate(coarse), np.concatenate(scores))


def _half_best(best: npt.NDArray[np.int64], count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """So many windows, ascending: the first half of `best`'s first, the others drawn from its rest."""
    return np.sort(np.concatenate([best[: count // 2], rng.permutation(best[count // 2 :])[: count - count // 2]]))
