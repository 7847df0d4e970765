"""cosFormer (Qin et al. 2022): linear attention whose weights fall off with distance as a cosine.

The weight of key j for query i is relu(q_i) . relu(k_j) cos(pi (i - j) / 2M). By cos(a - b) = cos a cos b + sin a sin b
it is an inner product of features twice as large (equations 10 to 12), so the sum over j moves inside as in
:mod:`lra.attention.linear`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws
from lra.attention.linear import kernel_attention


class CosFormer(Attention):
    """M is the number of the sequence's own real tokens, and a token's position counts real tokens only.

    So padding changes nothing, wherever it stands. Nothing is random, nothing is learned; ``features`` plays no part.
    """

    reference = "Qin et al. 2022, arXiv 2202.08791"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        position = mask.cumsum(-1).to(torch.float32)  # (batch, length), 1 for the first real token
        angle = (math.pi / 2) * position / mask.sum(-1, keepdim=True).clamp(min=1)
        turn = torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None, :, :, None]  # (batch, 1, length, 2, 1)

        def features(x: Tensor) -> Tensor:
            """(batch, heads, length, head_dim) to (batch, heads, length, 2 head_dim)"""
            return (x.relu().unsqueeze(-2) * turn.to(x.dtype)).flatten(-2)

        return kernel_attention(features(query), features(key), value, mask)

    def multiply_adds(self, length: int) -> int:
        return 4 * length * self.head_dim**2
