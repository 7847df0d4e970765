"""Exact softmax attention (Vaswani et al. 2017), the paper's "Standard" rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lra.attention.contract import Attention, Draws
from lra.attention.dropout import draw_kept

BLOCK_WEIGHTS = 1 << 22
"""Attention weights in memory at once where torch has no fused kernel that drops them. Arrays of more than 32 MiB go
back to the system when they are freed, and fetching their pages again would take as long as the arithmetic."""


class Softmax(Attention):
    """softmax(Q K^T / sqrt(p)) V over the real keys, through torch's fused kernel.

    On a CPU, torch would drop weights of whole (length, length) matrices. There, queries attend block by block, and
    where there are several once more in the backward pass: in less time, and in memory linear in the length.

    Args:
        dropout: probability of dropping an attention weight while training.

    Raises:
        ValueError: ``dropout`` is no share below 1.
    """

    exact = True
    linear = False
    reference = "Vaswani et al. 2017, arXiv 1706.03762"

    def __init__(self, *, dropout: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}")
        self.dropout = dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        mask = mask[:, None, None, :]
        if dropout == 0 or query.device.type != "cpu":
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        query, value = query * query.shape[-1] ** -0.5, value / (1 - dropout)
        mask = mask | ~mask.any(-1, keepdim=True)  # all padding: all of it is looked at
        # Added, not filled in: a fill where a boolean says so is slow on a CPU.
        bias = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, -torch.inf)
        rows = max(1, BLOCK_WEIGHTS // (query.shape[0] * query.shape[1] * key.shape[2]))
        blocks = query.split(rows, dim=2)
        if len(blocks) == 1:
            return attend_and_drop(query, key, value, bias, dropout)
        attended = [checkpoint(attend_and_drop, q, key, value, bias, dropout, use_reentrant=False) for q in blocks]
        return torch.cat(attended, dim=2)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * length * self.head_dim


def attend_and_drop(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dropout: float) -> Tensor:
    """Attention of some queries, already divided by sqrt(p), without a random share ``dropout`` of its weights."""
    weights = (query @ key.transpose(-1, -2)).add_(bias).softmax(-1)  # (batch, heads, queries, length)
    return (weights * draw_kept(weights.shape, dropout, weights.dtype)) @ value
