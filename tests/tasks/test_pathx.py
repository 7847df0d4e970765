"""Path-X: Pathfinder at 128 x 128 pixels, from the release and from the generator."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tests.data import archives_builder as builder

from lra.attention import METHODS, load
from lra.cli.main import main
from lra.config.arena import arena
from lra.config.mapping import from_mapping
from lra.config.settings import AttentionSettings, ModelSettings
from lra.cost.step import Step
from lra.data.prepare import prepare
from lra.data.release import extract_lra_release
from lra.tasks import pathfinder, pathx
from lra.tasks.contract import Rows, Task
from lra.tasks.pathfinder_generator import generate
from tasks.reading import refuses, rows

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"scale": "paper", "tasks": ["pathx"]}


def data(**changes: Any) -> dict[str, Any]:
    """The data settings of the paper's scale, for any number of rows."""
    return CONFIG["scales"]["paper"]["tasks"]["pathx"]["data"] | {"expected_rows": None} | changes


def settings(**changes: Any) -> pathx.Settings:
    return from_mapping(pathx.Settings, data(**changes), "data")


def test_the_task_and_what_it_needs_of_the_release() -> None:
    assert pathx.describe(settings()) == Task("pathx", classes=2, vocabulary=256, max_length=16384)
    assert pathx.encode(settings(), np.zeros((128, 128))).shape == (16384,)
    assert arena(CONFIG).extracted_parts("lra_release") == ["pathfinder128"]
    every = arena(CONFIG | {"tasks": ["listops", "retrieval", "pathfinder", "pathx"]})
    assert every.extracted_parts("lra_release") == ["listops", "pathfinder128", "pathfinder32", "retrieval"]
    other = copy.deepcopy(CONFIG)
    other["scales"]["paper"]["tasks"]["pathx"]["data"]["generator"] = {"image_size": 64}
    assert arena(other).extracted_parts("lra_release") == ["pathfinder64"]


def test_images_of_the_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = builder.lra_release(tmp_path / "lra_release.gz")
    extract_lra_release(archive, tmp_path / "extracted", ["pathfinder128"])
    shards = prepare("pathx", data(), tmp_path / "extracted", tmp_path / "shards", workers=1)
    assert shards.task.name == "pathx" and [shards.rows(split) for split in ("train", "dev", "test")] == [8, 1, 1]
    assert pq.read_table(shards.files("train")[0])["tokens"][0].as_py().__len__() == 16384
    assert main(["contact-sheet", str(tmp_path / "shards"), "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").exists()


def test_generated_images_are_drawn_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as of 32 x 32 pixels would take a gigabyte."""
    assert [pathfinder._at_once(size) for size in (11, 32, 64, 128, 256, 2000)] == [512, 512, 512, 128, 32, 1]
    monkeypatch.setattr(pathfinder, "PIXELS", 4 * 128**2)
    generator = data()["generator"] | {"contour_length": 4, "distractors": 1}  # curves of 14 paddles take seconds
    small = settings(source="generate", rows={"train": 6, "dev": 2, "test": 2}, generator=generator)
    splits = {split: rows(found) for split, found in pathx.examples(small, None, workers=1).items()}
    assert {split: len(found) for split, found in splits.items()} == {"train": 6, "dev": 2, "test": 2}
    assert len({tuple(tokens) for found in splits.values() for tokens, _ in found}) == 10
    assert {len(tokens) for found in splits.values() for tokens, _ in found} == {16384}


@pytest.mark.slow
def test_an_image_of_the_papers_scale() -> None:
    images, _ = generate(settings().generator, 2, np.random.default_rng(0))
    assert images.shape == (2, 128, 128) and images.min() == 0 and images.max() == 255


def test_settings_are_called_by_the_tasks_name() -> None:
    with refuses("pathx: data source 'generate' needs `rows"):
        pathx.examples(settings(source="generate"), None, workers=1)
    with refuses("pathx: `split: lra` follows the order of `source: pathfinder_tfds`"):
        pathx.examples(settings(split="lra"), Path("nowhere"), workers=1)
    assert settings(rows={"train": 1, "dev": 1, "test": 1}).rows == Rows(1, 1, 1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if load(method.path).linear])
def test_a_linear_method_trains_at_its_length(name: str) -> None:
    """Two steps of the paper's model on 16 384 tokens, in float32 on a CPU."""
    task = pathx.describe(settings())
    step = Step(task, ModelSettings(), AttentionSettings(name), "fp32", torch.device("cpu"))
    before = [parameter.detach().clone() for parameter in step.model.parameters()]
    for _ in range(2):
        step.run(step.examples(1))
    changed = [not torch.equal(*pair) for pair in zip(before, step.model.parameters(), strict=True)]
    assert all(bool(parameter.isfinite().all()) for parameter in step.model.parameters()) and any(changed)
