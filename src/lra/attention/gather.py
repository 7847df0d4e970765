"""Gathering rows with indices, with backward passes that are deterministic and quick on a GPU as well.

There, torch's own backward pass of an index sorts all of its entries, in a compiled model one number at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.library import custom_op
from torch.nn.functional import embedding, pad


def on_gpu(tensor: Tensor) -> bool:
    """Whether the forms for a GPU serve."""
    return tensor.device.type == "cuda"


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


def in_order(index: Tensor) -> Tensor:
    """The index, sorted along its last axis where :func:`pick`, :func:`among` and :func:`replace_rows` ask for it."""
    return index.sort().values if on_gpu(index) else index


def pick(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, heads, rows, size) at ``index`` (batch, heads, d), distinct and :func:`in_order`: (..., d, size).

    On a GPU, of a row that is taken more than once, the gradient of the first time alone counts.
    """
    if not on_gpu(tensor):
        return take_rows(tensor, index)
    return Pick.apply(tensor, index)  # type: ignore[no-untyped-call]


def take_rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows of (batch, heads, rows, size) at any ``index`` (batch, heads, d): (batch, heads, d, size)."""
    return tensor.gather(2, index[..., None].expand(-1, -1, -1, tensor.shape[-1]))


class Pick(torch.autograd.Function):
    """:func:`pick` on a GPU."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = tensor.shape[2]
        return take_rows(tensor, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        rank, found = places(index, ctx.rows)
        return take_rows(pad(gradient, (0, 0, 0, 1)), torch.where(found, rank, index.shape[2])), None


def places(index: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """(batch, heads, rows) where in the sorted ``index`` (batch, heads, d) each row first is, and whether it is."""
    rank = first_places(index, rows).clamp(max=index.shape[2] - 1)
    return rank, index.gather(2, rank) == torch.arange(rows, device=index.device)


@custom_op("lra::first_places", mutates_args=())
def first_places(index: Tensor, rows: int) -> Tensor:
    """(batch, heads, rows) how many entries of the sorted ``index`` (batch, heads, d) are below each row's number.

    An operator of its own, because torch's compiler fails where it computes this within a sum.
    """
    number = torch.arange(rows, device=index.device).expand(*index.shape[:2], -1).contiguous()
    return torch.searchsorted(index.contiguous(), number)


@first_places.register_fake
def _(index: Tensor, rows: int) -> Tensor:
    return index.new_empty(*index.shape[:2], rows)


def among(index: Tensor, rows: int) -> Tensor:
    """(batch, heads, rows) whether each row is in ``index`` (batch, heads, d), which is :func:`in_order`."""
    if on_gpu(index):
        return places(index, rows)[1]
    none = index.new_zeros(*index.shape[:2], rows, dtype=torch.bool)
    return none.scatter(2, index, 1)  # jit.trace refuses True


def replace_rows(tensor: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """``tensor`` (batch, heads, rows, size) with ``values`` (batch, heads, d, size) in the rows ``index``.

    ``index`` is :func:`in_order`. Where it names a row more than once, all of its values must be equal; on a GPU each
    of them receives the row's gradient, as on a CPU.
    """
    if not on_gpu(tensor):
        return tensor.scatter(2, index[..., None].expand_as(values), values)
    rank, found = places(index, tensor.shape[2])
    return torch.where(found[..., None], permute(values, rank[:, :, None], index[:, :, None])[:, :, 0], tensor)


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """``torch.nn.functional.embedding``, whose backward pass on a GPU torch's compiler leaves as it is.

    The compiler's own form adds up rows of one index after the other, and a vocabulary is small.
    """
    return LookUp.apply(table, index) if on_gpu(table) else embedding(index, table)  # type: ignore[no-untyped-call]


class LookUp(torch.autograd.Function):
    """:func:`look_up` on a GPU."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = table.shape[0]
        return embedding(index, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return embedding_backward(gradient, ctx.saved_tensors[0], ctx.rows), None


@custom_op("lra::embedding_backward", mutates_args=())
def embedding_backward(gradient: Tensor, index: Tensor, rows: int) -> Tensor:
    """(rows, size) sums of the gradients (..., size) of each index (...)."""
    result: Tensor = torch.ops.aten.embedding_dense_backward(gradient.contiguous(), index.contiguous(), rows, -1, False)
    return result


@embedding_backward.register_fake
def _(gradient: Tensor, index: Tensor, rows: int) -> Tensor:
    return gradient.new_empty(rows, gradient.shape[-1])
