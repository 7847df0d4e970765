"""The example of docs/your-own-attention.md keeps the contract and is the paper's formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lra.attention import build
from lra.attention.checking import CHECKS, Check, inputs, maker, masks

PATH = f"{Path(__file__).parents[2] / 'examples' / 'linear_transformer.py'}:LinearTransformer"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_contract(check: Check) -> None:
    check(maker(PATH))


def attend_to_each_key(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The formula before any sum is moved: all weights phi(q_i) . phi(k_j), normalised row by row."""

    def phi(x: Tensor) -> Tensor:
        return torch.where(x > 0, x + 1, x.exp())

    weight = torch.einsum("bhip,bhjp->bhij", phi(query), phi(key)) * mask[:, None, None, :]
    return torch.einsum("bhij,bhjp->bhip", weight / weight.sum(-1, keepdim=True), value)


@pytest.mark.parametrize("length", [1, 2, 63, 130])
@pytest.mark.parametrize("kind", ["full", "prefix", "holes"])
def test_outputs_and_gradients(length: int, kind: str) -> None:
    mask = masks(length)[kind]
    ours = [tensor.double().requires_grad_() for tensor in inputs(length)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    module = build(PATH, heads=2, head_dim=8, max_length=length)
    real = mask[:, None, :, None]
    output, expected = module(*ours, mask) * real, attend_to_each_key(*theirs, mask) * real
    torch.testing.assert_close(output, expected)
    weight = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(1))
    (output * weight).sum().backward()
    (expected * weight).sum().backward()
    for tensor, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tensor.grad, other.grad)
