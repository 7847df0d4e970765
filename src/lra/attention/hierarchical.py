"""H-Transformer-1D (Zhu and Soricut 2021): near keys one by one, far keys in blocks whose size grows with distance.

The sequence is cut into blocks of ``block_size`` tokens. At level 0 a block of queries attends to its own block and
its two neighbours. At level l tokens are merged by 2^l, queries and keys as means and values as sums, and a block of
merged queries attends to those of its neighbouring merged blocks that no finer level has covered. All levels share one
softmax: their exponentials are added up before the division (section 5).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lra.attention.contract import Attention, Draws


class Hierarchical(Attention):
    """Softmax attention whose logits are exact near the diagonal and means over blocks away from it.

    Means are over real tokens. Deterministic; ``features`` plays no part.

    Args:
        block_size: tokens of a block, an even number.

    Raises:
        ValueError: ``block_size`` is not an even number of at least 2.
    """

    reference = "Zhu and Soricut 2021, arXiv 2107.11906"

    def __init__(self, *, block_size: int = 16, **common: Any) -> None:
        super().__init__(**common)
        if block_size < 2 or block_size % 2:
            raise ValueError(f"block_size must be an even number of at least 2, not {block_size}")
        self.block_size = block_size

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        length, size, kind = query.shape[2], self.block_size, value.dtype
        blocks = self.count_blocks(int(length))  # torch.jit.trace makes lengths tensors
        real = mask[:, None, :, None]
        query, key, value = (
            pad(tensor.masked_fill(~real, 0).float(), (0, 0, 0, blocks * size - length))
            for tensor in (query * self.head_dim**-0.5, key, value)
        )
        count = pad(mask.float(), (0, blocks * size - length))[:, None, :, None]  # (batch, 1, length, 1)
        levels = [attend_at_level(query, key, value, count, size, nearest=True)]
        while blocks > 2:
            query, key = merge(query, count), merge(key, count)
            value, count = pairs(value).sum(3), pairs(count).sum(3)
            blocks //= 2
            levels.append(attend_at_level(query, key, value, count, size, nearest=False))
        fine = [[part.repeat_interleave(1 << i, dim=2) for part in parts] for i, parts in enumerate(levels)]
        most = torch.stack([largest for _, _, largest in fine]).amax(0)
        factors = [(largest - most).exp() for _, _, largest in fine]
        summed = torch.stack([factor * values for factor, (values, _, _) in zip(factors, fine, strict=True)]).sum(0)
        weight = torch.stack([factor * weights for factor, (_, weights, _) in zip(factors, fine, strict=True)]).sum(0)
        # A token without any real key gets 0.
        return (summed / weight.clamp(min=torch.finfo(weight.dtype).tiny))[:, :, :length].to(kind)

    def count_blocks(self, length: int) -> int:
        """Blocks of a sequence, a power of two."""
        return 1 << (-(-length // self.block_size) - 1).bit_length()

    def multiply_adds(self, length: int) -> int:
        """Three blocks of keys for each query, and at each further level two for half as many queries."""
        blocks = self.count_blocks(length)
        listed = 3 * blocks + sum(2 * (blocks >> i) for i in range(1, blocks.bit_length() - 1))
        return 2 * listed * self.block_size**2 * self.head_dim


def attend_at_level(
    query: Tensor, key: Tensor, value: Tensor, count: Tensor, size: int, *, nearest: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention of blocks of ``size`` merged tokens to their neighbours.

    Args:
        query: (batch, heads, rows, head_dim), scaled.
        key: the same.
        value: sums of the values that each row stands for.
        count: (batch, 1, rows, 1), how many real tokens each row stands for.
        size: rows of a block.
        nearest: the finest level, which covers the block itself and all of its neighbours. Any other level leaves out
            the block itself and the adjacent halves of its neighbours, which the finer levels have covered.

    Returns:
        The sum of exponentials times values (batch, heads, rows, head_dim), the sum of exponentials (batch, heads,
        rows, 1), and the largest logit, by which both are divided.
    """
    which = (0, 1, 2) if nearest else (0, 2)  # before, itself, after

    def neighbours(tensor: Tensor) -> Tensor:
        """(batch, heads, rows, p) to (batch, heads, blocks, len(which) * size, p)"""
        blocks = pad(tensor.unflatten(2, (-1, size)), (0, 0, 0, 0, 1, 1))
        number = blocks.shape[2] - 2
        return torch.cat([blocks[:, :, shift : shift + number] for shift in which], dim=3)

    copies = neighbours(count).squeeze(-1).unsqueeze(-2)  # (batch, 1, blocks, 1, keys)
    if not nearest:
        late_query = torch.arange(size, device=query.device) >= size // 2
        position = torch.arange(2 * size, device=query.device)
        before_late = (position >= size // 2) & (position < size)  # the adjacent half of the block before
        after_early = (position >= size) & (position < size + size // 2)
        covered = torch.where(late_query[:, None], after_early, before_late)  # (size, 2 size)
        copies = copies * ~covered
    logits = query.unflatten(2, (-1, size)) @ neighbours(key).transpose(-1, -2)  # (batch, heads, blocks, size, keys)
    logits = logits.masked_fill(copies == 0, torch.finfo(logits.dtype).min)
    largest = logits.detach().amax(-1, keepdim=True)
    weights = (logits - largest).exp() * (copies > 0)
    values = weights @ neighbours(value)
    total = (weights * copies).sum(-1, keepdim=True)
    return values.flatten(2, 3), total.flatten(2, 3), largest.flatten(2, 3)


def pairs(tensor: Tensor) -> Tensor:
    """(batch, heads, length, size) to (batch, heads, length / 2, 2, size)"""
    return tensor.unflatten(2, (-1, 2))


def merge(tensor: Tensor, count: Tensor) -> Tensor:
    """Means of neighbouring rows, weighted by how many real tokens each stands for."""
    return (pairs(tensor * count)).sum(3) / pairs(count).sum(3).clamp(min=1)
