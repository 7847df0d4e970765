"""Local, Longformer and the sparse transformer against exact attention with the pattern's dense mask."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attention.padded import random_inputs
from lra.attention import build, exact, local

LENGTHS = [1, 2, 7, 16, 37, 64]


def dense(tensors: list[Tensor], seen: Tensor) -> Tensor:
    """Exact attention to the keys that ``seen`` (batch, heads, length, length) lists; 0 where there is none."""
    return torch.nan_to_num(scaled_dot_product_attention(*tensors, attn_mask=seen))


def assert_same(name: str, tensors: list[Tensor], mask: Tensor, seen: Tensor, **options: Any) -> None:
    """Outputs and gradients at real tokens are those of exact attention with the dense mask."""
    heads, length = tensors[0].shape[1:3]
    attention = build(name, heads=heads, head_dim=5, max_length=length, **options).double()
    weight = mask[:, None, :, None] * torch.linspace(-1, 1, 5, dtype=torch.float64)
    results = []
    for function in (
        lambda *given: attention(*given, mask),
        lambda *given: dense(list(given), seen & mask[:, None, None]),
    ):
        given = [tensor.clone().requires_grad_() for tensor in tensors]
        output = function(*given) * weight
        results.append([output, *torch.autograd.grad(output.sum(), given)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-10, rtol=1e-8)


def distance(length: int) -> Tensor:
    position = torch.arange(length)
    return (position[:, None] - position).abs()


@pytest.mark.parametrize("window", [1, 4, 5, 100])
@pytest.mark.parametrize("length", LENGTHS)
def test_blocks(length: int, window: int) -> None:
    tensors, mask = random_inputs(length)
    block = torch.arange(length) // window
    assert_same("local", tensors, mask, block[:, None] == block, window=window)


@pytest.mark.parametrize("window", [2, 4, 9, 100])
@pytest.mark.parametrize("length", LENGTHS)
def test_sliding_window(length: int, window: int) -> None:
    tensors, mask = random_inputs(length)
    assert_same("local", tensors, mask, distance(length) <= window // 2, window=window, sliding=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [("local", {"sliding": True}), ("longformer", {}), ("sparse", {"block_size": 8, "summary": 2, "heads": 1})],
)
def test_no_call_of_a_kernel_has_more_rows_than_a_card_takes(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks times sequences times heads, in pieces."""
    monkeypatch.setattr(exact, "MOST_ROWS", 4)
    called: list[int] = []

    def kernel(query: Tensor, *others: Tensor, **more: Any) -> Tensor:
        called.append(query.shape[0] * query.shape[1])
        return scaled_dot_product_attention(query, *others, **more)

    monkeypatch.setattr(local, "scaled_dot_product_attention", kernel)
    tensors, mask = random_inputs(37)
    sizes = {"heads": 2, "head_dim": 5, "max_length": 37} | ({} if name == "sparse" else {"window": 8}) | options
    build(name, **sizes)(*(tensor[:, : sizes["heads"]].float() for tensor in tensors), mask)
    assert len(called) > 3 and max(called) <= 4


@pytest.mark.parametrize("global_tokens", [1, 3])
@pytest.mark.parametrize("window", [2, 6, 100])
@pytest.mark.parametrize("length", LENGTHS)
def test_longformer(length: int, window: int, global_tokens: int) -> None:
    tensors, mask = random_inputs(length)
    is_global = mask & (mask.cumsum(-1) <= global_tokens)  # (batch, length): the first real tokens
    seen = (distance(length) <= window // 2) | is_global[:, None, :] | is_global[:, :, None]
    assert_same("longformer", tensors, mask, seen[:, None], window=window, global_tokens=global_tokens)


@pytest.mark.parametrize(("block_size", "summary"), [(4, 1), (8, 3), (5, 5), (100, 7)])
@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("length", LENGTHS)
def test_sparse(length: int, heads: int, block_size: int, summary: int) -> None:
    tensors, mask = random_inputs(length, heads)
    position = torch.arange(length)
    within = position[:, None] // block_size == position // block_size
    summaries = (position % block_size >= block_size - summary).expand(length, length)
    has_summary = (mask & summaries[0]).any(-1)[:, None, None]  # (batch, 1, 1)
    second = torch.where(has_summary, summaries, within)
    if heads == 1:
        seen = (within | summaries).expand(3, 1, -1, -1)
    else:
        kinds = [within.expand(3, -1, -1)] * (heads - heads // 2) + [second] * (heads // 2)
        seen = torch.stack(kinds, dim=1)
    assert_same("sparse", tensors, mask, seen, block_size=block_size, summary=summary)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("local", {"window": 0}, "window must be at least 1, not 0"),
        ("local", {"window": 1, "sliding": True}, "window must be at least 2, not 1"),
        ("longformer", {"window": 1}, "window must be at least 2, not 1"),
        ("longformer", {"global_tokens": 0}, "global_tokens must be at least 1, not 0"),
        ("sparse", {"summary": 0}, "summary must be between 1 and block_size"),
        ("sparse", {"block_size": 8, "summary": 9}, "summary must be between 1 and block_size"),
    ],
)
def test_options_that_make_no_sense(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(name, heads=1, head_dim=2, max_length=8, **options)
