"""Image classification from grey pixels, line by line: CIFAR-10 or, at small scale, scans of handwritten digits.

Tay et al. 2021 (arXiv 2011.04006), section 2.2.4: 32 x 32 pixels are a sequence of 1024.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.contract import SPLITS, Examples, Split, Task
from lra.tasks.pictures import (
    Bytes,
    chunked,
    cut,
    decode_png,
    encode_pixels,
    in_order,
    pixel_batch,
)
from lra.tasks.prepared import prepared_folder, read_prepared
from lra.tasks.settings.image import ImageSettings as Settings
from lra.tasks.settings.image import Source
from lra.tasks.sources import archive_files, check_source, required_rows

DIGITS = "sklearn_digits"
SOURCES: tuple[str, ...] = get_args(Source)
SLICES: dict[Split, str] = {"train": "train[:90%]", "dev": "train[90%:]", "test": "test"}
"""The Arena's splits of CIFAR-10 as tensorflow_datasets orders it."""
FILES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
"""The parts of tensorflow_datasets, and the files of the original archive in each of them."""

Chunks = Callable[[], Iterator[tuple[Bytes, Bytes]]]
"""Makes grey pixels (rows, size, size) and labels (rows,) of a split, some rows at a time."""


def describe(settings: Settings) -> Task:
    """The task; ids are the grey values."""
    return Task("image", classes=10, vocabulary=256, max_length=(_size(settings) * settings.upscale) ** 2)


def _size(settings: Settings) -> int:
    """Height and width of the source's images."""
    return 8 if settings.source == DIGITS else 32


def encode(settings: Settings, image: npt.ArrayLike) -> Bytes:
    """Token ids (length,) of one image with values 0..255, which is enlarged as the examples were.

    It has the source's size: grey (8, 8) for sklearn_digits, grey (32, 32) or RGB (32, 32, 3) for cifar10.
    """
    pixels, size = np.asarray(image), _size(settings)
    if settings.source != DIGITS and pixels.shape == (size, size, 3) and pixels.dtype == np.uint8:
        pixels = grey(pixels)
    square = encode_pixels(pixels, size).reshape(size, size)
    return enlarge(square[None], settings.upscale).reshape(-1)


