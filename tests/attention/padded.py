"""Random inputs with padding for tests against formulas."""

from __future__ import annotations

import torch
from torch import Tensor


def random_inputs(length: int, heads: int = 2) -> tuple[list[Tensor], Tensor]:
    """Float64 query, key and value (3, heads, length, 5), and a mask: full, a prefix, with holes."""
    generator = torch.Generator().manual_seed(length)
    tensors = [torch.randn(3, heads, length, 5, generator=generator, dtype=torch.float64) for _ in range(3)]
    mask = torch.ones(3, length, dtype=torch.bool)
    mask[1, (length + 1) // 2 :] = False
    mask[2] = torch.rand(length, generator=generator) < 0.6
    mask[2, length // 2] = True
    return tensors, mask
