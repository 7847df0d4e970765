from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lra.attention import softmax as module
from lra.attention.checking import inputs, masks
from lra.attention.softmax import Softmax, draw_dropped


def explicit(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, dropped: Tensor, dropout: float) -> Tensor:
    """Dropout of attention weights as everyone writes it, in whole matrices."""
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    return (weights * ~dropped / (1 - dropout)) @ value


@pytest.mark.parametrize("kind", ["full", "prefix", "holes", "single"])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_dropping_weights(monkeypatch: pytest.MonkeyPatch, length: int, kind: str) -> None:
    """Block by block, and again in the backward pass, it is the function of whole matrices with the same zeros."""
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", 32 * 3 * 2 * length)  # 32 queries of 3 sequences and 2 heads
    mask = masks(length)[kind]
    drawn = []
    monkeypatch.setattr(module, "draw_dropped", lambda *given: drawn.append(draw_dropped(*given)) or drawn[-1])
    tensors = [tensor.requires_grad_() for tensor in inputs(length)]
    gradient = torch.randn_like(tensors[0]) * mask[:, None, :, None]
    output = Softmax(heads=2, head_dim=8, max_length=length, dropout=0.3).train()(*tensors, mask)
    blocks = len(drawn)
    found = torch.autograd.grad(output, tensors, gradient)
    assert blocks == -(-length // 32) and len(drawn) == (2 * blocks if blocks > 1 else 1)

    expected = explicit(*tensors, mask, torch.cat(drawn[:blocks], 2), 0.3)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(found, torch.autograd.grad(expected, tensors, gradient), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_evaluation_drops_nothing() -> None:
    tensors, mask = inputs(65), masks(65)["holes"]
    attention = Softmax(heads=2, head_dim=8, max_length=65, dropout=0.9).eval()
    nothing = torch.zeros(3, 2, 65, 65, dtype=torch.bool)
    torch.testing.assert_close(attention(*tensors, mask), explicit(*tensors, mask, nothing, 0.0))


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.9])
def test_how_much_is_dropped(dropout: float) -> None:
    """The right share in each quarter of a random number, independently: within five standard errors."""
    torch.manual_seed(0)
    dropped = draw_dropped(torch.Size((999, 4, 250)), dropout)
    assert dropped.shape == (999, 4, 250)
    rows = dropped.view(-1, 4).double()
    error = 5 * (dropout * (1 - dropout) / len(rows)) ** 0.5 + 2**-16
    assert ((rows.mean(0) - dropout).abs() <= error).all()
    together = rows.T @ rows / len(rows)
    assert ((together - dropout**2).triu(1).abs() <= 2 * error).where(torch.ones(4, 4).triu(1) > 0, True).all()


def test_an_odd_number_of_weights() -> None:
    assert [draw_dropped(torch.Size((3, n)), 0.5).shape for n in (1, 2, 3)] == [(3, 1), (3, 2), (3, 3)]
