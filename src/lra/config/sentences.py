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

_KINDS = {
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
    """The outermost mistake in a value for the dataclass ``cls``, which messages call ``where``."""
    found = [{**error, "loc": error["loc"][1:]} for error in problem.errors(include_url=False)]
    # A list of which an item is wrong counts as too short as well.
    first: Any = min((error for error in found if error["type"] != "too_short" or not error["input"]), key=_depth)
    about = Schema(cls)
    key = first["type"] in ("missing", "unexpected_keyword_argument", "extra_forbidden")
    place = first["loc"][:-1] if key else first["loc"]
    called = ".".join(filter(None, [where, *_called(place)])) or "the file"
    return f"{called}: {_what(first, place, called, about)}"


def _depth(error: Any) -> tuple[int, int]:
    """Outermost first; where a key is misspelt, that it is unknown rather than that the right one is missing."""
    key = error["loc"][-1:]
    if error["type"] == "missing":
        return len(error["loc"]) - 1, 0 if key == ("module",) else 2
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return len(error["loc"]) - 1, 1
    return len(error["loc"]), 2


def _called(place: Place) -> list[str]:
    """A place as users write it: without pydantic's own parts, an attention by its name rather than its number."""
    named = [place[i + 1 : i + 2] == (SETTINGS,) and len(place) > i + 2 for i in range(len(place))]
    return [str(p) for p, skip in zip(place, named, strict=True) if not skip and p not in (NAME, SETTINGS, "[key]")]


def _what(error: Any, place: Place, called: str, about: Schema) -> str:
    value, context, key = error["input"], error.get("ctx", {}), str(error["loc"][-1:] and error["loc"][-1])
    shown, node = _short.repr(value), about.at(place)
    match error["type"]:
        case "unexpected_keyword_argument" | "extra_forbidden":
            if key == "module" and place[-1] == "data":
                return f"{place[-2]!r} is a task of the Arena; call your own something else."
            if key == "patience":
                return f"patience counts steps now; write `patience_steps: N`, N being {shown} times `evaluate_every`."
            known = list(node["properties"])
            return f"unknown key {key!r}.{nearest(key, known)} Known: {', '.join(known)}."
        case "missing":
            if key == "module" and place[-1:] == ("data",):
                near = nearest(str(place[-2]), ARENA)
                return f"{place[-2]!r} is no task of the Arena, and one of your own needs a `module`.{near}"
            return f"{key!r} is missing.{about.described((*place, key))}"
        case "tuple_type" if isinstance(value, dict) and called.endswith("attentions"):
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
            form = about.described(place) if node.get("type") == "string" else f" {NAME_FORM}"
            return f"{shown} is of another form.{form}"
        case "union_tag_not_found" if isinstance(value, dict) and value:
            name, other = list(value)[:2]
            return (
                f"an item holds one name, not {' and '.join(value)}; settings are indented below their name, "
                f"as `{name}: {{{other}: ...}}`."
            )
        case "union_tag_not_found":
            return f"{shown} is neither a name nor a name with its settings, as `bigbird: {{features: 64}}`."
        case kind if kind in _KINDS:
            empty = " or empty" if node.get("nullable") else ""
            keys = f" ({', '.join(node['properties'])})" if "properties" in node and called != "the file" else ""
            return f"{shown} is not {_KINDS[kind]}{keys}{empty}.{_unquoted(kind, value)}"
        case _:
            return f"{error['msg'].removeprefix('Value error, ')}."


def _number(limit: float) -> str:
    """1 for 1.0, and no power of ten for a large number."""
    return str(int(limit) if limit == int(limit) else limit)


def _as_list(mapping: dict[str, Any]) -> str:
    """A mapping ``attentions``, the old form, as a list."""
    items = [{name: given} if given else name for name, given in mapping.items()]
    flow = yaml.safe_dump({"attentions": items}, default_flow_style=True, width=10**6, sort_keys=False)
    return f"`{flow.strip()[1:-1]}`"


def _unquoted(kind: str, value: Any) -> str:
    """Advice about a number that YAML reads as a string."""
    if kind not in ("int_type", "float_type") or not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return ""
    return " It is a text: leave the quotes away, or write 1.0e-3 for 1e-3."
