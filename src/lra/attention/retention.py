"""Retention without causality (LION-D, after Sun et al. 2023): weights that decay with distance, without softmax.

A yardstick from outside softmax attention: a bidirectional recurrence in its parallel form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws


class Retention(Attention):
    """output_i = sum_j q_i . k_j gamma^|i - j| v_j / sqrt(p), with gamma_h = 1 - 2^(-5 - h) for head h = 0, 1, ...

    A row is divided by max(1, |sum of its weights|), as in equation 8 of Sun et al. 2023; positions count real tokens
    only, so padding changes nothing. Computed in the parallel form, quadratic in the length. Deterministic;
    ``features`` plays no part.
    """

    linear = False
    reference = "Sun et al. 2023, arXiv 2307.08621; without causality Afzal et al. 2025, arXiv 2502.16249"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        position = mask.cumsum(-1).to(torch.float32)  # (batch, length)
        distance = (position[:, :, None] - position[:, None]).abs()[:, None]  # (batch, 1, length, length)
        head = torch.arange(self.heads, device=mask.device, dtype=torch.float32)
        decay = (distance * torch.log1p(-(2.0 ** (-5 - head)))[:, None, None]).exp()
        weights = (query @ key.transpose(-1, -2)).float() * self.head_dim**-0.5 * decay
        weights = weights.masked_fill(~mask[:, None, None, :], 0)  # (batch, heads, length, length)
        weights = weights / weights.sum(-1, keepdim=True).abs().clamp(min=1)
        return weights.to(value.dtype) @ value.masked_fill(~mask[:, None, :, None], 0)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * length * self.head_dim