def enlarge(pixels: Bytes, times: int) -> Bytes:
    """Repeat each pixel of images (rows, size, size) in either direction."""
    return pixels.repeat(times, axis=1).repeat(times, axis=2)


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits.

    Args:
        settings: which source, and its settings.
        source: the archive or folder to read, None for sklearn_digits.
        workers: processes that decode.

    Raises:
        LraError: an unknown source, missing settings, or a source with another layout.
    """
    if settings.source == DIGITS:
        chunks = _digits(settings)
    else:
        check_source("image", settings.source, SOURCES, source)
        assert source is not None
        if source.is_dir():
            chunks = _prepared(source, workers)
        else:
            archive = _Archive(source)
            chunks = {split: partial(archive.chunks, split) for split in SPLITS}
    return {split: _Rows(chunks[split], settings.upscale) for split in SPLITS}


@dataclass(frozen=True)
class _Rows(Iterable[pa.RecordBatch]):
    """A split: chunks of grey pixels (rows, size, size) and labels (rows,), enlarged."""

    chunks: Chunks
    upscale: int

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for pixels, label in self.chunks():
            yield pixel_batch(enlarge(pixels, self.upscale), label)


def grey(rgb: Bytes) -> Bytes:
    """Grey values of RGB pixels (..., 3), to the bit as ``tensorflow.image.rgb_to_grayscale`` makes them."""
    red, green, blue = np.moveaxis(rgb.astype(np.float32) * np.float32(1 / 255), -1, 0)
    luma = np.float32(0.2989) * red + np.float32(0.5870) * green + np.float32(0.1140) * blue
    return (luma * np.float32(255.5)).astype(np.uint8)


def _digits(settings: Settings) -> dict[Split, Chunks]:
    """Scans of digits, all different, their 17 grey levels spread over 0..255."""
    from sklearn.datasets import load_digits

    rows = required_rows("image", settings.source, settings.rows)
    digits = load_digits()
    distinct = np.sort(np.unique(digits.data, axis=0, return_index=True)[1])
    counts = [rows.train, rows.dev, rows.test]
    if sum(counts) > len(distinct):
        raise LraError(f"image: `rows` asks for {sum(counts)} digits; scikit-learn has {len(distinct)} different ones.")
    order = np.random.default_rng(settings.seed).permutation(distinct)
    pixels, label = np.rint(digits.images * (255 / 16)).astype(np.uint8), digits.target.astype(np.uint8)
    parts = np.split(order, np.cumsum(counts))[:3]
    return {split: partial(cut, pixels[part], label[part]) for split, part in zip(SPLITS, parts, strict=True)}


def _prepared(source: Path, workers: int) -> dict[Split, Chunks]:
    """CIFAR-10 as tensorflow_datasets prepared it."""
    folder = prepared_folder(source, "cifar10")

    def chunks(part: str) -> Iterator[tuple[Bytes, Bytes]]:
        decode = partial(_decode, f"{folder}: an image of {part}")
        return in_order(decode, chunked(read_prepared(folder, part, "image")), workers)

    return {split: partial(chunks, SLICES[split]) for split in SPLITS}


def _decode(name: str, images: list[tuple[bytes, int]]) -> tuple[Bytes, Bytes]:
    pixels = np.stack([decode_png(name, png, (32, 32, 3)) for png, _ in images])
    return grey(pixels), np.array([label for _, label in images], np.uint8)


class _Archive:
    """CIFAR-10's original archive, read once when it is first needed: 60 MiB of grey pixels."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def parts(self) -> dict[Split, tuple[Bytes, Bytes]]:
        """Pixels and labels of each split, in the order of tensorflow_datasets."""
        batches = self._batches()
        train, test = (_ordered(part, [batches[name] for name in names]) for part, names in FILES.items())
        first = round(0.9 * len(train[1]))
        return {
            "train": (train[0][:first], train[1][:first]),
            "dev": (train[0][first:], train[1][first:]),
            "test": test,
        }

    def chunks(self, split: Split) -> Iterator[tuple[Bytes, Bytes]]:
        """One split in chunks."""
        return cut(*self.parts[split])

    def _batches(self) -> dict[str, tuple[Bytes, Bytes]]:
        """Grey pixels and labels by the name of the archive's file."""
        wanted = [name for names in FILES.values() for name in names]
        files = archive_files(self.path, lambda name: Path(name).name in wanted)
        batches = {Path(name).name: _batch(f"{self.path}: {name}", data) for name, data in files}
        if lacking := [name for name in wanted if name not in batches]:
            raise LraError(
                f"{self.path} lacks {', '.join(lacking)}; it must be cifar-10-python.tar.gz, or a folder prepared by "
                "tensorflow_datasets."
            )
        return batches


def _ordered(part: str, batches: list[tuple[Bytes, Bytes]]) -> tuple[Bytes, Bytes]:
    """Images in the order in which tensorflow_datasets stores a part: by the MD5 sum of its name and their number."""
    pixels, label = (np.concatenate(column) for column in zip(*batches, strict=True))
    order = sorted(range(len(label)), key=lambda number: hashlib.md5(f"{part}{number}".encode()).digest())
    return pixels[order], label[order]


def _batch(name: str, data: bytes) -> tuple[Bytes, Bytes]:
    """Grey pixels (rows, 32, 32) and labels (rows,) of one pickled batch, whose images are (rows, 3 * 32 * 32)."""
    try:
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        colour = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        label = np.asarray(batch[b"labels"], np.uint8)
        if len(colour) != len(label):
            raise ValueError(f"{len(colour)} images, {len(label)} labels")
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError) as problem:
        raise LraError(f"{name} is not a batch of CIFAR-10: {problem}.") from problem
    return grey(np.moveaxis(colour, 1, -1)), label


class _Unpickler(pickle.Unpickler):
    """Reads arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what a pickled array needs."""
        if module.endswith("multiarray") and name == "_reconstruct":
            return np.ndarray(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
