"""How the kernels of :mod:`lra.attention.kernels` are started: their tiles, their programs and their arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tile:
    """How a kernel cuts its work: queries and keys at a time, warps of a program, loads ahead."""

    rows: int
    columns: int
    warps: int
    stages: int


Tiles = Callable[[int, int, int, int], Tile]
"""The tile for so many queries and keys, a padded head size and a GPU's major compute capability. Up to a size of 32
they were chosen by time, of eight or nine each on an H200; for larger heads and other GPUs none has been timed."""
HOPPER = 9
"""Compute capability from which four warps hold a tile of 128 x 128; compiled for an A100, its registers overflow."""


def forward_tile(queries: int, keys: int, padded: int, capability: int) -> Tile:
    """For the outputs."""
    if padded > 64:
        return Tile(128, 64, warps=8, stages=2)
    if queries <= 64:
        return Tile(64, 64, warps=4, stages=3)
    large = keys >= 1024 and padded <= 32 and capability >= HOPPER
    return Tile(128, 128, warps=4, stages=2) if large else Tile(128, 64, warps=4, stages=3)


def query_tile(queries: int, keys: int, padded: int, capability: int) -> Tile:
    """For the gradient of queries."""
    if padded > 32:
        return Tile(64, 64, warps=4, stages=2 if padded > 64 else 3)
    return Tile(64 if queries <= 64 else 128, 32, warps=4, stages=3)


def key_tile(queries: int, keys: int, padded: int, capability: int) -> Tile:
    """For the gradients of keys, values and biases."""
    return Tile(64, 64, warps=4, stages=2 if padded > 64 else 3)


def launch(
    kernel: Any,
    tiles: Tiles,
    query: Tensor,
    value: Tensor,
    arguments: list[Any],
    seed: Tensor | None,
    scale: float,
    dropout: float,
    block: int,
    by_rows: bool,
) -> None:
    """Start a kernel, a program for each block of queries or of keys and each head."""
    batch, heads, queries, size = query.shape
    keys, width = value.shape[2:]
    padded = padded_size(max(size, width))
    tile = tiles(queries, keys, padded, capability_of(query))
    rows, columns = (min(side, block or side) for side in (tile.rows, tile.columns))
    programs = -(-queries // rows) if by_rows else -(-keys // columns)
    kernel[(batch * heads * programs,)](
        *arguments,
        seed,
        round(dropout * 2**32),
        1 / (1 - dropout),
        scale,
        heads,
        queries,
        keys,
        SIZE=size,
        WIDTH=width,
        PADDED=padded,
        ROWS=rows,
        COLUMNS=columns,
        BLOCK=block,
        DROPS=seed is not None,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def launch_largest(kernel: Any, query: Tensor, key: Tensor, largest: Tensor) -> None:
    """Start the kernel of the largest products, a program for each block of queries and each head."""
    batch, heads, queries, size = query.shape
    keys, padded = key.shape[2], padded_size(size)
    tile = forward_tile(queries, keys, padded, capability_of(query))
    kernel[(batch * heads * -(-queries // tile.rows),)](
        *strided(query, key),
        largest,
        heads,
        queries,
        keys,
        SIZE=size,
        PADDED=padded,
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


def capability_of(tensor: Tensor) -> int:
    """The major compute capability of a tensor's GPU; on a CPU, where Triton interprets, that of the newest tiles."""
    return torch.cuda.get_device_capability(tensor.device)[0] if tensor.is_cuda else HOPPER


def padded_size(size: int) -> int:
    """The power of two that holds a row in a kernel."""
    return max(16, 1 << (size - 1).bit_length())


def lists(seen: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """For each block, the numbers of the blocks that it sees, followed by those of the others, and how many it sees."""
    if seen is None:
        return None, None
    order = seen.byte().sort(descending=True, stable=True).indices
    return order.int().contiguous(), seen.sum(-1, dtype=torch.int32)


def with_whole_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied if its rows are not contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def strided(*tensors: Tensor) -> list[Any]:
    """Each tensor and its steps along the first three axes."""
    return [argument for tensor in tensors for argument in (tensor, *tensor.stride()[:3])]
