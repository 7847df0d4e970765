"""Local attention: a token attends to its neighbourhood alone.

The Arena's form (Tay et al. 2021, arXiv 2011.04006) cuts the sequence into blocks and attends within each. With
``sliding`` every token has a window of its own, centred on it, as in the Longformer without global tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend, in_pieces


class Local(Attention):
    """Softmax attention within blocks of ``window`` tokens, or, ``sliding``, to ``window // 2`` tokens on both sides.

    Deterministic; ``features`` plays no part: the budget is ``window`` keys a query.

    Args:
        window: tokens in a block, or twice the reach of a sliding window.
        sliding: whether the window is centred on each token.

    Raises:
        ValueError: ``window`` is less than 1, or less than 2 for a sliding window.
    """

    reference = "Tay et al. 2021, arXiv 2011.04006"

    def __init__(self, *, window: int = 50, sliding: bool = False, **common: Any) -> None:
        super().__init__(**common)
        if window < 1 + sliding:
            raise ValueError(f"window must be at least {1 + sliding}, not {window}")
        self.window = window
        self.sliding = sliding

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        if self.sliding:
            return attend_to_window(query, key, value, mask, self.window // 2)
        return attend_within_blocks(query, key, value, mask, self.window)

    def multiply_adds(self, length: int) -> int:
        """2 n w p; a sliding window is computed from three blocks of half its size, 3 n w p."""
        keys = 3 * (self.window // 2) if self.sliding else min(self.window, length)
        return 2 * length * keys * self.head_dim


def to_blocks(tensor: Tensor, size: int) -> Tensor:
    """(batch, heads, length, head_dim) to (batch, blocks, heads, size, head_dim), filled up with zeros."""
    extra = -tensor.shape[2] % size
    return pad(tensor, (0, 0, 0, extra)).unflatten(2, (-1, size)).transpose(1, 2)


def from_blocks(blocks: Tensor, length: int) -> Tensor:
    """The inverse of :func:`to_blocks`."""
    return blocks.transpose(1, 2).flatten(2, 3)[:, :, :length]


def mask_blocks(mask: Tensor, size: int) -> Tensor:
    """(batch, length) to (batch, blocks, size)"""
    return pad(mask, (0, -mask.shape[1] % size)).unflatten(1, (-1, size))


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Softmax attention of each block of queries to the keys listed for it.

    Args:
        query: (batch, blocks, heads, queries, head_dim).
        key: (batch, blocks, heads, keys, head_dim).
        value: the same.
        seen: (batch, blocks, queries or 1, keys) bool.

    Returns:
        (batch, blocks, heads, queries, head_dim); 0 where nothing is seen.
    """
    mask = seen.flatten(0, 1).unsqueeze(1)
    output = in_pieces(_attend_to_seen, query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask)
    return output.unflatten(0, query.shape[:2])


def _attend_to_seen(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=seen)


def attend_within_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, size: int) -> Tensor:
    """Softmax attention within blocks of ``size`` tokens."""
    size = min(size, query.shape[2])
    query_blocks, key_blocks, value_blocks = (to_blocks(tensor, size).flatten(0, 1) for tensor in (query, key, value))
    output = attend(query_blocks, key_blocks, value_blocks, mask_blocks(mask, size).flatten(0, 1))
    return from_blocks(output.unflatten(0, (query.shape[0], -1)), query.shape[2])


def window_of(tensor: Tensor) -> Tensor:
    """Each block beside the ones before and after it: (batch, blocks, heads, size, p) to (..., 3 size, p)."""
    around = pad(tensor, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([around[:, :-2], tensor, around[:, 2:]], dim=3)


def seen_in_window(mask: Tensor, reach: int) -> Tensor:
    """Which keys of its window a query sees: (batch, blocks, reach, 3 reach) for blocks of ``reach`` tokens."""
    around = pad(mask_blocks(mask, reach), (0, 0, 1, 1))  # (batch, blocks + 2, reach)
    keys = torch.cat([around[:, :-2], around[:, 1:-1], around[:, 2:]], dim=2)  # (batch, blocks, 3 reach)
    query, key = (torch.arange(size, device=mask.device) for size in (reach, 3 * reach))
    near = (query[:, None] + reach - key).abs() <= reach  # (reach, 3 reach)
    return keys.unsqueeze(2) & near


def attend_to_window(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, reach: int) -> Tensor:
    """Softmax attention to the keys at most ``reach`` positions away."""
    query_blocks, key_blocks, value_blocks = (to_blocks(tensor, reach) for tensor in (query, key, value))
    output = attend_in_blocks(query_blocks, window_of(key_blocks), window_of(value_blocks), seen_in_window(mask, reach))
    return from_blocks(output, query.shape[2])
