"""Gathering rows with indices of any shape."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, heads, rows, size) at ``index`` (batch, heads, ...): (batch, heads, ..., size)."""
    batch, heads, rows, size = tensor.shape
    # Not an arange in steps of rows: the compiler knows its length as a quotient only, which all sizes then carry on.
    start = torch.arange(batch * heads, device=index.device) * rows
    start = start.view(batch, heads, *[1] * (index.dim() - 2))
    # An embedding is an index_select whose backward pass runs in parallel on the CPU.
    return embedding(start + index, tensor.reshape(-1, size))
