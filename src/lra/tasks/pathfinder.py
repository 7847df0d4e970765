"""Pathfinder: do two discs mark the ends of the same dashed curve? 1 if they do.

Linsley et al. 2018 (arXiv 1805.08315); Tay et al. 2021 (arXiv 2011.04006), section 2.2.5. A token is a grey pixel, line
by line: 32 x 32 pixels are a sequence of 1024.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lra.errors import LraError
from lra.tasks.contract import SPLITS, Examples, Split, Task
from lra.tasks.pathfinder_generator import generate
from lra.tasks.pictures import (
    CHUNK,
    Bytes,
    chunked,
    decode_png,
    encode_pixels,
    in_order,
    pixel_batch,
    read_bytes,
)
from lra.tasks.prepared import prepared_folder, read_prepared
from lra.tasks.settings.pathfinder import PathfinderSettings as Settings
from lra.tasks.settings.pathfinder import Source
from lra.tasks.sources import check_source, required_rows

SOURCES: tuple[str, ...] = get_args(Source)
HARD = "curv_contour_length_14"
"""The release's folder of "hard" images, whose curves have 14 paddles."""
SLICES: dict[Split, str] = {"train": "hard[:80%]", "dev": "hard[80%:90%]", "test": "hard[90%:]"}
"""The Arena's splits of the file prepared by tensorflow_datasets."""
DRAWN = 512
"""The most images that are drawn together, fewer if they are large; another number gives other images."""
PIXELS = 2**21
"""Pixels that are drawn at once at most, so that memory stays small."""

log = logging.getLogger(__name__)


def describe(settings: Settings) -> Task:
    """The task; ids are the grey values."""
    return Task("pathfinder", classes=2, vocabulary=256, max_length=settings.generator.image_size**2)


def encode(settings: Settings, image: npt.ArrayLike) -> Bytes:
    """Token ids (length,) of a grey image (image_size, image_size) with values 0..255."""
    return encode_pixels(image, settings.generator.image_size)


def examples(settings: Settings, source: Path | None, workers: int, task: str = "pathfinder") -> Examples:
    """The three splits; images that are black all over are left out.

    Args:
        settings: which source, and its settings.
        source: folder of the unpacked archive, None to generate.
        workers: processes that draw or decode.
        task: name of the task in messages.

    Raises:
        LraError: an unknown source, missing settings or files, or, while iterating, a damaged image.
    """
    check_source(task, settings.source, SOURCES, source)
    if source is None:
        rows = required_rows(task, settings.source, settings.rows or settings.expected_rows)
        starts = {"test": 0, "dev": rows.test, "train": rows.test + rows.dev}
        return {split: _Generated(settings, starts[split], getattr(rows, split), workers) for split in SPLITS}
    size = settings.generator.image_size
    read = functools.partial(_Read, size=size, workers=workers)
    if settings.source == "pathfinder_tfds":
        folder = prepared_folder(source, f"pathfinder{size}")
        if settings.split == "lra":
            return {split: read(functools.partial(_prepared, folder, SLICES[split])) for split in SPLITS}
        shuffled = _Shuffled(read(functools.partial(_prepared, folder, "hard")), settings.seed)
    elif settings.split == "seeded":
        shuffled = _Shuffled(read(_released(source, size)), settings.seed)
    else:
        raise LraError(f"{task}: `split: lra` follows the order of `source: pathfinder_tfds`; use it, or `seeded`.")
    return {split: _Share(shuffled, split) for split in SPLITS}


@dataclass(frozen=True)
class _Generated(Iterable[pa.RecordBatch]):
    """Images ``start ... start + rows - 1`` of an endless stream of distinct images; the short splits come first."""

    settings: Settings
    start: int
    rows: int
    workers: int

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        end, seen, drawn = self.start + self.rows, set[str](), 0
        draw = functools.partial(_draw, self.settings)
        for pixels, label in in_order(draw, itertools.count(), self.workers):
            first = len(seen)
            new = []
            for i, image in enumerate(pixels):
                key = digest(image)
                if key not in seen:
                    seen.add(key)
                    new.append(i)
            kept = np.array(new[max(self.start - first, 0) : end - first], np.int64)
            if kept.size:
                yield pixel_batch(pixels[kept], label[kept])
            if len(seen) >= end:
                return
            drawn += len(pixels)
            if drawn > 10 * (end + DRAWN):
                raise LraError(
                    f"pathfinder: only {len(seen)} different images came out of {drawn}; ask for fewer "
                    "`rows`, or raise generator.image_size or generator.contour_length."
                )


def _draw(settings: Settings, chunk: int) -> tuple[Bytes, Bytes]:
    random = np.random.default_rng(np.random.SeedSequence([settings.seed, chunk]))
    return generate(settings.generator, _at_once(settings.generator.image_size), random)


