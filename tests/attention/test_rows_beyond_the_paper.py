"""Linear, cosFormer, Synthesizer, Luna, FNet, Skyformer, H-Transformer-1D, retention and S4D against plain formulas.

The references are loops and dense matrices in float64, one sequence at a time, without padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attention.padded import random_inputs
from lra.attention import Attention, build

LENGTHS = [1, 2, 7, 33, 64]
HEAD_DIM = 5
Reference = Callable[[Attention, Tensor, Tensor, Tensor], Tensor]
"""Of one sequence without padding: (heads, tokens, head_dim) each, to the same."""


def linear(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    def features(x: Tensor) -> Tensor:
        return torch.where(x > 0, x + 1, x.exp())

    weights = features(query) @ features(key).transpose(-1, -2)
    return weights / weights.sum(-1, keepdim=True) @ value


def cosformer(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    count = query.shape[1]
    i, j = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    weights = query.relu() @ key.relu().transpose(-1, -2) * torch.cos(math.pi / 2 * (i - j) / count)
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-6 * count) @ value


def synthesizer(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    count = query.shape[1]
    if attention.kind == "random":
        logits = attention.logits
    elif attention.kind == "factorized":
        logits = torch.einsum("hik,hjk->hij", attention.left, attention.right)
    else:
        logits = torch.relu(torch.einsum("hid,hde->hie", query, attention.inner)) @ attention.outer
    return logits[:, :count, :count].softmax(-1) @ value


def luna(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scale = 1 / math.sqrt(HEAD_DIM)
    packed = (attention.extra @ key.transpose(-1, -2) * scale).softmax(-1) @ value
    return (query @ packed.transpose(-1, -2) * scale).softmax(-1) @ packed


def fnet(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads, count, _ = value.shape
    longest, hidden = attention.max_length, heads * HEAD_DIM
    tokens = value.transpose(0, 1).reshape(count, hidden)
    n, h = torch.arange(longest, dtype=torch.float64), torch.arange(hidden, dtype=torch.float64)
    over_length = torch.exp(-2j * math.pi * torch.outer(n, n) / longest)[:count, :count]
    over_hidden = torch.exp(-2j * math.pi * torch.outer(h, h) / hidden)
    mixed = (over_length @ tokens.to(torch.complex128) @ over_hidden).real / math.sqrt(longest * hidden)
    return mixed.reshape(count, heads, HEAD_DIM).transpose(0, 1)


def retention(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    heads, count, _ = value.shape
    output = torch.zeros_like(value)
    for h in range(heads):
        gamma = 1 - 2.0 ** (-5 - h)
        for i in range(count):
            weights = torch.stack(
                [query[h, i] @ key[h, j] / math.sqrt(HEAD_DIM) * gamma ** abs(i - j) for j in range(count)]
            )
            output[h, i] = weights / weights.sum().abs().clamp(min=1) @ value[h]
    return output


def s4d(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The recurrence x_t = exp(dt A) x_{t-1} + (exp(dt A) - 1) / A v_t, step by step, in both directions."""
    heads, count, _ = value.shape
    tokens = value.transpose(0, 1).reshape(count, heads * HEAD_DIM)
    step = attention.log_step.exp()[:, None]
    rate = torch.complex(-attention.log_decay.exp(), attention.frequency)
    output = torch.zeros_like(tokens) + attention.skip * tokens
    for direction in range(2):
        state = torch.zeros_like(rate)
        order = range(count) if direction == 0 else range(count - 1, -1, -1)
        read = torch.view_as_complex(attention.output[direction])
        before = torch.zeros_like(state)
        for t in order:
            before = state = torch.exp(rate * step) * before + (torch.exp(rate * step) - 1) / rate * tokens[t, :, None]
            found = 2 * (read * state).sum(-1).real
            if direction == 1:  # its own token counts once, in the forward direction
                found = found - 2 * (read * (torch.exp(rate * step) - 1) / rate).sum(-1).real * tokens[t]
            output[t] += found
    return output.reshape(count, heads, HEAD_DIM).transpose(0, 1)


