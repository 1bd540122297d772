"""The detector: windows of an image, a vector for each, an SVM for each class, and what is left after suppression."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from spp_det.config import Combination, Config, DetectConfig
from spp_det.detection.candidates import Candidates, select_candidates
from spp_det.detection.pooled import (
    BLOCK,
    LaterVectors,
    PooledWindows,
    Readable,
    ScoredWindows,
    Vectors,
    as_float32,
)
from spp_det.detection.voting import vote, voters
from spp_det.detection.window_detector import WindowDetector, read_pixels
from spp_det.errors import ConfigError
from spp_det.places import as_path
from spp_det.proposals import ProposalMethod
from spp_det.regions.spp import blocks
from spp_det.structures import Boxes, Image, Labels, Proposals, Size, check_image
from spp_det.threads import one_blas_thread
from spp_det.watch import Watch

if TYPE_CHECKING:  # else it would load torch, which a reader of `Detections` may never need
    from spp_det.detection.ensemble import Ensemble
    from spp_det.detection.first_look import FirstLook
    from spp_det.detection.memory import ClassMemory
    from spp_det.networks.head import Layer
    from spp_det.regions import RegionExtractor
    from spp_det.training import SvmSettings


class Classifiers(Protocol):
    """One linear SVM for each class."""

    def decision_function(self, features: Vectors) -> npt.NDArray[np.floating]:
        """Scores [N, K] of vectors float32 [N, D]."""


class Regressor(Protocol):
    """Box regression for each class."""

    def apply(self, features: Vectors, boxes: Boxes, labels: Labels, size: Size, rows: Labels | None = None) -> Boxes:
        """The boxes [N, 4] of classes [N], moved by what the vectors say that stand in their rows, int64 [N]."""


class Detector(WindowDetector):
    """detect(image) = proposals + maps + pooled windows + fc + SVM scores + NMS + box regression.

    proposals, regions, svms, regressor: the parts, by what they do (see the protocols of their rooms and
    those above); without a regressor the windows stay where they are.
    class_names: K names, in the order of the SVMs' columns.
    layer: what the SVMs read; regression_layer: what the regressor reads; "pool5", "code6" (between the factors of a
    compressed fc6), "fc6" or "fc7".
    settings: which scores count, and in which order suppression and regression come; see candidates.py.
    first_look: drops windows before the fully connected layers see them; None for none.
    """

    def __init__(
        self,
        proposals: ProposalMethod,
        regions: RegionExtractor,
        svms: Classifiers,
        regressor: Regressor | None = None,
        class_names: Sequence[str] = (),
        layer: Layer = "fc7",
        regression_layer: Layer = "pool5",
        settings: DetectConfig | None = None,
        first_look: FirstLook | None = None,
    ) -> None:
        self.proposals = proposals
        self.regions = regions
        self.svms = svms
        self.regressor = regressor
        self.class_names = tuple(class_names)
        self.layer = layer
        self.regression_layer = regression_layer
        self.settings = settings or DetectConfig()
        self.first_look = first_look
        self.config: Config | None = None  # what it was made of, and where it lies, where it came from a folder
        self.folder: Path | None = None
        self.memories: dict[
            str, ClassMemory | None
        ] = {}  # examples of classes that were changed since; None: forgotten

    @classmethod
    def new(cls, config: Config | None = None) -> Detector:
        """A detector that is still to be fitted; config: how, None for settings chosen by what it is fitted on."""
        missing: Any = _Unfitted()
        detector = cls(missing, missing, missing)
        detector.config = config
        return detector

    def fit(
        self,
        dataset: Any,
        classes: Sequence[str] | None = None,
        folder: str | PathLike[str] | None = None,
        settings: Sequence[str] = (),
        verbose: bool = False,
    ) -> Self:
        """Learn from images and boxes, from the beginning, and return itself.

        dataset: of this package, torchvision's VOCDetection or CocoDetection, or (image, target) pairs, see
        datasets/memory.py; classes: the names of its labels. The settings are those of the detector's configuration;
        one made by `new()` has them chosen by the images, as `spp-det train --data` does. settings: changes, such as
        "svm.C=0.01". folder: where the run is written and goes on after a stop, None for none that stays.
        What was learnt is in `class_names`, `svms.coef_`, `regressor.weights_` and the layers of `regions.head`.
        Raises ConfigError for a detector made of parts by hand, since nothing says how to train them, and where there
        is no object, DataError for an image or a box that cannot be used.
        """
        if self.config is None and not isinstance(self.regions, _Unfitted):
            raise ConfigError("a detector made of parts cannot be fitted: begin with Detector.new()")
        from spp_det.pipeline.fitting import fit_detector  # training is not in the way of who detects

        fit_detector(self, dataset, classes, folder, settings, verbose)
        return self

    @classmethod
    def load(cls, path: str | PathLike[str], precision: str = "auto", device: str = "cpu", **options: Any) -> Detector:
        """The detector that a run left in a folder; raises SppDetError where it is missing or incomplete.

        precision: "float32", "bfloat16", on a GPU "float16" too, or "auto", which is bfloat16 where the processor
        multiplies it faster. The networks compute in it, the SVMs and what follows in float32.
        device: "cpu", "cuda", "cuda:1", or "auto": the GPU where there is one.
        options: as of `load_detector`; `trust` names packages of your own whose parts the folder may name.
        """
        from spp_det.detection.bundle import load_detector  # bundle.py knows every part, this file none of them

        return load_detector(path, precision=precision, device=device, **options)

    @classmethod
    def load_onnx(cls, path: str | PathLike[str], trust: Iterable[str] = ()) -> Detector:
        """The detector that `export` or `spp-det export` wrote into a folder, run by onnxruntime, without torch.

        It detects as any other does; it cannot be changed, saved or exported. trust: packages of your own whose
        proposals the folder may name. Raises DataError for a folder that is not whole, SppDetError where onnxruntime is
        not installed.
        """
        from spp_det.export.runtime import load_exported

        return load_exported(path, trust)

    def export(self, path: str | PathLike[str]) -> None:
        """Write the detector into a folder as ONNX graphs and a manifest, from which `load_onnx` makes it again.

        docs/export.md says what the graphs take and give. Everything is in float32, whatever this detector computes in.
        Raises ConfigError for a detector that did not come from a folder or whose parts are not linear, SppDetError
        where the packages for it are not installed (`pip install "spp_det[export]"`).
        """
        from spp_det.export import export_detector

        export_detector(self, path)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the detector into a folder, its own or another, from which `load` makes it again.

        Raises ConfigError for a detector that did not come from a folder, since nothing says how to make its parts.
        """
        from spp_det.detection.bundle import write_detector

        write_detector(as_path(path), self)

    def add_class(
        self,
        name: str,
        images: Sequence[str | PathLike[str] | Image],
        boxes: Sequence[npt.ArrayLike],
        settings: SvmSettings | None = None,
    ) -> Detector:
        """Learn one more class from a few images, or more examples of a class that was added before; returns itself.

        images: files, or uint8 [H, W, 3]; boxes: float32 [n, 4] of each, (x1, y1, x2, y2) in its pixels, possibly none.
        All objects of the class that can be seen are to be marked, since every other window may become a negative.
        settings: how the SVM is trained; by default as the others were. One SVM and one box regressor are trained, all
        others stay bit by bit. What they were trained on is kept for the next examples, and written by `save`; the
        first new class of a run also keeps windows of the run's own images beside it, as its first negatives.
        Raises ConfigError for a name that no class can have and for a class whose examples are not kept, ValueError
        for boxes outside their image, SppDetError where there is no object at all.
        """
        from spp_det.detection.classes import add_class

        if self.folder is not None and name not in self.class_names and self.background() is None:
            from spp_det.pipeline.classes import keep_background

            keep_background(self.folder, self)
        add_class(self, name, images, boxes, settings)
        return self

    def remove_class(self, name: str) -> Detector:
        """Forget a class; the labels of those behind it go down by one. Raises ConfigError where it is not there."""
        from spp_det.detection.classes import remove_class

        remove_class(self, name)
        return self

    def rename_class(self, old: str, new: str) -> Detector:
        """Give a class another name. Raises ConfigError where `old` is not there, or `new` is."""
        from spp_det.detection.classes import rename_class

        rename_class(self, old, new)
        return self

    def memory(self, name: str) -> ClassMemory | None:
        """What an added class was trained on, None where that is not kept."""
        if name in self.memories or self.folder is None:
            return self.memories.get(name)
        from spp_det.detection.memory import read_memory

        return read_memory(self.folder, name)

    def background(self) -> Vectors | None:
        """Vectors of windows of the images it was trained on, at `layer`, float32 [N, D]; None where none are kept."""
        from spp_det.detection.memory import read_background

        return None if self.folder is None else read_background(self.folder)

    @staticmethod
    def ensemble(members: Sequence[Detector | str | PathLike[str]], combine: Combination = "union") -> Ensemble:
        """Several detectors as one, which has the same `detect`: see ensemble.py.

        members: detectors, or the folders of runs, which are loaded. combine: "union" of their windows, the paper's
        way, or "mean" of their scores. Raises ConfigError where there is none or they know different classes, for a
        mean where one has a first look, and what `load` raises.
        """
        from spp_det.detection.ensemble import Ensemble

        loaded = [each if isinstance(each, Detector) else Detector.load(each) for each in members]
        return Ensemble(loaded, combine=combine)

    def compress(
        self,
        rank: int | Sequence[int] | None = None,
        energy: float | None = None,
        images: Iterable[str | PathLike[str] | Image] = (),
        keep: float = 0.1,
        width: tuple[int, int] | None = None,
    ) -> Detector:
        """A new detector with thin fully connected layers, smaller and faster, beside this one, which stays.

        rank: of fc6 and fc7, or (of fc6, of fc7); or energy: the share in (0, 1] to keep; what it means is said in
        networks/compression.py; neither where the layers learnt as factors, which stay. images: files or arrays that
        the layers are compressed for, such as those it was trained with: some hundreds, for the first look a thousand;
        without any the matrices alone decide, which loses far more. keep: the share of an image's windows that a first
        look lets through to the layers, with images only; 1 for all. width: units of fc6 and of fc7 that stay, those
        that tell most, with images only; None for all.
        Raises ConfigError for a rank, an energy, a share or a width that is out of range.
        """
        from spp_det.detection.compression import Compression, compress_detector, draw_windows

        settings, chosen = Compression(rank, energy, keep, width=width), list(images)
        settings.check(self)
        read = (read_pixels(image)[0] for image in chosen)
        return compress_detector(self, settings, draw_windows(self, read, len(chosen), settings) if chosen else None)

    def candidates(self, image: Image, proposals: Proposals, watch: Watch | None = None) -> Candidates:
        """Those of this detector alone."""
        image = check_image(image)
        if not len(proposals):
            return Candidates.empty()
        if self._on_device():
            from spp_det.detection.on_device import candidates_on_device

            return candidates_on_device(self, image, proposals.boxes, watch)
        watch = watch or Watch()
        with one_blas_thread():
            return self.choose(self.pool(image, proposals.boxes, watch), image, watch)

    def _on_device(self) -> bool:
        """Whether the networks lie on a GPU, and the rest can follow them there."""
        weight = next(getattr(self.regions.head, "parameters", lambda: iter(()))(), None)
        if weight is None or weight.device.type == "cpu":
            return False
        from spp_det.detection.on_device import can_run

        return can_run(self)

    def pool(self, image: Image, boxes: Boxes, watch: Watch, features: Any = None) -> PooledWindows:
        """The pooled vectors of windows, float32 [N, 4], N >= 1, without those that the first look drops.

        features: of the image, where another detector of the same maps has computed them already.
        """
        rows = np.arange(len(boxes))
        if features is None:
            with watch.stage("maps_s"):
                features = self.regions.live_features(image)
        with watch.stage("pooling_s"):
            first, place = self.regions.distinct(features, boxes)
        if self.first_look is not None:
            with watch.stage("first_look_s"):
                rows, first, place = self._look_first(features, boxes, first, place)
        if self._on_device() or not LaterVectors.needed(self.regions, len(first)):
            vectors = self.regions.pooled(features, boxes[first], watch)
        else:
            vectors = LaterVectors(self.regions, features, boxes[first])
        return PooledWindows(features, rows, boxes[rows], place, vectors)

    def choose(self, pooled: PooledWindows, image: Image, watch: Watch) -> Candidates:
        """The candidates among the pooled windows of an image, uint8 [H, W, 3]."""
        scored = self.score(pooled, watch)
        with watch.stage("rest_s"):
            candidates = select_candidates(scored.boxes, scored.scores, self.settings)
            return self.regress(scored, candidates, (image.shape[0], image.shape[1]))

    def score(self, pooled: PooledWindows, watch: Watch) -> ScoredWindows:
        """The scores of pooled windows for every class, before any suppression."""
        with watch.stage("fc_s"):
            vectors, located = self._layers(pooled.vectors)
        with watch.stage("rest_s"):
            parts = [self.svms.decision_function(as_float32(vectors[rows])) for rows in blocks(len(vectors), BLOCK)]
            scores = np.concatenate(parts)
            return ScoredWindows(pooled.rows, pooled.boxes, scores[pooled.place], pooled.place, located)

    def _layers(self, vectors: Readable) -> tuple[Readable, Readable]:
        """What the SVMs and what the regressor reads of pooled vectors, [M, D] each.

        Pooled vectors themselves stay what they are: as float32 those of a large image take half a gigabyte.
        """
        names: tuple[Layer, Layer] = (self.layer, self.regression_layer)
        given: dict[str, Readable] = {} if isinstance(vectors, np.ndarray) else {"pool5": vectors}
        wanted = [name for name in names if name not in given]
        if wanted:
            parts = blocks(len(vectors), BLOCK) if isinstance(vectors, LaterVectors) else [slice(None)]
            found = [self.regions.head.numpy_layers(vectors[rows], wanted) for rows in parts]
            together = [each[0] if len(each) == 1 else np.concatenate(each) for each in zip(*found, strict=True)]
            given |= zip(wanted, together, strict=True)
        return given[names[0]], given[names[1]]

    def regress(self, scored: ScoredWindows, candidates: Candidates, size: Size) -> Candidates:
        """The candidates chosen among scored windows, moved by the regressor if there is one, and by votes if asked.

        candidates: their `windows` are rows of `scored`, in the result those of the image's proposals; size: the
        image's.
        """
        if self.regressor is not None:
            candidates = candidates.with_regressed(self._moved(scored, candidates.windows, candidates.labels, size))
        if self.settings.vote:
            rows, labels = voters(scored.scores)
            boxes = candidates.boxes if candidates.regressed is None else candidates.regressed
            voting = self._moved(scored, rows, labels, size)
            voted = vote(boxes, candidates.labels, voting, labels, scored.scores[rows, labels])
            candidates = candidates.with_regressed(voted)
        return replace(candidates, windows=scored.rows[candidates.windows])

    def _moved(self, scored: ScoredWindows, rows: Labels, labels: Labels, size: Size) -> Boxes:
        """Windows, rows of `scored`, where the regressor of their class moves them, if there is one."""
        boxes = scored.boxes[rows]
        if self.regressor is None:
            return boxes
        read, place = np.unique(scored.place[rows], return_inverse=True)
        moved = np.empty_like(boxes)
        for block in blocks(len(read), BLOCK):
            part = np.flatnonzero((block.start <= place) & (place < block.stop))
            vectors = as_float32(scored.located[read[block]])
            moved[part] = self.regressor.apply(vectors, boxes[part], labels[part], size, place[part] - block.start)
        return moved

    def _look_first(self, features: Any, boxes: Boxes, first: Labels, place: Labels) -> tuple[Labels, Labels, Labels]:
        """What stays after the first look: the rows of boxes, the first of each set of cells, and its place there."""
        assert self.first_look is not None
        stays = self.first_look.keeps(self.regions, features, boxes[first])
        rows = np.flatnonzero(stays[place])
        return rows, first[stays], (np.cumsum(stays) - 1)[place[rows]]


class _Unfitted:
    """What stands for the parts of a detector that was not fitted yet."""

    def __getattr__(self, name: str) -> Any:
        raise ConfigError("the detector is not fitted yet: call its fit(dataset)")
