"""Gathering rows, and what its backward pass is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lra.attention import build, gather
from lra.attention.gather import among, in_order, look_up, permute, pick, replace_rows, take, take_rows


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


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def on_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the form for a GPU is used, which a CPU can run as well."""
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: request.param)
    return request.param


def drawn(count: int, rows: int = 9) -> Tensor:
    """Distinct row numbers (3, 2, count), in order."""
    return in_order(torch.rand(3, 2, rows).topk(count, sorted=False).indices)


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("count", [1, 4, 9])
def test_picked_rows_and_their_gradient(count: int) -> None:
    torch.manual_seed(count)
    tensor = torch.randn(3, 9, 2, 4, dtype=torch.float64).transpose(1, 2).requires_grad_()
    index = drawn(count)
    output, wanted = pick(tensor, index), take_rows(tensor, index)
    assert torch.equal(output, wanted)
    upstream = torch.randn_like(output)
    gradients = [torch.autograd.grad(picked, tensor, upstream)[0] for picked in (output, wanted)]
    assert torch.equal(*gradients)
    assert torch.autograd.gradcheck(lambda x: pick(x, index), tensor)


def test_row_picked_twice_has_the_gradient_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: True)
    tensor = torch.randn(1, 1, 3, 2, requires_grad=True)
    pick(tensor, torch.tensor([[[1, 1, 2]]])).backward(torch.tensor([[[[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]]]))
    assert tensor.grad is not None and tensor.grad.tolist() == [[[[0, 0], [1, 1], [3, 3]]]]


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize("count", [1, 4, 9])
def test_replaced_rows_and_their_gradient(count: int) -> None:
    torch.manual_seed(count)
    tensor = torch.randn(3, 2, 9, 4, dtype=torch.float64, requires_grad=True)
    values = torch.randn(3, 2, count, 4, dtype=torch.float64, requires_grad=True)
    index = drawn(count)
    output = replace_rows(tensor, index, values)
    assert torch.equal(take_rows(output, index), values)
    hit = among(index, 9)
    assert hit.sum() == index.numel() and torch.equal(output[~hit], tensor[~hit])
    assert torch.autograd.gradcheck(lambda x, y: replace_rows(x, index, y), (tensor, values))


@pytest.mark.usefixtures("on_gpu")
def test_rows_named_twice_are_replaced_by_equal_values() -> None:
    """Each of the values receives the row's gradient, whatever the form."""
    index = torch.tensor([[[1, 1, 2]]])
    values = torch.tensor([[[[5.0], [5.0], [6.0]]]], requires_grad=True)
    output = replace_rows(torch.zeros(1, 1, 4, 1), index, values)
    assert output.flatten().tolist() == [0, 5, 6, 0]
    output.backward(torch.tensor([[[[1.0], [2.0], [3.0], [4.0]]]]))
    assert values.grad is not None and values.grad.flatten().tolist() == [2, 2, 3]


@pytest.mark.usefixtures("on_gpu")
def test_embedding_and_its_gradient() -> None:
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 4, 4], [2, 4, 0]], dtype=torch.int32)
    output = look_up(table, index)
    assert torch.equal(output, table[index.long()])
    upstream = torch.randn_like(output)
    (found,) = torch.autograd.grad(output, table, upstream)
    torch.testing.assert_close(
        found, torch.zeros_like(table).index_add(0, index.flatten().long(), upstream.flatten(0, 1))
    )


def test_operators_are_what_they_are_registered_as() -> None:
    """Shapes and types for torch's compiler."""
    torch.library.opcheck(gather.first_places, (drawn(4), 9))
    index = torch.tensor([[0, 4], [2, 4]])
    torch.library.opcheck(gather.embedding_backward, (torch.randn(2, 2, 3), index, 5))
