"""An error of pydantic in one sentence: the location, the problem, and the allowed values."""

from __future__ import annotations

import re
import reprlib
from typing import Any

import yaml
from pydantic import ValidationError

from lra.config.blocks import ARENA, NAME, NAME_FORM, SETTINGS
from lra.config.schema import Place, Schema
from lra.errors import nearest

_TYPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "string_type": "a text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a block of settings",
    "dataclass_type": "a block of settings",
    "model_type": "a block of settings",
}
_NUMBER = re.compile(r"[+-]?[\d.]+([eE][+-]?\d+)?")
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


def sentence(problem: ValidationError, cls: type, where: str = "") -> str:
    """The outermost mistake in a block.

    Args:
        problem: the mistakes that pydantic reports.
        cls: the dataclass of the block.
        where: the name of the block in messages.
    """
    errors = [{**error, "loc": error["loc"][1:]} for error in problem.errors(include_url=False)]
    # Pydantic also reports a list with a wrong item as too short.
    first: Any = min((error for error in errors if error["type"] != "too_short" or not error["input"]), key=_depth)
    schema = Schema(cls)
    key = first["type"] in ("missing", "unexpected_keyword_argument", "extra_forbidden")
    place = first["loc"][:-1] if key else first["loc"]
    name = ".".join(filter(None, [where, *_keys(place)])) or "the file"
    return f"{name}: {_explained(first, place, name, schema)}"


def _depth(error: Any) -> tuple[int, int]:
    """Sorts the outermost error first, and an unknown key before a missing one: it may be its misspelling."""
    key = error["loc"][-1:]
    if error["type"] == "missing":
        return len(error["loc"]) - 1, 0 if key == ("module",) else 2
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return len(error["loc"]) - 1, 1
    return len(error["loc"]), 2


def _keys(place: Place) -> list[str]:
    """A location as users write it: without pydantic's own parts, an attention by its name instead of its number."""
    has_name = [place[i + 1 : i + 2] == (SETTINGS,) and len(place) > i + 2 for i in range(len(place))]
    return [str(p) for p, skip in zip(place, has_name, strict=True) if not skip and p not in (NAME, SETTINGS, "[key]")]


def _explained(error: Any, place: Place, name: str, schema: Schema) -> str:
    """The problem and the allowed values, as the end of a sentence that starts with the key's name."""
    value, context, key = error["input"], error.get("ctx", {}), str(error["loc"][-1:] and error["loc"][-1])
    shown, node = _short.repr(value), schema.at(place)
    match error["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            if key == "module" and place[-1] == "data":
                return f"{place[-2]!r} is a task of the Arena; give your own task another name."
            if key == "patience":
                return f"patience counts steps now; write `patience_steps: N`, N being {shown} times `evaluate_every`."
            known = list(node["properties"])
            return f"unknown key {key!r}.{nearest(key, known)} Known: {', '.join(known)}."
        case "missing":
            if key == "module" and place[-1:] == ("data",):
                near = nearest(str(place[-2]), ARENA)
                return f"{place[-2]!r} is no task of the Arena, and one of your own needs a `module`.{near}"
            return f"{key!r} is missing.{schema.described((*place, key))}"
        case "tuple_type" if isinstance(value, dict) and name.endswith("attentions"):
            return f"this is a list now; write {_as_list(value)} instead of a mapping."
        case "tuple_type" if isinstance(value, str):
            return f"{shown} is not a list; write [{value}]."
        case "literal_error":
            allowed = list(map(str, node.get("enum") or [node["const"]]))  # of a single value: const
            return f"{shown} is not one of {', '.join(allowed)}.{nearest(str(value), allowed)}"
        case "greater_than_equal":
            return f"{shown} is less than {_number(context['ge'])}, the least allowed."
        case "greater_than":
            return f"{shown} must be more than {_number(context['gt'])}."
        case "less_than_equal":
            return f"{shown} is more than {_number(context['le'])}, the most allowed."
        case "less_than":
            return f"{shown} must be less than {_number(context['lt'])}."
        case "too_short":
            return f"nothing is listed; give at least {context['min_length']}."
        case "string_too_short":
            return f"{shown} should be non-empty."
        case "string_pattern_mismatch":
            # A wrong key has the location of its value, whose type does not describe the key.
            form = schema.described(place) if node.get("type") == "string" else f" {NAME_FORM}"
            return f"{shown} has the wrong form.{form}"
        case "union_tag_not_found" if isinstance(value, dict) and value:
            method, other = list(value)[:2]
            return (
                f"an item holds one name, not {' and '.join(value)}; indent settings below their name, "
                f"as `{method}: {{{other}: ...}}`."
            )
        case "union_tag_not_found":
            return f"{shown} is neither a name nor a name with its settings, such as `bigbird: {{features: 64}}`."
        case error_type if error_type in _TYPES:
            empty = " or empty" if node.get("nullable") else ""
            keys = f" ({', '.join(node['properties'])})" if "properties" in node and name != "the file" else ""
            return f"{shown} is not {_TYPES[error_type]}{keys}{empty}.{_unquoted(error_type, value)}"
        case _:
            return f"{error['msg'].removeprefix('Value error, ')}."


def _number(limit: float) -> str:
    """A limit without a decimal point if it is whole, and without an exponent if it is large."""
    return str(int(limit) if limit == int(limit) else limit)


def _as_list(mapping: dict[str, Any]) -> str:
    """The mapping ``attentions`` of older configurations, written as a list."""
    items = [{name: given} if given else name for name, given in mapping.items()]
    flow = yaml.safe_dump({"attentions": items}, default_flow_style=True, width=10**6, sort_keys=False)
    return f"`{flow.strip()[1:-1]}`"


def _unquoted(error_type: str, value: Any) -> str:
    """Advice about a number that YAML reads as a string."""
    if error_type not in ("int_type", "float_type") or not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return ""
    return " YAML reads it as text: remove the quotes, or write 1.0e-3 for 1e-3."
