"""Writes images in the true layouts: the release's folders, tensorflow_datasets' files, CIFAR-10's archive."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of grey (height, width) or RGB (height, width, 3) pixels."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="png")
    return stream.getvalue()


def write_release(folder: Path, images: Sequence[bytes], labels: Sequence[int], batch: int = 4) -> Path:
    """``imgs/<batch>/sample_<i>.png`` and ``metadata/<batch>.npy`` of a difficulty of Pathfinder."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name, sample = f"imgs/{i // batch}", f"sample_{i % batch}.png"
        metadata = folder / "metadata" / f"{i // batch}.npy"
        for path in folder / name, metadata.parent:
            path.mkdir(parents=True, exist_ok=True)
        (folder / name / sample).write_bytes(image)
        with metadata.open("a") as file:
            file.write(f"{name} {sample} {i % batch} {label} 1.0 14 4 2 0.5 1 1\n")
    return folder


def prepare_pathfinder(folder: Path, images: Sequence[bytes], labels: Sequence[int]) -> Path:
    """``TFDS/pathfinder32/1.0.0`` with the split "hard" in three files."""
    import tensorflow_datasets as tfds

    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)}
    rows = zip(images, labels, strict=True)
    examples = [(f"imgs/0/sample_{i}.png", {"image": io.BytesIO(png), "label": n}) for i, (png, n) in enumerate(rows)]

    class Pathfinder32(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        __module__ = "a_script"  # else tensorflow_datasets looks for the source of this test
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager: Any) -> Any:
            return {"hard": examples}

        def _generate_examples(self) -> Any:
            raise NotImplementedError

    config = tfds.download.DownloadConfig(num_shards=3)
    Pathfinder32(data_dir=folder / "TFDS").download_and_prepare(download_config=config)
    return folder / "TFDS"


def prepare_cifar10(folder: Path, train: np.ndarray, test: np.ndarray, labels: Sequence[Sequence[int]]) -> Path:
    """``cifar10/3.0.2`` by the real builder, from files like those that it downloads."""
    import tensorflow_datasets as tfds

    batches = folder / "download" / "cifar-10-batches-bin"
    batches.mkdir(parents=True)
    (batches / "batches.meta.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    parts = zip(np.split(train, 5), np.split(np.array(labels[0]), 5), strict=True)
    files = [(f"data_batch_{i}.bin", *part) for i, part in enumerate(parts, start=1)]
    for name, images, numbers in [*files, ("test_batch.bin", test, np.array(labels[1]))]:
        rows = np.concatenate([numbers[:, None], np.moveaxis(images, -1, 1).reshape(len(images), -1)], axis=1)
        (batches / name).write_bytes(rows.astype(np.uint8).tobytes())

    class Cifar10(tfds.image_classification.Cifar10, skip_registration=True):
        __module__ = "a_script"

        def _split_generators(self, manager: Any) -> Any:
            manager.download_and_extract = lambda url: folder / "download"
            return super()._split_generators(manager)

    Cifar10(data_dir=folder / "prepared").download_and_prepare()
    return folder / "prepared"


def write_cifar10(path: Path, train: np.ndarray, test: np.ndarray, labels: Sequence[Sequence[int]]) -> Path:
    """``cifar-10-python.tar.gz``, whose batches Python 2 pickled."""
    parts = zip(np.split(train, 5), np.split(np.array(labels[0]), 5), strict=True)
    batches = [(f"data_batch_{i}", *part) for i, part in enumerate(parts, start=1)]
    with tarfile.open(path, "w:gz") as tar:
        for name, images, numbers in [*batches, ("test_batch", test, np.array(labels[1]))]:
            data = np.moveaxis(images, -1, 1).reshape(len(images), -1)
            add(tar, name, python2_pickle({"batch_label": name, "labels": numbers.tolist(), "data": data}))
        add(tar, "batches.meta", python2_pickle({"num_cases_per_batch": len(test)}))
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file to CIFAR-10's folder."""
    member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def python2_pickle(value: object) -> bytes:
    """What Python 2 with its numpy would have pickled: all strings are bytes."""
    stream = io.BytesIO()
    _Python2Pickler(stream, protocol=2).dump(value)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


class _Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    def save_string(self, value: str | bytes) -> None:
        text = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(value)

    dispatch: ClassVar[Any] = {**pickle._Pickler.dispatch, str: save_string, bytes: save_string}  # type: ignore[attr-defined]
