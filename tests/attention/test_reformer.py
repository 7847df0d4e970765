"""Reformer against recorded vectors, a naive reference and exact attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import pad
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiles_for_two_lengths
from attention.references.reformer import reformer
from lra.attention import build
from lra.attention.reformer import Reformer

MAX_LENGTH = 300
CHUNK = 16


def make(**options: Any) -> Reformer:
    size = {"heads": 2, "head_dim": 8, "max_length": MAX_LENGTH, "chunk_length": CHUNK}
    attention = build("reformer", **{**size, **options})
    assert isinstance(attention, Reformer)
    return attention


def inputs(length: int, batch: int = 4, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query, key, value and a mask: a full row, a prefix, one with holes, one with a single token."""
    torch.manual_seed(length)
    tensors = [torch.randn(batch, 2, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[1:2, length * 2 // 3 + 1 :] = False
    mask[2:3] = torch.rand(length) < 0.6
    mask[3:] = torch.arange(length) == length // 2
    mask[:, length // 2] = True
    return [*tensors, mask]


@pytest.mark.parametrize("case", golden.cases("reformer"))
def test_equals_recorded(case: str) -> None:
    record = golden.load("reformer", case)
    _, heads, length, head_dim = record.shape
    chunk = int(record.draws["chunk_length"])
    attention = make(heads=heads, head_dim=head_dim, max_length=length, chunk_length=chunk, released=True)
    golden.assert_equal(attention, record, record.draws)
    drawn = attention.draw(record.arrays["q"], record.arrays["q"], record.arrays["v"], record.mask)
    assert [tensor.shape for tensor in drawn.values()] == [record.draws[name].shape for name in drawn]
    if drawn:
        buckets = attention.hash(record.arrays["q"], record.mask, record.draws["rotations"])
        offset = torch.arange(2)[:, None] * (record.draws["num_buckets"] + (not record.mask.all()))
        assert torch.equal(buckets + offset, record.draws["buckets"])


@pytest.mark.parametrize("num_hashes", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 16, 17, 63, 64, 65, 257])
def test_equals_reference(length: int, num_hashes: int) -> None:
    attention = make(num_hashes=num_hashes)
    query, key, value, mask = inputs(length)
    upstream = torch.randn_like(query) * mask[:, None, :, None]
    draws = attention.draw(query, key, value, mask, Generator().manual_seed(1))
    wanted = reformer(query, value, mask, draws.get("rotations"), CHUNK)
    output = attention(query, key, value, mask, draws)
    torch.testing.assert_close(output * mask[:, None, :, None], wanted)
    torch.testing.assert_close(
        torch.autograd.grad(output, [query, value], upstream), torch.autograd.grad(wanted, [query, value], upstream)
    )


def test_key_plays_no_part() -> None:
    attention = make().eval()
    query, key, value, mask = inputs(65)
    assert not attention.uses_key
    assert torch.equal(attention(query, key, value, mask), attention(query, key * 0, value, mask))


@pytest.mark.parametrize("length", [13, 16, 17, 65, 200])
def test_neighbours_and_padding_do_not_matter(length: int) -> None:
    attention = make().eval()
    *tensors, mask = inputs(MAX_LENGTH)
    mask[0, length:] = False
    alone = attention(*(tensor[:1, :, :length] for tensor in tensors), mask[:1, :length])
    dirty = [tensor.masked_fill(~mask[:, None, :, None], 1e4) for tensor in tensors]
    torch.testing.assert_close(attention(*dirty, mask)[:1, :, :length], alone)


def test_padding_between_tokens_does_not_matter() -> None:
    attention = make().eval()
    *tensors, mask = inputs(64)
    spread = [pad(tensor[..., None, :], (0, 0, 0, 3), value=9.0).flatten(2, 3) for tensor in tensors]
    holes = pad(mask[..., None], (0, 3)).flatten(1, 2)
    torch.testing.assert_close(attention(*spread, holes)[:, :, ::4][0], attention(*tensors, mask)[0])


@pytest.mark.parametrize("length", [2, 16])
def test_one_chunk_is_attention_to_all_others(length: int) -> None:
    query, _, value, _ = inputs(length)
    mask = torch.ones(4, length, dtype=torch.bool)
    logits = query @ torch.nn.functional.normalize(query, dim=-1).transpose(-1, -2)
    wanted = logits.masked_fill(torch.eye(length, dtype=torch.bool), -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(make()(query, query, value, mask), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("real", [0, 1, 20])
@pytest.mark.parametrize("length", [1, 16, 33, 130])
def test_finite_at_large_logits_and_few_tokens(length: int, real: int, dtype: torch.dtype, released: bool) -> None:
    query, key, value, mask = inputs(length, dtype=dtype)
    mask[:] = torch.arange(length) < real
    output = make(released=released)(200 * query, key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, value.grad))


def test_autocast_hashes_alike() -> None:
    attention, arguments = make().eval(), inputs(257, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output.float(), attention(*arguments), atol=0.05, rtol=0.05)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(("released", "backend"), [(False, "aot_eager"), (True, "eager")])
def test_compiles_in_one_graph(released: bool, backend: str) -> None:
    compiles_for_two_lengths(make(released=released), lambda length, dtype: inputs(length, dtype=dtype), backend)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("length", [3, 11])
def test_gradients_by_finite_differences(length: int, released: bool) -> None:
    """With a row that is all padding, too."""
    attention = make(chunk_length=4, released=released).double().eval()
    query, key, value, mask = inputs(length)
    mask[3] = False
    real = mask[:, None, :, None]
    assert torch.autograd.gradcheck(lambda q, v: attention(q, key, v, mask) * real, (query, value), fast_mode=True)


def test_hashing_makes_it_quadratic() -> None:
    """Its cost a token grows with the length, unlike that of every method that says it is linear."""
    attention = make(max_length=1 << 16, chunk_length=64)
    assert not attention.linear
    assert attention.multiply_adds(1 << 16) > 12 * attention.multiply_adds(1 << 13)


def test_rotations_are_fresh_in_training_and_fixed_in_evaluation() -> None:
    attention, arguments = make(), inputs(65)
    first, second = (attention.draw(*arguments)["rotations"] for _ in range(2))
    assert not torch.equal(first, second)
    attention.eval()
    assert torch.equal(attention(*arguments), attention(*arguments))
    longer = attention.draw(*inputs(257))["rotations"]
    assert torch.equal(attention.draw(*arguments)["rotations"], longer[..., :5])


@pytest.mark.parametrize("length", [16, 256])
def test_counts_its_flops(length: int) -> None:
    attention = make()
    with FlopCounterMode(display=False) as counter:
        attention(*inputs(length, batch=1))
    assert counter.get_total_flops() / 2 / attention.heads == attention.multiply_adds(length)


@pytest.mark.parametrize("option", ["num_hashes", "chunk_length"])
def test_rejects_option(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        make(**{option: 0})
