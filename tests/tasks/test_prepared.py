"""Folders that tensorflow_datasets prepared, also those of versions before 4.0, which have no features.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lra.tasks import image, pathfinder
from lra.tasks.contract import SPLITS
from lra.tasks.prepared import prepared_folder, read_prepared
from tasks.image_files import png, prepare_cifar10, prepare_pathfinder
from tasks.reading import refuses, rows

pytest.importorskip("tensorflow_datasets")


def old(folder: Path, target: Path) -> Path:
    """A copy as version 3 left it: no features.json, and a sparse dataset_info.json."""
    shutil.copytree(folder, target)
    for file in target.rglob("features.json"):
        file.unlink()
    for file in target.rglob("dataset_info.json"):
        splits = [
            {"name": split["name"], "numBytes": split["numBytes"]} for split in json.loads(file.read_text())["splits"]
        ]
        file.write_text(json.dumps({"name": "data", "version": "1.0.0", "splits": splits}))
    return target


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    images = [png(pixels) for pixels in rng.integers(256, size=(53, 32, 32), dtype=np.uint8)]
    return prepare_pathfinder(tmp_path_factory.mktemp("new"), images, rng.integers(2, size=53).tolist())


@pytest.mark.parametrize("split", ["seeded", "lra"])
def test_pathfinder_without_features(new: Path, tmp_path: Path, split: str) -> None:
    """Reading such a folder failed: the features were not known."""
    chosen = pathfinder.Settings("pathfinder_tfds", split=split)  # type: ignore[arg-type]
    before, after = (pathfinder.examples(chosen, folder, 1) for folder in (new, old(new, tmp_path / "old")))
    for part in SPLITS:
        assert rows(after[part]) == rows(before[part])


def test_cifar10_without_features(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8) for count in (50, 10))
    folder = prepare_cifar10(tmp_path / "new", train, test, [rng.integers(10, size=n).tolist() for n in (50, 10)])
    before, after = (
        image.examples(image.Settings("cifar10"), each, 1) for each in (folder, old(folder, tmp_path / "old"))
    )
    for part in SPLITS:
        assert rows(after[part]) == rows(before[part])


def test_a_split_that_is_not_there(new: Path, tmp_path: Path) -> None:
    folder = prepared_folder(old(new, tmp_path / "old"), "pathfinder32")
    with refuses("has neither features.json nor a file *-easy.tfrecord-*; prepare it again"):
        list(read_prepared(folder, "easy", "image"))


def test_other_features_than_declared(new: Path, tmp_path: Path) -> None:
    folder = prepared_folder(old(new, tmp_path / "old"), "pathfinder32")
    with refuses("cannot be read by tensorflow_datasets: "):
        list(read_prepared(folder, "hard", "text"))
