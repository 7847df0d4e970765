"""The schema against the dataclasses it describes; what its violations say is tested with config.yaml."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from lra.config.schema import SCHEMA
from lra.config.settings import ModelSettings, TrainSettings


def test_the_schema_has_the_fields_of_the_dataclasses() -> None:
    definitions = yaml.safe_load(SCHEMA.read_text())["$defs"]
    for name, cls in {"model": ModelSettings, "train": TrainSettings}.items():
        assert set(definitions[name]["properties"]) == {field.name for field in dataclasses.fields(cls)}


@pytest.mark.parametrize("task", ["listops", "text", "retrieval", "pathfinder", "image", "own"])
def test_the_schema_has_the_fields_of_the_tasks(task: str) -> None:
    module = __import__(f"lra.tasks.{task}", fromlist=["Settings"])
    stated = yaml.safe_load(SCHEMA.read_text())["$defs"][task]["properties"]["data"]["properties"]
    fields = {field.name: field for field in dataclasses.fields(module.Settings)}
    if task == "own":
        del fields["name"]  # which is the block's own
    assert set(stated) == set(fields)
    if "generator" in stated:
        made = fields["generator"].default_factory()  # type: ignore[misc]
        assert set(stated["generator"]["properties"]) == {field.name for field in dataclasses.fields(made)}


def test_every_setting_in_the_schema_is_described() -> None:
    def undescribed(schema: Any, where: str) -> list[str]:
        found = []
        for key, value in schema.get("properties", {}).items():
            if "description" not in value and "$ref" not in value and value.get("type") not in ("object", None):
                found.append(f"{where}.{key}")
            found += undescribed(value, f"{where}.{key}")
        return found

    schema = yaml.safe_load(SCHEMA.read_text())
    assert undescribed(schema, "") == []