def _at_once(size: int) -> int:
    """Number of images of this size that are drawn together."""
    return min(DRAWN, max(1, PIXELS // size**2))


def digest(image: Bytes, seed: int = 0) -> str:
    """A keyed hash of an image's pixels."""
    return hashlib.blake2b(image.tobytes(), digest_size=16, key=seed.to_bytes(8, "little")).hexdigest()


class _Picture(NamedTuple):
    """An image to decode: name in messages; the bytes of its PNG file, or None if the name is its path; label."""

    name: str
    png: bytes | None
    label: int


@dataclass(frozen=True)
class _Read(Iterable[pa.RecordBatch]):
    """Images in the order of ``pictures``, those that are black all over left out."""

    pictures: Callable[[], Iterator[_Picture]]
    size: int
    workers: int

    def chunks(self) -> Iterator[tuple[Bytes, Bytes]]:
        """Pixels (rows, size, size) and labels (rows,)."""
        empty = 0
        for pixels, label in in_order(functools.partial(_decode, self.size), chunked(self.pictures()), self.workers):
            kept = pixels.max((1, 2)) > 0
            empty += int(np.count_nonzero(~kept))
            if kept.any():
                yield pixels[kept], label[kept]
        if empty:
            log.warning("pathfinder: left out %d images that are black all over.", empty)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return itertools.starmap(pixel_batch, self.chunks())


def _decode(size: int, pictures: list[_Picture]) -> tuple[Bytes, Bytes]:
    pixels = np.zeros((len(pictures), size, size), np.uint8)
    for i, picture in enumerate(pictures):
        data = read_bytes(picture.name) if picture.png is None else picture.png
        if data:  # the release has a file of no bytes
            pixels[i] = decode_png(picture.name, data, (size, size))
    return pixels, np.array([picture.label for picture in pictures], np.uint8)


class _Shuffled:
    """All images, read once when they are first needed and kept compressed."""

    def __init__(self, read: _Read, seed: int) -> None:
        self._read, self._seed = read, seed

    @functools.cached_property
    def rows(self) -> list[tuple[bytes, int]]:
        """Compressed pixels and label of each image, all different, in an order that they and the seed determine."""
        images: dict[str, tuple[bytes, int]] = {}
        count = 0
        for pixels, labels in self._read.chunks():
            count += len(labels)
            for image, label in zip(pixels, labels.tolist(), strict=True):
                images.setdefault(digest(image, self._seed), (_CODEC.compress(image, asbytes=True), label))
        if not images:
            raise LraError("pathfinder: the source has no images that are not black all over.")
        if len(images) < count:
            log.warning("pathfinder: left out %d images that equal another one.", count - len(images))
        return [images[key] for key in sorted(images)]

    def chunks(self, start: int, end: int) -> Iterator[tuple[Bytes, Bytes]]:
        """Pixels (rows, size, size) and labels (rows,) of images ``start ... end - 1``."""
        size = self._read.size
        for rows in chunked(self.rows[start:end]):
            packed, labels = zip(*rows, strict=True)
            pixels = b"".join(_CODEC.decompress(image, size * size, asbytes=True) for image in packed)
            yield np.frombuffer(pixels, np.uint8).reshape(-1, size, size), np.array(labels, np.uint8)


_CODEC = pa.Codec("zstd")


@dataclass(frozen=True)
class _Share(Iterable[pa.RecordBatch]):
    """One split of the shuffled images: the first 80 %, the next 10 %, or the last 10 %."""

    shuffled: _Shuffled
    split: Split

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        count = len(self.shuffled.rows)
        cuts = [0, *(round(count * share) for share in (0.8, 0.9)), count]
        place = SPLITS.index(self.split)
        return itertools.starmap(pixel_batch, self.shuffled.chunks(cuts[place], cuts[place + 1]))


def _prepared(folder: Path, part: str) -> Iterator[_Picture]:
    """Images that tensorflow_datasets prepared."""
    for i, (png, label) in enumerate(read_prepared(folder, part, "image")):
        yield _Picture(f"{folder}: image {i} of {part}", png, label)


def _released(source: Path, size: int) -> Callable[[], Iterator[_Picture]]:
    """The images of the release, packed into a Parquet file or as files, wherever below ``source`` they are."""
    name = f"pathfinder{size}"
    for packed in source, source / f"{name}.parquet":
        if packed.is_file():
            return functools.partial(_packed, packed)
    for folder in source, source / HARD, source / name / HARD:
        if (folder / "metadata").is_dir():
            return functools.partial(_unpacked, folder)
    raise LraError(f"{source} holds neither {name}.parquet nor {name}/{HARD} with imgs and metadata.")


def _unpacked(folder: Path) -> Iterator[_Picture]:
    """Images of a folder with ``imgs/<batch>/sample_<i>.png`` and ``metadata/<batch>.npy``."""
    for path in sorted((folder / "metadata").glob("*.npy")):
        for name, label in _labels(str(path), read_bytes(str(path))):
            yield _Picture(f"{folder}/{name}", None, label)


def _packed(file: Path) -> Iterator[_Picture]:
    """Images of a Parquet file with the columns path, such as ``imgs/0/sample_0.png``, and bytes."""
    try:
        metadata = pq.read_table(file, columns=["path", "bytes"], filters=pc.ends_with(pc.field("path"), ".npy"))
        labels: dict[str, int] = {}
        for row in metadata.to_pylist():
            labels.update(_labels(f"{file}: {row['path']}", row["bytes"]))
        with pq.ParquetFile(file) as images:
            for batch in images.iter_batches(CHUNK, columns=["path", "bytes"]):
                for path, png in zip(batch["path"].to_pylist(), batch["bytes"].to_pylist(), strict=True):
                    if path in labels:
                        yield _Picture(f"{file}: {path}", png, labels.pop(path))
    except (OSError, KeyError, pa.ArrowException) as problem:
        told = " ".join(str(problem).split())
        raise LraError(f"{file} is not a Parquet file with the columns path and bytes: {told}.") from problem
    if labels:
        raise LraError(f"{file} lacks {next(iter(labels))} and {len(labels) - 1} other images that its metadata lists.")


def _labels(name: str, metadata: bytes) -> Iterator[tuple[str, int]]:
    """Path and label of each image that a metadata file lists, a line each: folder, file, index, label, and more."""
    for number, line in enumerate(metadata.decode(errors="replace").splitlines(), start=1):
        match line.split():
            case [folder, file, _, "0" | "1" as label, *_]:
                yield f"{folder}/{file}", int(label)
            case _:
                raise LraError(f"{name}, line {number}: expected folder, file, index and label, not {line[:60]!r}.")