CASES: list[tuple[str, dict[str, Any], Reference]] = [
    ("linear", {}, linear),
    ("cosformer", {}, cosformer),
    ("synthesizer", {"kind": "random"}, synthesizer),
    ("synthesizer", {"kind": "factorized", "rank": 3}, synthesizer),
    ("synthesizer", {"kind": "dense"}, synthesizer),
    ("luna", {"extra_length": 6}, luna),
    ("fnet", {}, fnet),
    ("retention", {}, retention),
    ("s4d", {"state": 4}, s4d),
]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("name", "options", "reference"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_formula(name: str, options: dict[str, Any], reference: Reference, length: int) -> None:
    """Outputs and gradients of each sequence's real tokens, with padding in the batch."""
    torch.manual_seed(0)
    tensors, mask = random_inputs(length)
    mask[2] = mask[2].sort(descending=True).values  # learned positions and time count from the first token
    attention = build(name, heads=2, head_dim=HEAD_DIM, max_length=length + 3, **options)
    exact = attention.double()
    given = [tensor.float().requires_grad_() for tensor in tensors]
    output = build_float(attention)(*given, mask)
    for row in range(3):
        count = int(mask[row].sum())
        alone = [tensor[row, :, :count].clone().requires_grad_() for tensor in tensors]
        expected = reference(exact, *alone)
        torch.testing.assert_close(output[row, :, :count].double(), expected, atol=3e-4, rtol=3e-4)
        weight = torch.linspace(-1, 1, HEAD_DIM)
        gradients = torch.autograd.grad(
            (output[row, :, :count] * weight).sum(), given, retain_graph=True, allow_unused=True
        )
        wanted = torch.autograd.grad((expected * weight).sum(), alone, allow_unused=True)
        for actual, one in zip(gradients, wanted, strict=True):
            if one is None:
                assert actual is None or not actual.any()
            else:
                assert actual is not None
                torch.testing.assert_close(actual[row, :, :count].double(), one, atol=1e-3, rtol=1e-3)


def build_float(attention: Attention) -> Attention:
    """A copy in float32, as models have it."""
    import copy

    return copy.deepcopy(attention).float()


def test_skyformer_with_all_landmarks_is_the_gaussian_kernel() -> None:
    torch.manual_seed(0)
    tensors, mask = random_inputs(12)
    query, key, value = (tensor.float() for tensor in tensors)
    attention = build("skyformer", heads=2, head_dim=5, max_length=12, features=24, gamma=1e-6, iterations=25).eval()
    squares = (query[:, :, :, None] - key[:, :, None]).square().sum(-1)
    kernel = (-squares / (2 * math.sqrt(5))).exp() * mask[:, None, None]
    difference = (attention(query, key, value, mask) - kernel @ value) * mask[:, None, :, None]
    assert difference.abs().max() < 0.02


def test_skyformer_improves_with_landmarks() -> None:
    """The error against the kernel falls as landmarks are added: the approximation is one of that kernel."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 64, 5) * 0.7
    mask = torch.ones(1, 64, dtype=torch.bool)
    kernel = (-(query[:, :, :, None] - key[:, :, None]).square().sum(-1) / (2 * math.sqrt(5))).exp()
    errors = []
    for features in (4, 16, 64):
        attention = build("skyformer", heads=2, head_dim=5, max_length=64, features=features, iterations=12).eval()
        errors.append(float((attention(query, key, value, mask) - kernel @ value).norm()))
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]


def hierarchical(query: Tensor, key: Tensor, value: Tensor, size: int) -> Tensor:
    """Of one head (tokens, head_dim) and a power of two of blocks: the logit of each pair, by the paper's recursion."""
    count = len(query)
    logits = torch.full((count, count), math.nan, dtype=query.dtype)
    level, group = 0, 1
    while torch.isnan(logits).any():
        q, k = (x.reshape(-1, group, x.shape[-1]).mean(1) for x in (query, key))
        for i in range(count):
            for j in range(count):
                block, other = i // group // size, j // group // size
                if torch.isnan(logits[i, j]) and abs(block - other) <= 1:
                    logits[i, j] = q[i // group] @ k[j // group] / math.sqrt(query.shape[-1])
        level, group = level + 1, group * 2
    return logits.softmax(-1) @ value


@pytest.mark.parametrize(("length", "size"), [(4, 4), (8, 2), (16, 2), (32, 4), (64, 2)])
def test_hierarchical(length: int, size: int) -> None:
    tensors, _ = random_inputs(length)
    mask = torch.ones(3, length, dtype=torch.bool)
    given = [tensor.float() for tensor in tensors]
    output = build("hierarchical", heads=2, head_dim=5, max_length=length, block_size=size)(*given, mask)
    for row in range(3):
        for head in range(2):
            expected = hierarchical(*(tensor[row, head] for tensor in tensors), size)
            torch.testing.assert_close(output[row, head].double(), expected, atol=1e-5, rtol=1e-5)


def test_hierarchical_counts_every_real_key_once() -> None:
    """With equal logits the output is the mean of the real values, whatever the length and the holes."""
    tensors, mask = random_inputs(37)
    query, key, value = (tensor.float() for tensor in tensors)
    attention = build("hierarchical", heads=2, head_dim=5, max_length=64, block_size=4)
    mean = (value * mask[:, None, :, None]).sum(2, keepdim=True) / mask.sum(-1)[:, None, None, None]
    torch.testing.assert_close(attention(0 * query, key, value, mask), mean.expand_as(value))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("synthesizer", {"kind": "sparse"}, "kind must be random, factorized or dense"),
        ("synthesizer", {"rank": 0}, "rank must be at least 1, not 0"),
        ("luna", {"extra_length": 0}, "extra_length must be at least 1, not 0"),
        ("s4d", {"state": 0}, "state must be at least 1, not 0"),
        ("skyformer", {"iterations": 0}, "iterations must be at least 1, not 0"),
        ("skyformer", {"gamma": 0.0}, "gamma must be positive, not 0.0"),
        ("hierarchical", {"block_size": 3}, "block_size must be an even number of at least 2, not 3"),
    ],
)
def test_options_that_make_no_sense(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build(name, heads=1, head_dim=2, max_length=8, **options)
