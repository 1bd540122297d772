"""From the name of a part in a configuration to the part."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from spp_det.errors import ConfigError


def resolve(name: str, parts: Mapping[str, Any], key: str) -> Any:
    """The part of a room's dict, or `package.module:Name` of the user's own. Raises ConfigError naming the key."""
    if name in parts:
        return parts[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        raise ConfigError(f'{key} = "{name}": there is {", ".join(parts)}, or package.module:Name')
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as fault:
        raise ConfigError(f'{key} = "{name}": {fault}') from None
    except AttributeError:
        raise ConfigError(f'{key} = "{name}": {module_name} has no {attribute}') from None


def call_part(part: Any, key: str, *args: Any, **options: Any) -> Any:
    """What a part makes of its arguments. Raises ConfigError for an option that it does not take, or not so."""
    try:
        return part(*args, **options)
    except (TypeError, ValueError) as fault:
        raise ConfigError(f"{key}: {fault}") from None
