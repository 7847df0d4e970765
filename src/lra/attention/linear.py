"""The linear transformer (Katharopoulos et al. 2020): weights are inner products of positive features.

With a feature map phi and the weight phi(q_i) . phi(k_j), the sum over j moves inside (equations 4 to 6):

    output_i = phi(q_i) (sum_j phi(k_j) v_j^T) / phi(q_i) (sum_j phi(k_j))

Both sums are the same for every query, so time and memory grow linearly with the length.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import elu

from lra.attention.contract import Attention, Draws


class Linear(Attention):
    """phi(x) = elu(x) + 1, equation 7. Nothing is random, nothing is learned; ``features`` plays no part."""

    reference = "Katharopoulos et al. 2020, arXiv 2006.16236"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        return kernel_attention(elu(query) + 1, elu(key) + 1, value, mask)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * self.head_dim**2


def kernel_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention with the weights q_i . k_j of non-negative features, divided by their sum over the real keys.

    Args:
        query: features (batch, heads, length, size).
        key: features of the same shape.
        value: (batch, heads, length, head_dim).
        mask: (batch, length) bool, True for a real token.

    Returns:
        (batch, heads, length, head_dim); 0 where all weights are 0.
    """
    real = mask[:, None, :, None]  # (batch, 1, length, 1)
    count = mask.sum(-1).clamp(min=1)[:, None, None, None]
    # Means over the real keys, where the paper has sums: the quotient is the same, and half precision cannot overflow.
    # What padding holds must be replaced, not multiplied by 0: it need not be finite.
    key = key.masked_fill(~real, 0) / count
    summary = key.transpose(-1, -2) @ value.masked_fill(~real, 0)  # (batch, heads, size, head_dim)
    total = key.sum(2).unsqueeze(-1)  # (batch, heads, size, 1)
    weight = (query @ total).clamp(min=1e-6)  # a sequence may have no real key
    return ((query @ summary) / weight).to(value.dtype)
