"""The JSON schema of config.yaml, made from the dataclasses that check it.

python -m lra.config.schema > workflow/schemas/config.schema.yaml
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import TypeAdapter

from lra.config.blocks import Configuration
from lra.config.mapping import STRICT


def json_schema(cls: type) -> dict[str, Any]:
    """The JSON schema of a dataclass; what stands below a field describes it."""
    adapter: TypeAdapter[Any] = TypeAdapter(list[cls], config=STRICT)  # type: ignore[valid-type]
    schema = adapter.json_schema()
    definitions = schema.get("$defs", {})
    return {**_plain(schema["items"]), "$defs": _plain(definitions)}


def _plain(node: Any) -> Any:
    """Without titles, which repeat the names, and with descriptions in one line."""
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key != "title" or not isinstance(value, str)}
    if isinstance(text := kept.get("description"), str):
        kept["description"] = re.sub(r"\s+", " ", text.replace("``", "`"))
    return {
        key: value if key == "description" and isinstance(value, str) else _plain(value) for key, value in kept.items()
    }


def as_yaml() -> str:
    """The schema of config.yaml."""
    schema = json_schema(Configuration)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "config.yaml"}
    top = schema["$defs"].pop("Configuration")
    text = yaml.safe_dump(
        {**head, **top, "$defs": schema["$defs"]}, sort_keys=False, width=118, default_flow_style=None
    )
    return (
        "# Made by `python -m lra.config.schema`, from the dataclasses of lra.config and lra.tasks.settings.\n" + text
    )


if __name__ == "__main__":
    print(as_yaml(), end="")
