"""config.yaml held against its JSON schema, a violation told in one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from lra.errors import LraError, nearest

ARENA = ("listops", "text", "retrieval", "pathfinder", "image")
"""The Arena's tasks; all others are the user's own."""
SCHEMA = Path(__file__).parent / "schemas" / "config.schema.yaml"


def check(config: Any) -> None:
    """Hold the content of config.yaml against its schema.

    Raises:
        LraError: one sentence that names the key, the value and what is allowed.
    """
    problem = best_match(Draft202012Validator(yaml.safe_load(SCHEMA.read_text())).iter_errors(config), _relevance)
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
            return f"{where}: {value!r} is not {' or '.join(_KINDS[kind] for kind in kinds)}."
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
