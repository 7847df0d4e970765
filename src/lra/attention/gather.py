"""Gathering rows with indices of any shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding


def take(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, heads, rows, size) at ``index`` (batch, heads, ...): (batch, heads, ..., size)."""
    batch, heads, rows, size = tensor.shape
    # Not an arange in steps of rows: the compiler knows its length as a quotient only, which all sizes then carry on.
    start = torch.arange(batch * heads, device=index.device) * rows
    start = start.view(batch, heads, *[1] * (index.dim() - 2))
    # An embedding is an index_select whose backward pass runs in parallel on the CPU.
    return embedding(start + index, tensor.reshape(-1, size))


def permute(tensor: Tensor, order: Tensor, rank: Tensor) -> Tensor:
    """Copies of the rows of ``tensor``, each in an order of its own: ``take(tensor, order)``.

    The backward pass takes rows at ``rank``, where that of :func:`take` sorts all indices and adds up what meets. There
    are no second derivatives.

    Args:
        tensor: (batch, heads, rows, size)
        order: (batch, heads, copies, taken) int64, the rows to take; heads may be 1 for all alike.
        rank: (batch, heads, copies, rows), where in ``order`` each row is. A row that is there more than once receives
            the gradient of that place alone, so the others must not matter.

    Returns:
        (batch, heads, copies, taken, size)
    """
    return Permute.apply(tensor, order, rank)  # type: ignore[no-untyped-call]


class Permute(torch.autograd.Function):
    """:func:`permute`."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, order: Tensor, rank: Tensor) -> Tensor:
        ctx.save_for_backward(rank)
        return take(tensor, order)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (rank,) = ctx.saved_tensors
        copies, taken = gradient.shape[2:4]
        if copies == 1:
            return take(gradient[:, :, 0], rank[:, :, 0]), None, None
        first = torch.arange(0, copies * taken, taken, device=rank.device)[:, None]  # of each copy
        return take(gradient.flatten(2, 3), rank + first).sum(2), None, None
