"""Exact softmax attention (Vaswani et al. 2017), the paper's "Standard" rows."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lra.attention.contract import Attention, Draws


class Softmax(Attention):
    """softmax(Q K^T / sqrt(p)) V over the real keys, through torch's fused kernel.

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
        return scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :], dropout_p=dropout)

    def leading_flops(self, length: int) -> int:
        return 2 * length * length * self.head_dim
