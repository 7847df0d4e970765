"""Longformer (Beltagy et al. 2020): a sliding window, and a few global tokens that see and are seen by all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend
from lra.attention.gather import take
from lra.attention.local import attend_in_blocks, from_blocks, seen_in_window, to_blocks, window_of


class Longformer(Attention):
    """Softmax attention to ``window // 2`` tokens on both sides and to the sequence's first ``global_tokens`` tokens.

    The global tokens attend to everything. Each key counts once. Global and local attention share their projections:
    the paper gives global tokens projections of their own, which start as copies of the local ones (section 3.1).
    Deterministic; ``features`` plays no part.

    Args:
        window: twice the reach of the sliding window.
        global_tokens: how many tokens at the start of a sequence are global; at least 1.

    Raises:
        ValueError: ``window`` is less than 2, or ``global_tokens`` less than 1.
    """

    reference = "Beltagy et al. 2020, arXiv 2004.05150"

    def __init__(self, *, window: int = 512, global_tokens: int = 1, **common: Any) -> None:
        super().__init__(**common)
        if window < 2:
            raise ValueError(f"window must be at least 2, not {window}")
        if global_tokens < 1:
            raise ValueError(f"global_tokens must be at least 1, not {global_tokens}; use `local` with `sliding`")
        self.window = window
        self.global_tokens = global_tokens

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        heads, length = query.shape[1:3]
        reach, count = self.window // 2, min(self.global_tokens, length)
        rank = mask.cumsum(-1) - 1  # (batch, length), 0 for the first real token
        is_global = mask & (rank < count)
        index = (~is_global).to(torch.uint8).sort(stable=True).indices[:, :count]  # (batch, count)
        chosen = index[:, None].expand(-1, heads, -1)
        real = is_global.gather(1, index)  # fewer where the sequence is shorter than `global_tokens`

        query_blocks, key_blocks, value_blocks = (to_blocks(tensor, reach) for tensor in (query, key, value))
        blocks = query_blocks.shape[1]

        def beside_global(tensor: Tensor, blocked: Tensor) -> Tensor:
            """The window of each block, and the global tokens: (batch, blocks, heads, 3 reach + count, head_dim)"""
            return torch.cat([window_of(blocked), take(tensor, chosen).unsqueeze(1).expand(-1, blocks, -1, -1, -1)], 3)

        seen = torch.cat(
            [
                seen_in_window(mask & ~is_global, reach),
                real[:, None, None].expand(-1, blocks, reach, -1),
            ],
            dim=-1,
        )  # (batch, blocks, reach, 3 reach + count)
        local = attend_in_blocks(query_blocks, beside_global(key, key_blocks), beside_global(value, value_blocks), seen)
        whole = attend(take(query, chosen), key, value, mask)
        of_global = take(whole, rank.clamp(0, count - 1)[:, None].expand(-1, heads, -1))
        return torch.where(is_global[:, None, :, None], of_global, from_blocks(local, length))

    def multiply_adds(self, length: int) -> int:
        """Three blocks of half a window and the global keys for each query, and the global rows."""
        return 2 * length * (3 * (self.window // 2) + 2 * self.global_tokens) * self.head_dim
