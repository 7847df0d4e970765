"""Differences between two sets of resolved settings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def differences(given: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """Each setting that differs, such as ``train.steps is 4, not 120``.

    Args:
        given: settings as nested mappings.
        wanted: the settings to compare them with.
        where: prefix of the names.
    """
    if isinstance(given, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*given, *wanted}):
            yield from differences(given.get(name), wanted.get(name), f"{where}.{name}" if where else name)
    elif given != wanted:
        yield f"{where} is {json.dumps(given)}, not {json.dumps(wanted)}"
