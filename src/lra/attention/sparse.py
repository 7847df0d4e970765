"""The sparse transformer's fixed pattern (Child et al. 2019, section 4.3), without causality.

The first kind attends within blocks of l tokens. The second attends to the last c tokens of every block, which
summarise it. Half of the heads follow each kind; a single head follows both.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend
from lra.attention.local import attend_in_blocks, attend_within_blocks, from_blocks, mask_blocks, to_blocks


class Sparse(Attention):
    """Softmax attention by the fixed pattern; a sequence without a full block has no summary and attends to its block.

    Deterministic; ``features`` plays no part. Time is n (l + n c / l): n sqrt(n) where l grows as sqrt(n), as in the
    paper, and quadratic at a fixed l.

    Args:
        block_size: tokens l in a block.
        summary: tokens c at the end of each block that the second kind attends to.

    Raises:
        ValueError: ``summary`` is not between 1 and ``block_size``.
    """

    linear = False
    reference = "Child et al. 2019, arXiv 1904.10509"

    def __init__(self, *, block_size: int = 128, summary: int = 32, **common: Any) -> None:
        super().__init__(**common)
        if not 1 <= summary <= block_size:
            raise ValueError(f"summary must be between 1 and block_size ({block_size}), not {summary}")
        self.block_size = block_size
        self.summary = summary

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        if self.heads == 1:
            return self.attend_to_both(query, key, value, mask)
        half = self.heads - self.heads // 2
        first = attend_within_blocks(query[:, :half], key[:, :half], value[:, :half], mask, self.block_size)
        second = self.attend_to_summaries(query[:, half:], key[:, half:], value[:, half:], mask)
        return torch.cat([first, second], dim=1)

    def summaries(self, tensor: Tensor) -> Tensor:
        """(batch, heads, length, head_dim) to the last c rows of every block, (batch, heads, blocks * c, head_dim)"""
        return to_blocks(tensor, self.block_size)[:, :, :, -self.summary :].transpose(1, 2).flatten(2, 3)

    def summaries_seen(self, mask: Tensor) -> Tensor:
        """(batch, blocks * c) which of them are real tokens"""
        return mask_blocks(mask, self.block_size)[:, :, -self.summary :].flatten(1)

    def attend_to_summaries(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        seen = self.summaries_seen(mask)
        output = attend(query, self.summaries(key), self.summaries(value), seen)
        within = attend_within_blocks(query, key, value, mask, self.block_size)
        return torch.where(seen.any(-1)[:, None, None, None], output, within)

    def attend_to_both(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """One softmax over the block and the summaries of the other blocks."""
        query_blocks, key_blocks, value_blocks = (to_blocks(tensor, self.block_size) for tensor in (query, key, value))
        blocks = query_blocks.shape[1]

        def beside_summaries(blocked: Tensor, tensor: Tensor) -> Tensor:
            return torch.cat([blocked, self.summaries(tensor).unsqueeze(1).expand(-1, blocks, -1, -1, -1)], dim=3)

        block = torch.arange(blocks, device=mask.device)
        elsewhere = block[:, None] != block.repeat_interleave(self.summary)  # (blocks, blocks * c): each key once
        seen = torch.cat([mask_blocks(mask, self.block_size), self.summaries_seen(mask)[:, None] & elsewhere], dim=-1)
        output = attend_in_blocks(
            query_blocks, beside_summaries(key_blocks, key), beside_summaries(value_blocks, value), seen.unsqueeze(2)
        )
        return from_blocks(output, query.shape[2])

    def multiply_adds(self, length: int) -> int:
        """The mean of both kinds, for one head of several."""
        blocks = -(-length // self.block_size)
        within, summaries = min(self.block_size, length), blocks * self.summary
        if self.heads == 1:
            return 2 * length * (within + summaries) * self.head_dim
        return length * (2 * within + summaries) * self.head_dim
