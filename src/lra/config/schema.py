"""config.yaml read and held against its JSON schema; a violation is told in one sentence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, TypeChecker, ValidationError
from jsonschema.exceptions import best_match
from jsonschema.validators import extend

from lra.errors import LraError, nearest

ARENA = ("listops", "text", "retrieval", "pathfinder", "image")
"""The Arena's tasks; all others are the user's own."""
SCHEMA = Path(__file__).parent / "schemas" / "config.schema.yaml"


def _is_whole(checker: TypeChecker, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: TypeChecker, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# JSON Schema calls 1.0 an integer, which names no seed's folder, and .nan a number.
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number}),
)


def read_yaml(path: Path) -> Any:
    """The content of a YAML file.

    Raises:
        LraError: it is missing, not YAML, or has a key twice, of which YAML itself would keep the last.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise LraError(f"{path} is not there; run this in the project's folder or give --config.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise LraError(f"{path} cannot be read: {' '.join(str(problem).split())}.") from None


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1} has the key {key.value!r} again; keep one")
            seen.add(key.value)
        return node


def check(config: Any) -> None:
    """Hold the content of config.yaml against its schema.

    Raises:
        LraError: one sentence that names the key, the value and what is allowed.
    """
    problem = best_match(_Validator(yaml.safe_load(SCHEMA.read_text())).iter_errors(config), _relevance)
    if problem is not None:
        raise LraError(f"config.yaml: {_sentence(problem)}")


def _relevance(error: ValidationError) -> Any:
    """Prefer the outermost error, and of a key that is misspelt not that it is missing, but how it is written."""
    return -len(error.path), error.validator == "additionalProperties"


def _sentence(error: ValidationError) -> str:
    """A schema violation in words: where, what, and what is allowed."""
    path = list(error.absolute_path)
    where = ".".join(map(str, path)) or "the file"
    value: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            key = next(key for key in value if key not in known)
            if key == "module" and path[-1:] == ["data"]:
                return f"{where}: {path[-2]!r} is a task of the Arena; call your own something else."
            if "module" in known and "module" not in value and path[-1:] == ["data"]:
                near = nearest(str(path[-2]), ARENA)
                return f"{where}: {path[-2]!r} is no task of the Arena, and one of your own needs a `module`.{near}"
            return f"{where}: unknown key {key!r}.{nearest(str(key), known)} Known: {', '.join(known)}."
        case "required":
            key = next(key for key in wanted if key not in value)
            return f"{where}: {key!r} is missing.{_described(schema['properties'].get(key, {}))}"
        case "enum":
            return f"{where}: {value!r} is not one of {_listed(wanted)}.{nearest(str(value), map(str, wanted))}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"{where}: {value!r} is not {' or '.join(_KINDS[kind] for kind in kinds)}.{_unquoted(value, kinds)}"
        case "minimum":
            return f"{where}: {value!r} is less than {wanted}, the least allowed."
        case "exclusiveMinimum":
            return f"{where}: {value!r} must be more than {wanted}."
        case "maximum":
            return f"{where}: {value!r} is more than {wanted}, the most allowed."
        case "minItems" | "minProperties":
            return f"{where}: nothing is listed; give at least {wanted}."
        case "uniqueItems":
            return f"{where}: an entry is listed twice."
        case "pattern":
            return f"{where}: {value!r} is of another form.{_described(schema)}"
        case _:
            return f"{where}: {error.message}."


def _unquoted(value: Any, kinds: Iterable[str]) -> str:
    """What to do about a number that YAML takes for a text."""
    if not isinstance(value, str) or not {"integer", "number"} & set(kinds) or not re.fullmatch(_NUMBER, value):
        return ""
    return (
        " It is a text: leave the quotes away, write 1.0e-3 for 1e-3, and give snakemake lists of numbers by "
        "--configfile, not --config."
    )


_NUMBER = r"[+-]?[\d.]+([eE][+-]?\d+)?"
_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of settings",
    "null": "empty",
}


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _described(schema: Any) -> str:
    return f" {schema['description']}" if "description" in schema else ""
