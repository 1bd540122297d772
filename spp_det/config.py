"""The typed configuration of one experiment: a TOML file, checked when it is read.

Every table is a Struct below; an unknown key or a value of the wrong type raises ConfigError with the file and the key.
The defaults are the paper's, at one scale; configs/ holds complete, commented examples. `protocol` sets everything in
which the paper and its release disagree (protocols.py).
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import tomli_w

from spp_det.errors import ConfigError
from spp_det.places import as_path
from spp_det.protocols import Protocol, drop_protocol, fill_protocol

Rule = Literal["paper", "released"]
Layer = Literal["pool5", "fc6", "fc7"]
Precision = Literal["auto", "float32", "bfloat16"]
T = TypeVar("T", bound=msgspec.Struct)
MAX_BYTES = 256 << 10  # of a configuration file


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class DataConfig(_Table, frozen=True, kw_only=True):
    """Where the images are: a key of DATASETS, or `package.module:Name`."""

    format: str = "voc"
    root: str
    year: str = "2007"
    train: str = "trainval"
    test: str = "test"
    classes: list[str] | None = None  # None: the format's own list
    use_difficult: bool = False  # the release trains with difficult objects, by an inverted flag
    max_images: int | None = None  # of each split, evenly spread; None: all
    options: dict[str, Any] = {}  # further arguments of the data set


class ProposalsConfig(_Table, frozen=True):
    """Where windows come from: a key of PROPOSALS, several with `+` between them, or `package.module:Name`."""

    method: str = "selective_search"
    mode: Literal["fast", "released", "quality"] = "fast"
    min_side: int = 20  # px
    max_windows: int | None = None
    file: str | None = None  # "file": .npz or the R-CNN release's .mat; "edge_boxes": the edge detector's model


class TrunkConfig(_Table, frozen=True):
    """The convolutional layers: a key of TRUNKS, `timm:NAME`, or `package.module:Name`."""

    name: str = "efficientnet_lite0"
    weights: str = "default"  # "default", "random", or a file
    input: Literal["default", "torchvision", "caffe"] = "default"


class MapsConfig(_Table, frozen=True):
    """Image sizes, and how a window finds its scale and its cells."""

    scales: tuple[int, ...] = (688,)  # short sides, px
    scale_rule: Rule = "paper"
    mapping: Rule = "paper"
    levels: tuple[int, ...] = (1, 2, 3, 6)
    keep: bool = True  # on the disk, while training; false: computed each time they are asked for, the same bits

    def shaping(self) -> dict[str, Any]:
        """The settings that results depend on."""
        table = msgspec.to_builtins(self)
        del table["keep"]
        return table


class RegionsConfig(_Table, frozen=True):
    """Which region extractor: pooled windows of one map, or R-CNN's warped crops."""

    kind: str = "spp"
    crop_size: int = 227  # px; R-CNN
    context: int = 16  # px around the window in the crop; R-CNN


class FinetuneConfig(_Table, frozen=True):
    """Fine-tuning of fc6, fc7 and a new softmax layer."""

    iterations: int = 300_000  # 0: none, the fc layers stay as they start
    rates: tuple[tuple[int, float], ...] = (
        (250_000, 1e-4),
        (50_000, 1e-5),
    )  # (iterations, learning rate); the last for the rest
    hidden: tuple[int, int] = (4096, 4096)
    rank: tuple[int, int] | None = None  # of fc6 and fc7, each then a product of two thin matrices; None: whole ones
    standardise: bool = False  # learn on vectors of mean 0 and deviation 1; for layers that start at random
    batch_size: int = 128
    positive_fraction: float = 0.25
    positive_overlap: float = 0.5
    negative_overlap: tuple[float, float] = (0.1, 0.5)
    momentum: float = 0.9
    weight_decay: float = 5e-4
    dropout: float = 0.5
    flip: bool = True
    random_scales: bool = False
    chunk: int = 100  # iterations whose windows are gathered at once
    windows_per_image: int = 64  # at most, in a chunk
    bias_rate: float = 1.0  # the biases' learning rate over the weights'; 2 in the release
    fc8_bias: float = 0.0  # where the biases of the new softmax layer start; 1 in the release
    fc8_rate: float = 1.0  # that layer's learning rate over the others'; 10 in R-CNN
    first_conv: int = 1  # R-CNN: the first convolution that learns, with all behind it; 0: none


