"""Convert mappings from YAML or JSON to frozen dataclasses, checked by pydantic, and back."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lra.errors import LraError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)
"""1.0 is not accepted as a whole number; ``true``, ``"1"`` and ``.nan`` not as a number. An unknown key is refused."""


def from_mapping(cls: type[T], values: Mapping[str, Any] | Any, where: str = "") -> T:
    """Build the frozen dataclass ``cls`` from a mapping as YAML or JSON gives it, nested dataclasses included.

    Args:
        cls: the dataclass; a field without a default is required.
        values: its fields by name.
        where: the name of this block in messages, e.g. ``scales.mini.tasks.text.data``.

    Raises:
        LraError: one sentence that names the key, the value and what is allowed.
    """
    try:
        # For JSON, pydantic's strict mode accepts lists as tuples and mappings as dataclasses.
        text = json.dumps([values], default=str)
        return _adapter(cls).validate_json(text)[0]  # type: ignore[arg-type]  # mypy takes no class for hashable
    except ValidationError as problem:
        from lra.config.sentences import sentence  # needed for a mistake only

        raise LraError(sentence(problem, cls, where)) from None
    except LraError as problem:
        raise LraError(f"{where}: {problem}" if where else str(problem)) from None
    except (ValueError, TypeError, RecursionError) as problem:
        raise LraError(f"{where or 'the file'} holds what JSON cannot express: {problem}.") from None


@functools.cache
def _adapter(cls: type[T]) -> TypeAdapter[list[T]]:
    # In a list, because pydantic accepts no outside configuration for a dataclass itself.
    return TypeAdapter(list[cls], config=STRICT)  # type: ignore[valid-type]


def as_mapping(settings: Any, leave_out: str | None = None) -> dict[str, Any]:
    """The inverse of :func:`from_mapping`, without the field ``leave_out``."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name != leave_out}
