"""V-Mean: every output row is the mean of the real value rows, the paper's rank-one baseline."""

from __future__ import annotations

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws


class VMean(Attention):
    """1/m sum_i V_i in every row: attention that attends to everything alike."""

    compares = False
    cross_attention = True
    reference = "Chen et al. 2022, arXiv 2112.05359, section 5"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        return mean_value(value, mask).expand(-1, -1, query.shape[2], -1)

    def multiply_adds(self, length: int) -> int:
        return length * self.head_dim


def mean_value(value: Tensor, mask: Tensor) -> Tensor:
    """(batch, heads, 1, head_dim) mean of the real value rows; 0 for a sequence without any."""
    real = mask.to(torch.promote_types(value.dtype, torch.float32))  # half precision cannot count
    share = real / real.sum(-1, keepdim=True).clamp(min=1)  # (batch, length)
    weight = share[:, None, None, :].to(value.dtype).expand(-1, value.shape[1], -1, -1)
    return weight @ value