class SVMConfig(_Table, frozen=True):
    """One linear SVM per class, with hard negatives."""

    layer: Layer = "fc7"
    C: float = 0.001
    positive_weight: float = 2.0
    bias: float = 10.0
    target_norm: float = 20.0
    negative_overlap: float = 0.3
    hard_margin: float = -1.0001
    evict_margin: float = -1.2
    retrain_after: int = 2000
    passes: int = 1
    near_duplicates: Rule = "paper"
    standardise: bool = False  # learn on vectors of mean 0 and deviation 1
    flip: bool = False  # learn from mirror images too; pooled vectors alone

    def shaping(self) -> dict[str, Any]:
        """The settings that results depend on; a newer one than many a store only where it is used."""
        table = msgspec.to_builtins(self)
        return {name: value for name, value in table.items() if value or name not in ("standardise", "flip")}


class RegressConfig(_Table, frozen=True):
    """Box regression per class."""

    enabled: bool = True
    layer: Layer = "pool5"
    min_overlap: float = 0.5
    strict: bool = False  # more than min_overlap, as in the release
    regularisation: float = 1000.0
    target_norm: float = 20.0
    max_windows_per_class: int = 0  # 0: all


class DetectConfig(_Table, frozen=True):
    """From scores to detections.

    scales: short sides, px, at which a trained detector looks at images; none: those that it was trained at.
    """

    scales: tuple[int, ...] = ()
    order: Literal["paper", "released", "rcnn"] = "paper"
    min_score: float = -1.5
    nms_overlap: float = 0.3
    max_per_class: int = 100
    vote: bool = False  # boxes move to the mean of those that agree with them, see detection/voting.py


class EvaluateConfig(_Table, frozen=True):
    """How the detections are scored."""

    method: Literal["11point", "area"] = "11point"
    min_overlap: float = 0.5
    overlap_test: Literal[">=", ">"] = ">="
    coco: bool = False  # COCO's twelve figures, too; on COCO's own form they are always there


Combination = Literal["union", "mean"]  # of all members' windows with their scores; of the scores of each window


class EnsembleConfig(_Table, frozen=True):
    """Several runs that are tested as one detector (section 4.4); each keeps its own trunk, layers and maps."""

    runs: tuple[str, ...]  # folders that train_net.py wrote
    combine: Combination = "union"


class Config(_Table, frozen=True, kw_only=True):
    """One experiment."""

    data: DataConfig
    protocol: Protocol | None = None  # whose settings stand for keys that are left out; None: the defaults here
    seed: int = 0
    precision: Precision = "auto"  # of fc6 and fc7 in training, of all layers in testing; see networks/precision.py
    proposals: ProposalsConfig = ProposalsConfig()
    trunk: TrunkConfig = TrunkConfig()
    maps: MapsConfig = MapsConfig()
    regions: RegionsConfig = RegionsConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    svm: SVMConfig = SVMConfig()
    regress: RegressConfig = RegressConfig()
    detect: DetectConfig = DetectConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    ensemble: EnsembleConfig | None = None  # nothing is trained then

    def __post_init__(self) -> None:
        for name, text in _faults(self):
            if text:
                raise ValueError(f"{text} - at `$.{name}`")


def _faults(config: Config) -> list[tuple[str, str]]:
    maps, tune, svm = config.maps, config.finetune, config.svm
    low, high = tune.negative_overlap
    few = config.data.max_images
    methods = [method.strip() for method in config.proposals.method.split("+")]
    return [
        ("maps.scales", _scales_fault(maps.scales)),
        ("detect.scales", _scales_fault(config.detect.scales) if config.detect.scales else ""),
        ("maps.levels", "" if maps.levels and min(maps.levels) >= 1 else "needs at least one level of 1 or more"),
        ("finetune.rates", "" if tune.rates else "needs at least one [iterations, rate]"),
        ("finetune.negative_overlap", "" if 0 <= low < high <= 1 else "must be [low, high] within 0 .. 1"),
        ("finetune.positive_fraction", "" if 0 < tune.positive_fraction < 1 else "lies between 0 and 1"),
        ("finetune.batch_size", "" if tune.batch_size >= 4 else "must be 4 or more"),
        ("finetune.rank", "" if tune.rank is None or min(tune.rank) >= 1 else "must be 1 or more"),
        (
            "finetune.standardise",
            "is for windows whose convolutions stay as they are: R-CNN needs finetune.first_conv = 0"
            if tune.standardise and config.regions.kind == "rcnn" and tune.first_conv
            else "",
        ),
        ("svm.standardise", "is for pooled windows" if svm.standardise and config.regions.kind == "rcnn" else ""),
        (
            "svm.flip",
            'is for pooled windows, svm.layer = "pool5"'
            if svm.flip and (svm.layer != "pool5" or config.regions.kind == "rcnn")
            else "",
        ),
        (
            "detect.vote",
            "moves what the regressor has moved: it needs regress.enabled"
            if config.detect.vote and not config.regress.enabled
            else "",
        ),
        ("finetune.first_conv", "" if tune.first_conv >= 0 else "must be 0 or more"),
        ("finetune.dropout", "" if 0 <= tune.dropout < 1 else "lies in 0 .. 1"),
        ("detect.nms_overlap", "" if 0 <= config.detect.nms_overlap <= 1 else "lies in 0 .. 1"),
        ("detect.max_per_class", "" if config.detect.max_per_class >= 1 else "must be 1 or more"),
        ("data.max_images", "" if few is None or few >= 1 else "must be 1 or more"),
        ("svm.C", "" if svm.C > 0 else "must be above 0"),
        (
            "proposals.file",
            "" if "file" not in methods or config.proposals.file else 'is needed by method = "file"',
        ),
        ("ensemble.runs", "" if config.ensemble is None or config.ensemble.runs else "names no run"),
    ]


