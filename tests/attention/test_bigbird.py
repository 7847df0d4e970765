"""BigBird against recorded vectors, a naive reference and exact attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiled
from attention.references.bigbird import bigbird, listed_blocks
from lra.attention import build, gather
from lra.attention.bigbird import BigBird, copy_blocks, list_blocks, seen_blocks
from lra.attention.gather import take

MAX_LENGTH = 300
BLOCK = 16


def make(**options: Any) -> BigBird:
    size = {"heads": 2, "head_dim": 8, "max_length": MAX_LENGTH, "block_size": BLOCK}
    attention = build("bigbird", **{**size, **options})
    assert isinstance(attention, BigBird)
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


@pytest.mark.parametrize("case", golden.cases("bigbird"))
def test_equals_recorded(case: str) -> None:
    record = golden.load("bigbird", case)
    _, heads, length, head_dim = record.shape
    block = int(record.draws["block"])
    attention = make(heads=heads, head_dim=head_dim, max_length=length, block_size=block, released=True)
    golden.assert_equal(attention, record, record.draws)
    drawn = attention.draw(*(record.arrays[name] for name in "qkv"), record.mask)["rand_blocks"]
    assert drawn.shape[1:] == record.draws["rand_blocks"].shape


@pytest.mark.parametrize("num_random_blocks", [0, 3])
@pytest.mark.parametrize("length", [1, 2, 16, 17, 63, 64, 65, 113, 257])
def test_equals_reference(length: int, num_random_blocks: int) -> None:
    attention = make(num_random_blocks=num_random_blocks)
    query, key, value, mask = inputs(length)
    upstream = torch.randn_like(query) * mask[:, None, :, None]
    draws = attention.draw(query, key, value, mask, Generator().manual_seed(1))
    everything = torch.arange(attention.count_blocks(length)).expand(4, 2, attention.count_blocks(length), -1)
    wanted = bigbird(query, key, value, mask, draws.get("rand_blocks", everything), BLOCK)
    output = attention(query, key, value, mask, draws)
    torch.testing.assert_close(output * mask[:, None, :, None], wanted)
    tensors = [query, key, value]
    torch.testing.assert_close(
        torch.autograd.grad(output, tensors, upstream), torch.autograd.grad(wanted, tensors, upstream)
    )


def test_random_blocks_are_distinct_and_not_listed_already() -> None:
    attention = make()
    *tensors, mask = inputs(MAX_LENGTH)
    rand_blocks = attention.draw(*tensors, mask)["rand_blocks"]
    for b, real in enumerate(mask):
        last = int(real.nonzero().max()) // BLOCK
        for plan in rand_blocks[b]:
            for row in range(1, last):
                drawn = [block for block in plan[row - 1].tolist() if block >= 0]
                structure = listed_blocks(row, last, [])
                assert len(structure | set(drawn)) == min(last + 1, len(structure) + 3)
                assert max(drawn, default=0) <= last


def test_plan_is_fixed_unless_drawn_from_a_generator() -> None:
    attention, other_layer, arguments = make(), make(), inputs(MAX_LENGTH)
    fixed = attention.draw(*arguments)["rand_blocks"]
    assert torch.equal(fixed, attention.eval().draw(*arguments)["rand_blocks"])
    assert not torch.equal(fixed, other_layer.draw(*arguments)["rand_blocks"]), "another layer has another plan"
    assert not torch.equal(fixed[:, 0], fixed[:, 1])
    other = [attention.draw(*arguments, Generator().manual_seed(1))["rand_blocks"] for _ in range(2)]
    assert torch.equal(*other) and not torch.equal(fixed, other[0])


@pytest.mark.parametrize("num_random_blocks", [0, 3])
def test_slices_copy_what_an_index_would(num_random_blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: rows and gradients, also where the last global block is not the last of the padded length."""
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: True)
    attention = make(num_random_blocks=num_random_blocks)
    query, key, value, mask = inputs(MAX_LENGTH)
    blocks = attention.count_blocks(MAX_LENGTH)
    last = attention.last_block(mask)
    listed, _ = list_blocks(last, attention.draw(query, key, value, mask)["rand_blocks"], blocks)
    results = []
    for copied in (copy_blocks, lambda rows, _, index: take(rows, index)):
        rows = torch.randn(4, 2, blocks, 6, dtype=torch.float64, generator=Generator().manual_seed(0)).requires_grad_()
        found = copied(rows, last, listed)
        weight = torch.randn(found.shape, dtype=torch.float64, generator=Generator().manual_seed(1))
        results.append([found, *torch.autograd.grad((found * weight).sum(), rows)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("num_random_blocks", [0, 3])
def test_seen_blocks_are_the_listed_ones(num_random_blocks: int) -> None:
    """Those that count, up to a sequence's last block; its first and its last block see all of them."""
    attention = make(num_random_blocks=num_random_blocks)
    query, key, value, mask = inputs(MAX_LENGTH)
    blocks, last = attention.count_blocks(MAX_LENGTH), attention.last_block(mask)
    drawn = attention.draw(query, key, value, mask)["rand_blocks"]
    seen = seen_blocks(last, drawn, blocks)
    listed, counts = list_blocks(last, drawn, blocks)
    for b, end in enumerate(last.tolist()):
        for head in range(2):
            for row in range(blocks):
                counted = listed[b, head, row - 1][counts[b, head, row - 1]] if 0 < row < end else torch.arange(end + 1)
                wanted = set(counted.tolist()) if row <= end else set()
                assert set(seen[b, head, row].nonzero()[:, 0].tolist()) == {block for block in wanted if block <= end}


def test_block_listed_twice_counts_once() -> None:
    attention = make()
    *tensors, mask = inputs(257)
    once = torch.full((2, 15, 3), -1)
    twice = torch.arange(1, 16)[:, None].expand(2, -1, 3)  # the block itself, three times
    torch.testing.assert_close(
        attention(*tensors, mask, {"rand_blocks": twice}), attention(*tensors, mask, {"rand_blocks": once})
    )


@pytest.mark.parametrize("length", [40, 112, 200])
def test_neighbours_and_padding_do_not_matter(length: int) -> None:
    """At most 7 blocks, 112 tokens, are exact attention however long the padding; 200 are block-sparse."""
    attention = make()
    *tensors, mask = inputs(MAX_LENGTH)
    mask[0, length:] = False
    alone = attention(*(tensor[:1, :, :length] for tensor in tensors), mask[:1, :length])
    dirty = [tensor.masked_fill(~mask[:, None, :, None], 1e4) for tensor in tensors]
    torch.testing.assert_close(attention(*dirty, mask)[:1, :, :length], alone)
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=MAX_LENGTH)(*tensors, mask)[:1, :, :length]
    assert torch.allclose(alone, exact) == (length <= 112)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("real", [0, 1])
@pytest.mark.parametrize("length", [33, 130])
def test_finite_at_large_logits_and_without_tokens(length: int, real: int, dtype: torch.dtype, released: bool) -> None:
    query, key, value, mask = inputs(length, dtype=dtype)
    mask[:] = False
    mask[:, :real] = True
    output = make(released=released)(200 * query, 200 * key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))


def test_autocast() -> None:
    attention, arguments = make(), inputs(257, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output.float(), attention(*arguments), atol=0.05, rtol=0.05)


def test_compiles_in_one_graph() -> None:
    attention, arguments = make(), inputs(257, dtype=torch.float32)
    torch.testing.assert_close(compiled(attention)(*arguments), attention(*arguments))


@pytest.mark.parametrize("length", [112, 256])
def test_counts_its_flops(length: int) -> None:
    attention = make()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*inputs(length, batch=1))
    assert counter.get_total_flops() / 2 / attention.heads == attention.multiply_adds(length)


@pytest.mark.parametrize("option", [{"block_size": 0}, {"num_random_blocks": -1}])
def test_rejects_option(option: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        make(**option)
