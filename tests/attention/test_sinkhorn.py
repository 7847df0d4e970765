"""Sparse Sinkhorn Attention against loops over blocks, with the normalisations outside log space."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from attention.padded import random_inputs
from lra.attention import build
from lra.attention.checking import inputs, maker, masks

LENGTHS = [1, 2, 7, 16, 37]


def soft_permutation(attention: Any, query: Tensor, real: Tensor, noise: Tensor, head: int) -> Tensor:
    """S of one head (blocks, blocks), 0 at blocks without a real token; query is (length, p), real (length)."""
    size = attention.block_size
    filled = [i for i in range(len(noise)) if real[i * size : (i + 1) * size].any()]
    matrix = torch.zeros_like(noise)
    for i in filled:
        tokens = query[i * size : (i + 1) * size][real[i * size : (i + 1) * size]]
        logits = torch.relu(tokens.mean(0) @ attention.inner[head]) @ attention.outer[head]
        for j in filled:
            gumbel = -math.log(-math.log(max(float(noise[i, j]), 2**-25)))
            matrix[i, j] = torch.exp((logits[j] + gumbel) / attention.temperature)
    inside = matrix[filled][:, filled]
    for _ in range(attention.iterations):
        inside = inside / inside.sum(1, keepdim=True)
        inside = inside / inside.sum(0, keepdim=True)
    rows = torch.tensor(filled)
    return matrix.index_put((rows[:, None], rows), inside)


def reference(attention: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    size, output = attention.block_size, torch.zeros_like(value)
    batch, heads, length, head_dim = value.shape
    for row in range(batch):
        for head in range(heads):
            order = soft_permutation(attention, query[row, head], mask[row], noise[row, head].double(), head)
            for i in range(length):
                if not mask[row, i]:
                    continue
                block = i // size
                logits, values = [], []
                for j in range(block * size, min(length, (block + 1) * size)):
                    if mask[row, j]:
                        logits.append(query[row, head, i] @ key[row, head, j] / math.sqrt(head_dim))
                        values.append(value[row, head, j])
                for place in range(size):
                    tokens = [j for j in range(place, length, size) if mask[row, j]]
                    if not tokens:
                        continue
                    weights = torch.stack([order[block, j // size] for j in tokens])
                    share = weights.sum()
                    mixed_key = weights @ key[row, head, tokens] / share
                    logits.append(query[row, head, i] @ mixed_key / math.sqrt(head_dim) + share.log())
                    values.append(weights @ value[row, head, tokens] / share)
                output[row, head, i] = torch.stack(logits).softmax(0) @ torch.stack(values)
    return output


@pytest.mark.parametrize("options", [{"block_size": 4}, {"block_size": 7, "iterations": 2, "temperature": 1.5}])
@pytest.mark.parametrize("length", LENGTHS)
def test_formula(length: int, options: dict[str, Any]) -> None:
    """Outputs and gradients, those of the sorting network too, in float64 and with padding and holes."""
    torch.manual_seed(0)
    tensors, mask = random_inputs(length)
    attention = build("sinkhorn", heads=2, head_dim=5, max_length=length + 9, **options).double()
    noise = attention.draw(*tensors, mask)
    weight = mask[:, None, :, None] * torch.linspace(-1, 1, 5, dtype=torch.float64)
    results = []
    for output_of in (
        lambda given: attention(*given, mask, noise),
        lambda given: reference(attention, *given, mask, noise["order"]),
    ):
        given = [tensor.clone().requires_grad_() for tensor in tensors]
        output = output_of(given) * weight
        results.append([output, *torch.autograd.grad(output.sum(), [*given, attention.inner, attention.outer])])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, atol=1e-9, rtol=1e-6)


def test_a_hard_permutation_moves_whole_blocks() -> None:
    """Where noise decides the order, each query sees exactly the real tokens of its own block and of another one."""
    query, key, value = inputs(30)
    mask = torch.arange(30).expand(3, 30) < torch.tensor([[30], [29], [25]])
    attention = maker("sinkhorn", block_size=8, temperature=0.1)(30)
    target = torch.tensor([2, 0, 3, 1])
    noise = torch.full((3, 2, 4, 4), 0.1)
    noise[:, :, torch.arange(4), target] = 1 - 2**-24
    output = attention(query, key, value, mask, {"order": noise})
    block = torch.arange(30) // 8
    own = block[:, None] == block
    other = target[block][:, None] == block
    for row in range(3):
        listed = torch.cat([own & mask[row], other & mask[row]], dim=1)  # (length, 2 length)
        keys, values = (torch.cat([tensor[row], tensor[row]], dim=1) for tensor in (key, value))
        expected = scaled_dot_product_attention(query[row], keys, values, attn_mask=listed)
        torch.testing.assert_close(output[row][:, mask[row]], expected[:, mask[row]], atol=1e-4, rtol=1e-4)


def test_its_gradients_by_finite_differences() -> None:
    torch.manual_seed(0)
    tensors, mask = random_inputs(3)
    attention = build("sinkhorn", heads=2, head_dim=5, max_length=3, block_size=2).double()
    noise = attention.draw(*tensors, mask)
    real = mask[:, None, :, None]
    leaves = [tensor.requires_grad_() for tensor in tensors]
    assert torch.autograd.gradcheck(lambda *given: attention(*given, mask, noise) * real, leaves, fast_mode=True)


def test_the_noise_of_longer_and_shorter_sequences_is_the_same() -> None:
    attention = maker("sinkhorn", block_size=8)(64).eval()
    long, short = (attention.draw(*inputs(n), masks(n)["full"])["order"] for n in (64, 20))
    assert torch.equal(long[:, :, :3, :3], short)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block_size": 0}, "block_size must be at least 1, not 0"),
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"temperature": 0.0}, "temperature must be positive, not 0.0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build("sinkhorn", heads=1, head_dim=2, max_length=8, **options)
