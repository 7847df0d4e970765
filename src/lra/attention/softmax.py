"""Exact softmax attention (Vaswani et al. 2017), the paper's "Standard" rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend


class Softmax(Attention):
    """softmax(Q K^T / sqrt(p)) V over the real keys, through torch's fused kernels (:mod:`lra.attention.exact`).

    Args:
        dropout: probability of dropping an attention weight while training.

    Raises:
        ValueError: ``dropout`` is no share below 1.
    """

    exact = True
    cross_attention = True
    linear = False
    reference = "Vaswani et al. 2017, arXiv 1706.03762"

    def __init__(self, *, dropout: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}")
        self.dropout = dropout

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        return attend(query, key, value, mask, dropout=self.dropout if self.training else 0.0)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * length * self.head_dim
