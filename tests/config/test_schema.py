"""What editors and readers get to know of config.yaml, against the dataclasses that it is made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lra.config.schema import MADE

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


@pytest.mark.parametrize("path", MADE, ids=str)
def test_schema_and_page_are_made_from_the_dataclasses(path: Path) -> None:
    """An option that is added or described otherwise would be missing or wrong for whoever reads them."""
    assert (ROOT / path).read_text() == MADE[path](), "make them anew: python -m lra.config.schema"


def test_config_yaml_follows_the_schema() -> None:
    """What an editor would underline in the project's own file: the schema is that of another library than pydantic."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    schema = yaml.safe_load(SCHEMA.read_text())
    jsonschema.validate(config, schema)
    config["attentions"].append({"mine": {"module": "mine.py:Mine"}})
    jsonschema.validate(config, schema)
    config["attentions"].append({"mine": {"modul": "mine.py:Mine"}})
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(config))


def test_every_setting_is_described() -> None:
    def undescribed(node: Any, where: str) -> list[str]:
        if isinstance(node, list):
            return [found for item in node for found in undescribed(item, where)]
        if not isinstance(node, dict):
            return []
        missing = [
            f"{where}.{name}"
            for name, one in node.get("properties", {}).items()
            if "description" not in one and "$ref" not in str(one)
        ]
        return missing + [found for key, one in node.items() for found in undescribed(one, f"{where}.{key}")]

    assert undescribed(yaml.safe_load(SCHEMA.read_text()), "") == []
