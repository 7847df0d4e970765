"""Shared by the image tasks: PNG decoding, tokens and chunks of pixels, and a pool of processes."""

from __future__ import annotations

import io
import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.contract import list_array, record_batch

Bytes = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 256
"""Images that a process works on at once."""


def decode_png(name: str, data: bytes, shape: tuple[int, ...]) -> Bytes:
    """The pixels 0..255 of a PNG image, (size, size) if it is grey or (size, size, 3) if it is RGB.

    Raises:
        LraError: the file is no PNG image, or has another shape; the message contains ``name``.
    """
    from PIL import Image

    try:
        pixels = np.asarray(Image.open(io.BytesIO(data), formats=["PNG"]))
    except (OSError, SyntaxError, ValueError) as problem:
        raise LraError(f"{name} is not a PNG image, or damaged ({problem}); get the source again.") from problem
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise LraError(f"{name} is an image of shape {pixels.shape} and type {pixels.dtype}, not {shape} and uint8.")
    return pixels


def read_bytes(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        LraError: it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123, a Path costs as much as reading a small file
            return file.readall()
    except OSError as problem:
        raise LraError(f"{path} cannot be read: {problem.strerror}.") from problem


def pixel_batch(pixels: Bytes, label: npt.NDArray[np.integer]) -> pa.RecordBatch:
    """Rows whose tokens are the grey pixels (rows, ...), line by line."""
    return record_batch(label, list_array(pixels.reshape(-1), np.full(len(pixels), pixels[0].size)))


def encode_pixels(pixels: npt.ArrayLike, size: int) -> Bytes:
    """Token ids (size * size,) of one grey image (size, size) with values 0..255.

    Raises:
        LraError: another shape, or values that are no grey levels.
    """
    image = np.asarray(pixels)
    if image.shape != (size, size):
        raise LraError(f"expected a grey image of shape ({size}, {size}), not {image.shape}.")
    levels = image.astype(np.uint8)
    if (levels != image).any():
        raise LraError("the pixels of an image must be whole numbers from 0 to 255.")
    return levels.reshape(-1)


def cut(pixels: Bytes, label: Bytes) -> Iterator[tuple[Bytes, Bytes]]:
    """Cut rows into chunks."""
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK], label[start : start + CHUNK]


def chunked(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Group items into chunks."""
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map`` on several processes: the same results in the same order."""
    if workers < 2:
        yield from map(function, items)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, items)
