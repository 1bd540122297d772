"""Where the paper and the code that its authors released disagree: the settings of both sides (docs/protocols.md).

A configuration that names a `protocol` has these in the place of the keys that it leaves out.
"""

from __future__ import annotations

from typing import Any, Literal

Protocol = Literal["paper", "released"]

# key: (what the paper says, what the release does)
DISAGREEMENTS: dict[str, tuple[Any, Any]] = {
    "data.use_difficult": (False, True),
    "maps.scales": ([480, 576, 688, 864, 1200], [480, 576, 688, 874, 1200]),
    "maps.scale_rule": ("paper", "released"),
    "maps.mapping": ("paper", "released"),
    "finetune.iterations": (300_000, 200_000),
    "finetune.rates": ([[250_000, 1e-4], [50_000, 1e-5]], [[30_000, 1e-3], [30_000, 1e-4], [140_000, 1e-5]]),
    "finetune.random_scales": (False, True),
    "finetune.bias_rate": (1.0, 2.0),
    "finetune.fc8_bias": (0.0, 1.0),
    "finetune.flip": (True, True),  # the paper does not say
    "svm.near_duplicates": ("paper", "released"),
    "regress.strict": (False, True),
    "regress.regularisation": (1000.0, 4000.0),
    "detect.order": ("paper", "released"),
    "evaluate.overlap_test": (">=", ">"),
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "paper": {key: paper for key, (paper, _) in DISAGREEMENTS.items()},
    "released": {key: released for key, (_, released) in DISAGREEMENTS.items()},
}


def fill_protocol(table: dict[str, Any]) -> None:
    """Give a configuration, as nested dicts, what its protocol sets and it leaves out; its reader finds the faults."""
    name = table.get("protocol")
    settings = PROTOCOLS.get(name, {}) if isinstance(name, str) else {}
    for key, value in settings.items():
        section, _, last = key.partition(".")
        inner = table.setdefault(section, {})
        if isinstance(inner, dict):
            inner.setdefault(last, value)


def drop_protocol(table: dict[str, Any]) -> None:
    """Take out of a configuration, as nested dicts, the keys that protocols set, so that another one fills them."""
    for key in DISAGREEMENTS:
        section, _, last = key.partition(".")
        inner = table.get(section)
        if isinstance(inner, dict):
            inner.pop(last, None)
