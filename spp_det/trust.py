"""A run's folder may come from anyone: the code that its configuration names is run only where it is trusted.

A configuration that a user names (`--config`) is the user's own, as a program is, and names what it likes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from spp_det.config import Config, config_from, load_config, read_table
from spp_det.errors import ConfigError, DataError
from spp_det.places import as_path

VARIABLE = "SPP_DET_TRUST"
PARTS = ("data.format", "proposals.method", "trunk.name", "regions.kind")  # keys that may name `package.module:Name`


def load_run_config(
    folder: str | Path, overrides: Sequence[str] = (), trust: Iterable[str] = (), **replaced: Any
) -> Config:
    """The configuration in a run's folder; overrides and replaced as in `load_config`, trust as in `check_parts`.

    Raises DataError where the folder is no run's.
    """
    path = as_path(folder) / "config.toml"
    if not path.exists():
        inside = as_path(folder).is_dir()
        raise DataError(folder, "holds no run; spp-det train makes one" if inside else "there is no such run")
    check_parts(read_table(path), path, overrides, trust)
    return load_config(path, overrides, **replaced)


def run_config_from(table: dict[str, Any], source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration that another file of a run's folder, `source`, has as nested dicts."""
    check_parts(table, source, overrides)
    return config_from(table, str(source), overrides)


def check_parts(
    table: Mapping[str, Any], source: str | Path, overrides: Sequence[str] = (), trust: Iterable[str] = ()
) -> None:
    """Raises ConfigError where nested dicts of a run's folder name code that is not of this package.

    overrides: settings that are the user's own words, and may name code. trust: packages or modules whose parts may be
    named, with those that the environment variable SPP_DET_TRUST lists, a comma between them.
    """
    trusted = [*trust, *(word.strip() for word in os.environ.get(VARIABLE, "").split(",") if word.strip())]
    own = {text.partition("=")[0].strip() for text in overrides}
    for key in PARTS:
        room, _, name = key.partition(".")
        inner = table.get(room)
        value = inner.get(name) if isinstance(inner, Mapping) else None
        if not isinstance(value, str) or {key, room} & own:
            continue
        for part in value.split("+"):
            module, colon, _ = part.strip().partition(":")
            if not colon or (key == "trunk.name" and module == "timm"):
                continue
            if not any(f"{module}.".startswith(f"{word}.") for word in trusted):
                raise ConfigError(
                    f'{source}: {key} = "{part.strip()}" names code, which a run\'s folder may not do by itself; '
                    f"if you trust it, set {VARIABLE}={module.partition('.')[0]}"
                )
