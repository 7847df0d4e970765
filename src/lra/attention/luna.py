"""Luna (Ma et al. 2021): keys are packed into a short learned sequence, and unpacked from it to the queries."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend


class Luna(Attention):
    """Attention(Q, Y, Y) with Y = Attention(P, K, V), P (heads, ``extra_length``, head_dim) learned; equations 4 and 5.

    In the paper P passes from layer to layer, and Y has key and value projections of its own; behind this contract each
    layer has a P of its own, and Y is its own key and value. Deterministic; ``features`` plays no part.

    Args:
        extra_length: tokens l of the learned sequence.

    Raises:
        ValueError: ``extra_length`` is less than 1.
    """

    reference = "Ma et al. 2021, arXiv 2106.01540"

    def __init__(self, *, extra_length: int = 256, **common: Any) -> None:
        super().__init__(**common)
        if extra_length < 1:
            raise ValueError(f"extra_length must be at least 1, not {extra_length}")
        self.extra_length = extra_length
        self.extra = nn.Parameter(torch.randn(self.heads, extra_length, self.head_dim))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        extra = self.extra.to(query.dtype).expand(query.shape[0], -1, -1, -1)
        packed = attend(extra, key, value, mask)
        return attend(query, packed, packed)

    def multiply_adds(self, length: int) -> int:
        return 4 * length * self.extra_length * self.head_dim
