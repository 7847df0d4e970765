"""Exact softmax attention (Vaswani et al. 2017), the paper's "Standard" rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lra.attention.contract import Attention, Draws

BLOCK_WEIGHTS = 1 << 22
"""Attention weights in memory at once where torch has no fused kernel that drops them. Arrays of more than 32 MiB go
back to the system when they are freed, and fetching their pages again would take as long as the arithmetic."""


class Softmax(Attention):
    """softmax(Q K^T / sqrt(p)) V over the real keys, through torch's fused kernel.

    On a CPU, torch would drop weights of whole (length, length) matrices. There, queries attend block by block, and
    where there are several once more in the backward pass: in less time, and in memory linear in the length.

    Args:
        dropout: probability of dropping an attention weight while training.
    """

    exact = True
    linear = False
    reference = "Vaswani et al. 2017, arXiv 1706.03762"

    def __init__(self, *, dropout: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        self.dropout = dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        mask = mask[:, None, None, :]
        if dropout == 0 or query.device.type != "cpu":
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        query, value = query * query.shape[-1] ** -0.5, value / (1 - dropout)
        rows = max(1, BLOCK_WEIGHTS // (query.shape[0] * query.shape[1] * key.shape[2]))
        blocks = query.split(rows, dim=2)
        if len(blocks) == 1:
            return attend_and_drop(query, key, value, mask, dropout)
        attended = [checkpoint(attend_and_drop, q, key, value, mask, dropout, use_reentrant=False) for q in blocks]
        return torch.cat(attended, dim=2)

    def leading_flops(self, length: int) -> int:
        return 2 * length * length * self.head_dim


def attend_and_drop(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropout: float) -> Tensor:
    """Attention of some queries, already divided by sqrt(p), without a random share ``dropout`` of its weights."""
    logits = query @ key.transpose(-1, -2)  # (batch, heads, queries, length)
    weights = logits.masked_fill_(~mask, torch.finfo(logits.dtype).min).softmax(-1)
    return weights.masked_fill(draw_dropped(weights.shape, dropout), 0) @ value


def draw_dropped(shape: torch.Size, dropout: float) -> Tensor:
    """Independent booleans that are True with probability ``dropout``, to the nearest 2^-16.

    Four of them come from each random number of 64 bits, at a sixth of the time that torch's own dropout takes.
    """
    count = shape.numel()
    numbers = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)  # None: all 64 bits
    return (numbers.view(torch.int16)[:count] < round(dropout * 2**16) - 2**15).view(shape)
