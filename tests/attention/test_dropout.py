from __future__ import annotations

import pytest
import torch
from torch import nn

from lra.attention.dropout import Dropout, draw_kept


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.9])
def test_how_much_is_dropped(dropout: float) -> None:
    """The right share in each quarter of a random number, independently: within five standard errors."""
    torch.manual_seed(0)
    kept = draw_kept(torch.Size((999, 4, 250)), dropout, torch.float64)
    assert kept.shape == (999, 4, 250) and set(kept.unique().tolist()) <= {0.0, 1.0}
    rows = 1 - kept.view(-1, 4)
    error = 5 * (dropout * (1 - dropout) / len(rows)) ** 0.5 + 2**-16
    assert ((rows.mean(0) - dropout).abs() <= error).all()
    together = rows.T @ rows / len(rows)
    assert ((together - dropout**2).triu(1).abs() <= 2 * error).where(torch.ones(4, 4).triu(1) > 0, True).all()


@pytest.mark.parametrize("dropout", [1 - 2**-16, 1 - 2**-17, 1 - 1e-9])
def test_nearly_everything_is_dropped(dropout: float) -> None:
    assert draw_kept(torch.Size((1000, 1000)), dropout, torch.float32).mean() < 1e-4


def test_an_odd_number() -> None:
    assert [draw_kept(torch.Size((3, n)), 0.5, torch.float32).shape for n in (1, 2, 3)] == [(3, 1), (3, 2), (3, 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_a_module(dtype: torch.dtype) -> None:
    """What is kept is scaled, as are its gradients; what is dropped is zero, as are its gradients."""
    torch.manual_seed(0)
    x = torch.rand(7, 50, dtype=dtype).add(1).requires_grad_()
    y = Dropout(0.2).train()(x)
    kept = y != 0
    assert y.dtype == dtype and 0 < kept.sum() < kept.numel()
    torch.testing.assert_close(y, torch.where(kept, x / 0.8, 0.0))
    (gradient,) = torch.autograd.grad(y, x, torch.ones_like(y))
    torch.testing.assert_close(gradient, torch.where(kept, torch.tensor(1 / 0.8, dtype=dtype), 0.0))


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_torch_where_there_is_nothing_to_draw(dropout: float) -> None:
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(dropout).eval()(x), x)
    if dropout != 0.5:
        assert torch.equal(Dropout(dropout).train()(x), nn.Dropout(dropout).train()(x))


def test_a_seed_decides() -> None:
    x, dropout = torch.randn(3, 5), Dropout(0.5).train()
    once, again = (dropout(x) for _ in range(2) if torch.manual_seed(1))
    assert torch.equal(once, again)


def test_under_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws from a function that can be traced, the same share."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.manual_seed(0)
    assert draw_kept(torch.Size((1000, 999)), 0.25, torch.float32).mean().sub(0.75).abs() < 0.005
