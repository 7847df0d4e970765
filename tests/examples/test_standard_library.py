"""The example of a task holds the contract, and its examples are what it says."""

from __future__ import annotations

import collections
import importlib.util
import re
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from lra.config.arena import arena
from lra.config.mapping import from_mapping
from lra.tasks.checking import violations
from lra.tasks.contract import Task
from lra.tasks.own import Settings, describe

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "standard_library.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("standard_library", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("length", [32, 256])
def test_contract(length: int) -> None:
    """Short passages are often the same in several files."""
    sizes = {"classes": 4, "vocabulary": 256, "max_length": 256}
    settings = Settings(name="library", module=f"{FILE}:passages", **sizes, options={"length": length})
    assert [failure for _, failure in violations(settings, None) if failure] == []


def test_a_passage_is_of_its_package(example: ModuleType) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    for split in ("train", "dev", "test"):
        rows = list(example.passages(split))
        assert len(set(collections.Counter(label for _, label in rows).values())) == 1
        for passage, label in rows[:20]:
            package = library / example.PACKAGES[label]
            assert any(passage in path.read_bytes() for path in package.rglob("*.py"))


def test_the_tutorial_has_its_settings() -> None:
    """The block of docs/your-own-task.md is one that config.yaml takes, with the file it ends with."""
    page = (ROOT / "docs" / "your-own-task.md").read_text()
    block = re.search(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert block is not None
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    tasks = config["scales"]["mini"]["tasks"]
    tasks |= yaml.safe_load(block[1].replace("my_task.py", "examples/standard_library.py"))
    chosen = arena(config | {"tasks": ["library"]}, ROOT)
    settings = from_mapping(Settings, chosen.data("library"), "the tutorial")
    assert describe(settings) == Task("library", classes=4, vocabulary=256, max_length=256)
