"""Image: scikit-learn's digits, and CIFAR-10 from its original archive and as tensorflow_datasets prepares it."""

from __future__ import annotations

import hashlib
import pickle
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from lra.tasks import image
from lra.tasks.contract import SPLITS, Rows, Task
from lra.tasks.image import Settings, grey
from tasks.image_files import add, prepare_cifar10, python2_pickle, write_cifar10
from tasks.reading import refuses, rows

Colours = tuple[np.ndarray, np.ndarray, list[list[int]]]

DIGITS = Settings("sklearn_digits", rows=Rows(1197, 200, 400))
CIFAR10 = Settings("cifar10")


def read(settings: Settings, source: Path | None, workers: int = 1) -> dict[str, list[tuple[Any, ...]]]:
    examples = image.examples(settings, source, workers)
    return {split: rows(examples[split]) for split in SPLITS}


@pytest.fixture(scope="module")
def colours() -> Colours:
    rng = np.random.default_rng(0)
    train, test = (rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8) for count in (50, 20))
    return train, test, [rng.integers(10, size=count).tolist() for count in (50, 20)]


def test_description() -> None:
    assert image.describe(CIFAR10) == Task("image", 10, 256, 1024)
    assert image.describe(DIGITS) == Task("image", 10, 256, 64)
    assert image.describe(Settings("sklearn_digits", upscale=2)) == Task("image", 10, 256, 256)


def test_digits() -> None:
    splits = read(DIGITS, None)
    assert {split: len(splits[split]) for split in SPLITS} == {"train": 1197, "dev": 200, "test": 400}
    digits = load_digits()
    # 16 levels above black become 255: 1 is 15.94, 8 is 127.5 (even), 16 is 255
    levels = dict(enumerate([0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]))
    known = {
        tuple(levels[int(level)] for level in scan): target
        for scan, target in zip(digits.data, digits.target, strict=True)
    }
    found = [(tuple(tokens), label) for split in SPLITS for tokens, label in splits[split]]
    assert len(found) == len(set(found)) == 1797 and dict(found) == known
    for split in SPLITS:
        assert min(Counter(label for _, label in splits[split]).values()) > 0.05 * len(splits[split])


def test_digits_depend_on_the_seed_alone() -> None:
    first = read(DIGITS, None)
    assert read(DIGITS, None, workers=2) == first
    other = read(Settings("sklearn_digits", rows=DIGITS.rows, seed=1), None)
    assert other["test"] != first["test"]
    fewer = read(Settings("sklearn_digits", rows=Rows(100, 10, 20)), None)
    assert fewer["train"] == first["train"][:100] and len(fewer["test"]) == 20


def test_upscaling_repeats_pixels() -> None:
    small, large = (read(Settings("sklearn_digits", scale, Rows(3, 1, 1)), None)["train"] for scale in (1, 3))
    for (before, label), (after, same) in zip(small, large, strict=True):
        pixels = np.array(before).reshape(8, 8)
        np.testing.assert_array_equal(np.array(after).reshape(24, 24), np.kron(pixels, np.ones((3, 3), int)))
        assert label == same


def test_equal_digits_are_in_one_split_only(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = load_digits()
    for name in "data", "images", "target":
        digits[name] = np.concatenate([digits[name][:40], digits[name][:10]])
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda: digits)
    splits = read(Settings("sklearn_digits", rows=Rows(30, 5, 5)), None)
    assert len({tuple(tokens) for split in SPLITS for tokens, _ in splits[split]}) == 40
    with refuses("`rows` asks for 41 digits; scikit-learn has 40 different ones."):
        read(Settings("sklearn_digits", rows=Rows(30, 5, 6)), None)


def test_grey_by_hand() -> None:
    rgb = [[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]
    # 255.5 times 0.9999, 0.2989, 0.587 and 0.114; 255.5 / 255 * (2.989 + 11.74 + 3.42)
    assert grey(np.array(rgb, np.uint8)).tolist() == [0, 255, 76, 149, 29, 18]


def test_grey_is_tensorflows() -> None:
    tf = pytest.importorskip("tensorflow")
    green, blue = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for red in range(0, 256, 15):
        rgb = np.stack([np.full_like(green, red), green, blue], axis=-1)
        np.testing.assert_array_equal(grey(rgb), tf.image.rgb_to_grayscale(rgb).numpy()[..., 0])


def test_cifar10_archive(colours: Colours, tmp_path: Path) -> None:
    train, test, labels = colours
    splits = read(CIFAR10, write_cifar10(tmp_path / "cifar-10-python.tar.gz", *colours))
    order = sorted(range(50), key=lambda i: hashlib.md5(f"train{i}".encode()).digest())
    for split, numbers in {"train": order[:45], "dev": order[45:]}.items():
        assert splits[split] == [(grey(train[i]).ravel().tolist(), labels[0][i]) for i in numbers]
    assert sorted(splits["test"]) == sorted((grey(test[i]).ravel().tolist(), labels[1][i]) for i in range(20))


def test_cifar10_of_tfds_has_the_same_rows_in_the_same_order(colours: Colours, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow_datasets")
    folder = prepare_cifar10(tmp_path, *colours)
    splits = read(CIFAR10, folder)
    assert splits == read(CIFAR10, write_cifar10(tmp_path / "cifar-10-python.tar.gz", *colours))
    assert read(CIFAR10, folder / "cifar10" / "3.0.2", workers=2) == splits


def test_missing_and_unknown_sources(tmp_path: Path) -> None:
    with refuses("image: unknown data source 'cifar'. Did you mean 'cifar10'?"):
        read(Settings("cifar"), tmp_path)
    with refuses("image: data source 'cifar10' is not given"):
        read(CIFAR10, None)
    with refuses("data source 'sklearn_digits' needs `rows:"):
        read(Settings("sklearn_digits"), None)
    with refuses(f"{tmp_path} holds no cifar10/<version>/dataset_info.json"):
        read(CIFAR10, tmp_path)


class Unwanted:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_damaged_archives(colours: Colours, tmp_path: Path) -> None:
    good = write_cifar10(tmp_path / "good.tar.gz", *colours)
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(good.read_bytes()[:5000])
    with refuses(f"{bad} cannot be read as a .tar.gz archive"):
        read(CIFAR10, bad)
    with tarfile.open(bad, "w:gz") as tar:
        add(tar, "data_batch_1", python2_pickle({"labels": [1], "data": np.zeros((1, 3072), np.uint8)}))
    with refuses(f"{bad} lacks data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch;"):
        read(CIFAR10, bad)
    for content, sentence in {
        python2_pickle({"labels": [1, 2], "data": np.zeros((1, 3072), np.uint8)}): "1 images, 2 labels",
        python2_pickle({"labels": [1], "data": np.zeros((1, 3000), np.uint8)}): "cannot reshape",
        python2_pickle({"images": []}): "b'data'",
        b"no pickle": "",
        pickle.dumps(Unwanted(tmp_path / "made")): "it asks for pathlib.Path",
    }.items():
        with tarfile.open(bad, "w:gz") as tar:
            add(tar, "test_batch", content)
        with refuses(f"{bad}: cifar-10-batches-py/test_batch is not a batch of CIFAR-10: {sentence}"):
            read(CIFAR10, bad)
    assert not (tmp_path / "made").exists()
