"""A JSON schema for editors and a page for readers, generated from the dataclasses that check config.yaml.

    python -m lra.config.schema

writes both files; run it in the project's folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from lra.config.blocks import NAME, SETTINGS, Configuration
from lra.config.mapping import STRICT

Place = Sequence[str | int]

HEAD = """# The keys of config.yaml

<!-- Made by `python -m lra.config.schema` from the dataclasses of lra.config and lra.tasks.settings. -->

`null` stands for an empty value, `{}` for the defaults of a block. An unknown key is refused before any work.
"""


class Schema:
    """The JSON schema of a dataclass; the docstring below each field is its description."""

    def __init__(self, cls: type) -> None:
        # In a list, as lra.config.mapping checks it.
        adapter: TypeAdapter[Any] = TypeAdapter(list[cls], config=STRICT)  # type: ignore[valid-type]
        schema = _plain(adapter.json_schema())
        self.root, self.definitions = schema["items"], schema.get("$defs", {})

    def at(self, place: Place) -> dict[str, Any]:
        """The schema of a location. One that may be empty has the schema of its other values, with ``nullable``."""
        node = self.resolved(self.root)
        for part in place:
            if part in (NAME, SETTINGS):
                node = node["oneOf"][part == SETTINGS]
            elif part == "[key]":
                node = {}
            elif isinstance(part, int):
                node = node["items"]
            else:
                others: Any = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
                node = node.get("properties", {}).get(part, others[0])
            node = self.resolved(node if isinstance(node, dict) else {})
        return node

    def described(self, place: Place) -> str:
        """The description of a location, to follow another sentence; empty if there is none."""
        description = self.at(place).get("description")
        return f" {description}" if description else ""

    def resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """A node with the definition that it refers to in place of the reference."""
        if "$ref" in node:
            return self.resolved({**self.definitions[_definition(node)], **_without(node, "$ref")})
        if "anyOf" in node:
            (given,) = (one for one in node["anyOf"] if one != {"type": "null"})
            return self.resolved({**given, **_without(node, "anyOf"), "nullable": True})
        return node


def _definition(node: dict[str, Any]) -> str:
    """Name of the definition that a node refers to, directly, as a list or as nullable; empty if there is none."""
    reference = re.search(r"#/\$defs/(\w+)", str(node))
    return reference[1] if reference else ""


def _without(node: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name != key}


def _plain(node: Any) -> Any:
    """A schema without titles, which repeat the names, and with each description on one line."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if isinstance(node, str):
        return re.sub(r"\s+", " ", node.replace("``", "`"))
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items() if key != "title" or not isinstance(value, str)}
    return node


def as_yaml() -> str:
    """The schema of config.yaml as YAML."""
    schema = Schema(Configuration)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "config.yaml"}
    document = {**head, **schema.resolved(schema.root), "$defs": _without(schema.definitions, "Configuration")}
    text = yaml.safe_dump(document, sort_keys=False, width=118, default_flow_style=None)
    return (
        "# Made by `python -m lra.config.schema`, from the dataclasses of lra.config and lra.tasks.settings.\n" + text
    )


def as_markdown() -> str:
    """The page of keys: a table for each block. A block that occurs in several places has its table at the first."""
    schema = Schema(Configuration)
    parts, waiting, sections = [HEAD], [("", schema.root)], {"Configuration": ""}
    while waiting:
        where, node = waiting.pop(0)
        block, rows, inner = schema.resolved(node), [], []
        own = block.get("additionalProperties")
        keys = block["properties"] | ({"NAME": own} if isinstance(own, dict) and "$ref" in own else {})
        for key, raw in keys.items():
            one, definition = schema.resolved(raw), _definition(raw)
            target = ""
            if "properties" in schema.definitions.get(definition, {}):
                if definition not in sections:
                    sections[definition] = f"{where}.{key}".lstrip(".")
                    inner.append((sections[definition], {"$ref": f"#/$defs/{definition}"}))
                target = f" See `{sections[definition]}`."
            default = "required" if key in block.get("required", []) else _shown(one.get("default", {}))
            rows.append(f"| `{key}` | {_value(one)} | {default} | {one.get('description', '')}{target} |")
        title = f"\n## `{where}`\n\n{block.get('description', '')}\n" if where else ""
        parts.append("\n".join([f"{title}", "| key | value | default | meaning |", "|---|---|---|---|", *rows, ""]))
        waiting = inner + waiting
    return "".join(parts)


def _shown(default: Any) -> str:
    return f"`{yaml.safe_dump(default, default_flow_style=True).strip().removesuffix('...').strip()}`"


def _value(node: dict[str, Any]) -> str:
    """The type and the bounds of a value, in words."""
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true`, `false`"}
    type_name = names.get(node.get("type", ""), "list" if node.get("type") == "array" else "block")
    limits = {"minimum": "at least", "exclusiveMinimum": "more than", "maximum": "at most", "exclusiveMaximum": "below"}
    ranges = [f"{word} {node[limit]:g}" for limit, word in limits.items() if limit in node]
    return " ".join([type_name, *ranges, *(["or `null`"] if node.get("nullable") else [])])


MADE = {Path("workflow/schemas/config.schema.yaml"): as_yaml, Path("docs/configuration.md"): as_markdown}
"""The files to write, from the project's folder, and the function that makes each."""


if __name__ == "__main__":
    for path, make in MADE.items():
        path.write_text(make(), encoding="utf-8")
