"""The linear transformer: attention whose weights are inner products of positive features, not exponentials.

    lra check examples/linear_transformer.py:LinearTransformer

Softmax attention weighs value j by exp(q_i . k_j). With a feature map phi and the weights phi(q_i) . phi(k_j) instead,
the sum over j can be moved inside (equations 4 to 6 of the paper, with phi(x) = elu(x) + 1 of equation 7):

    output_i = sum_j (phi(q_i) . phi(k_j)) v_j / sum_j phi(q_i) . phi(k_j)
             = phi(q_i) (sum_j phi(k_j) v_j^T) / phi(q_i) (sum_j phi(k_j))

Both sums are the same for every query, so that time and memory grow linearly with the length.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import elu

from lra.attention import Attention, Draws


class LinearTransformer(Attention):
    """phi(Q) (phi(K)^T V) with each row divided by the sum of its weights; nothing is random, nothing is learned."""

    reference = "Katharopoulos et al. 2020, arXiv 2006.16236"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        real = mask[:, None, :, None]  # (batch, 1, length, 1)
        count = mask.sum(-1).clamp(min=1)[:, None, None, None]
        # Means over the real keys, where the paper has sums: the quotient is the same, and half precision cannot
        # overflow. What padding holds must be replaced, not multiplied by 0: it need not be finite.
        features = (elu(key) + 1).masked_fill(~real, 0) / count  # (batch, heads, length, head_dim)
        summary = features.transpose(-1, -2) @ value.masked_fill(~real, 0)  # (batch, heads, head_dim, head_dim)
        total = features.sum(2).unsqueeze(-1)  # (batch, heads, head_dim, 1)
        query_features = elu(query) + 1
        weight = (query_features @ total).clamp(min=1e-6)  # a sequence may have no real key
        return ((query_features @ summary) / weight).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * self.head_dim**2
