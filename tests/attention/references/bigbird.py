"""BigBird's block-sparse attention as softmax over an explicit set of keys for each block of queries."""

from __future__ import annotations

import torch
from torch import Tensor


def listed_blocks(row: int, last: int, rand_blocks: list[int]) -> set[int]:
    """The blocks that a block of queries attends to, in a sequence whose last block is ``last``."""
    if row in (0, last):
        return set(range(last + 1))
    return {0, last, row - 1, row, row + 1} | {block for block in rand_blocks if block >= 0}


def bigbird(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, rand_blocks: Tensor, block_size: int) -> Tensor:
    """``rand_blocks`` (batch, heads, blocks - 2, r) as in :meth:`lra.attention.bigbird.BigBird.draw`."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0].tolist()
        for h in range(query.shape[1]):
            for i in real:
                row, last = i // block_size, real[-1] // block_size
                random = rand_blocks[b, h, row - 1].tolist() if 0 < row < last else []
                blocks = listed_blocks(row, last, random)
                seen = [j for j in real if j // block_size in blocks]
                weights = torch.softmax(key[b, h, seen] @ query[b, h, i] / query.shape[-1] ** 0.5, 0)
                output[b, h, i] = weights @ value[b, h, seen]
    return output
