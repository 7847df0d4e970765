"""Frozen dataclasses from mappings as YAML and JSON give them, and back."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from lra.errors import LraError, nearest

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build the frozen dataclass ``cls`` from a mapping as YAML or JSON gives it, nested dataclasses included.

    Args:
        cls: the dataclass; a field without a default is required.
        values: its fields by name.
        where: how messages call this block, e.g. ``scales.mini.tasks.text.data``.

    Raises:
        LraError: an unknown or missing key, or a value of another type, naming the key.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise LraError(f"{where} must be a block of settings ({', '.join(fields)}), not {values!r}.")
    for key in values:
        if key not in fields:
            raise LraError(f"{where}: unknown key {key!r}.{nearest(str(key), fields)} Known: {', '.join(fields)}.")
    for name, field in fields.items():
        if name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise LraError(f"{where}: {name!r} is missing.")
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` as the type ``hint`` wants it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if origin is Literal:
        if value not in arguments:
            raise LraError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}.")
        return value
    if origin is tuple:
        return tuple(_convert(arguments[0], item, where) for item in value)
    if dataclasses.is_dataclass(hint):
        return from_mapping(typing.cast("type[Any]", hint), value, where)
    if hint is Any or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise LraError(f"{where}: {value!r} is not {_NAMES.get(hint, hint.__name__)}.")
    return value


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def as_mapping(settings: Any, leave_out: str | None = None) -> dict[str, Any]:
    """The inverse of :func:`from_mapping`, without the field ``leave_out``."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name != leave_out}
