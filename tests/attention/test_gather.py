"""Gathering rows, and what its backward pass is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lra.attention import build
from lra.attention.gather import permute, take


def orders(heads: int, copies: int, rows: int) -> tuple[Tensor, Tensor]:
    """Permutations (3, heads, copies, rows) and their inverses."""
    order = torch.rand(3, heads, copies, rows).argsort(-1)
    return order, order.argsort(-1)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("rows", [1, 2, 65])
def test_permuted_rows_and_their_gradient(rows: int, copies: int, heads: int) -> None:
    torch.manual_seed(0)
    tensor = torch.randn(3, 2, rows, 4, dtype=torch.float64, requires_grad=True)
    order, rank = orders(heads, copies, rows)
    output, wanted = permute(tensor, order, rank), take(tensor, order)
    assert torch.equal(output, wanted)
    upstream = torch.randn_like(output)
    for found, expected in zip(
        torch.autograd.grad(output, tensor, upstream), torch.autograd.grad(wanted, tensor, upstream), strict=True
    ):
        torch.testing.assert_close(found, expected)


def test_gradient_by_finite_differences() -> None:
    tensor = torch.randn(3, 2, 5, 2, dtype=torch.float64, requires_grad=True)
    order, rank = orders(2, 2, 5)
    assert torch.autograd.gradcheck(lambda x: permute(x, order, rank), tensor)


class Operations(TorchDispatchMode):
    """Notes which operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


UNORDERED = {"embedding_dense_backward", "index_add", "index_put", "scatter_add", "scatter_reduce"}
"""On a GPU these add up in any order, or sort first where that is forbidden."""


@pytest.mark.parametrize("length", [1, 16, 100])
@pytest.mark.parametrize("name", ["linformer", "linformer_jlt", "nystrom", "performer", "reformer"])
def test_no_sum_in_any_order(name: str, length: int) -> None:
    """These methods are deterministic on a GPU without the slow forms of such sums."""
    options = {"chunk_length": 16} if name == "reformer" else {}
    attention = build(name, heads=2, head_dim=8, max_length=100, features=16, **options)
    tensors = [torch.randn(3, 2, length, 8, requires_grad=True) for _ in range(3)]
    mask = torch.rand(3, length) < torch.tensor([[1.1], [0.5], [0.1]])
    with Operations() as ran:
        attention(*tensors, mask).sum().backward()
    assert not UNORDERED & {name.rstrip("_").lstrip("_") for name in ran.names}
