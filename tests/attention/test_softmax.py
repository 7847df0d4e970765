from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lra.attention import exact as module
from lra.attention.checking import inputs, masks
from lra.attention.dropout import draw_kept
from lra.attention.softmax import Softmax


def explicit(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, kept: Tensor, dropout: float) -> Tensor:
    """Dropout of attention weights as everyone writes it, in whole matrices."""
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
    return (weights * kept / (1 - dropout)) @ value


@pytest.mark.parametrize("kind", ["full", "prefix", "holes", "single"])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 100])
def test_dropping_weights(monkeypatch: pytest.MonkeyPatch, length: int, kind: str) -> None:
    """Block by block, and again in the backward pass, it is the function of whole matrices with the same zeros."""
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", 32 * 3 * 2 * length)  # 32 queries of 3 sequences and 2 heads
    mask = masks(length)[kind]
    drawn = []
    monkeypatch.setattr(module, "draw_kept", lambda *given: drawn.append(draw_kept(*given)) or drawn[-1])
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
    everything = torch.ones(3, 2, 65, 65)
    torch.testing.assert_close(attention(*tensors, mask), explicit(*tensors, mask, everything, 0.0))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5])
def test_no_share(dropout: float) -> None:
    with pytest.raises(ValueError, match=f"dropout must be at least 0 and less than 1, not {dropout}"):
        Softmax(heads=2, head_dim=8, max_length=8, dropout=dropout)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["autocast", "converted"])
def test_no_real_token_in_half_precision(dtype: torch.dtype, how: str) -> None:
    """Output and gradients stay finite where weights are dropped, with logits of -300 too."""
    query = torch.full((2, 2, 8, 8), 10.3)
    tensors = [query, -query, torch.ones_like(query)]
    if how == "converted":
        tensors = [tensor.to(dtype) for tensor in tensors]
    tensors = [tensor.requires_grad_() for tensor in tensors]
    mask = torch.tensor([[True] * 5 + [False] * 3, [False] * 8])
    with torch.autocast("cpu", dtype=dtype, enabled=how == "autocast"):
        output = Softmax(heads=2, head_dim=8, max_length=8, dropout=0.3).train()(*tensors, mask)
    assert output.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(output.sum(), tensors))