def _scales_fault(scales: tuple[int, ...]) -> str:
    if not scales or min(scales) < 16:
        return "needs at least one short side of 16 px or more"
    return "" if sorted(set(scales)) == list(scales) else "must ascend, without doubles"


def load_config(path: str | Path, overrides: Sequence[str] = (), **replaced: Any) -> Config:
    """Read the configuration of a detector; arguments and faults as of `read_table`."""
    return config_from(read_table(path, overrides, **replaced), str(path))


def read_table(path: str | Path, overrides: Sequence[str] = (), **replaced: Any) -> dict[str, Any]:
    """The nested dicts of a configuration file, unchecked.

    overrides: `table.key=value` texts, the value in TOML (a bare word counts as a string), as `--set` takes them. A
    `protocol` among them goes before what the file says, the others before the protocol.
    replaced: values for whole dotted keys with `__` for the dot, e.g. data__root="data/VOCdevkit".
    Raises ConfigError that names the file and the key for anything it cannot take.
    """
    try:
        if as_path(path).stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: has more than {MAX_BYTES >> 10} KB, which no configuration needs")
        table = tomllib.loads(as_path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such configuration file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder, not a configuration file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not a UTF-8 text") from None
    except RecursionError:
        raise ConfigError(f"{path}: is TOML that is nested too deep") from None
    except ValueError as fault:  # TOMLDecodeError, and what Python says of numbers with thousands of digits
        raise ConfigError(f"{path}: is not TOML: {fault}") from None
    _override(table, overrides)
    for name, value in replaced.items():
        _put(table, name.replace("__", "."), value, name)
    return table


def config_from(table: dict[str, Any], source: str, overrides: Sequence[str] = ()) -> Config:
    """A Config from nested dicts, as TOML or JSON give them, which the overrides change.

    Raises ConfigError that names `source` and the key.
    """
    table = copy.deepcopy(table)
    _override(table, overrides)
    fill_protocol(table)
    return checked(table, Config, source)


def checked(table: dict[str, Any], kind: type[T], source: str) -> T:
    """A Struct of this kind from nested dicts. Raises ConfigError that names `source` and the key."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as fault:
        raise ConfigError(f"{source}: {str(fault).replace('Object', 'the table')}") from None


def config_to_dict(config: msgspec.Struct) -> dict[str, Any]:
    """The configuration as nested dicts of TOML's types; a key that is None is left out."""
    table = msgspec.to_builtins(config)
    return _without_none(table)


def config_to_toml(config: msgspec.Struct) -> str:
    """The configuration as TOML, every key written out."""
    return tomli_w.dumps(config_to_dict(config))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return value


def _override(table: dict[str, Any], overrides: Sequence[str]) -> None:
    changes = [(*parse_setting(text), text) for text in overrides]
    if any(key == "protocol" for key, _, _ in changes):
        drop_protocol(table)
    for key, value, text in changes:
        _put(table, key, value, text)


def parse_setting(text: str) -> tuple[str, Any]:
    """(key, value) of a `table.key=value` text, the value in TOML or a bare word. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: write it as table.key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _put(table: dict[str, Any], key: str, value: Any, text: str) -> None:
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {text}: {part} is a value, not a table")
    table[last] = value
