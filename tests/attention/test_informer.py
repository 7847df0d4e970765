"""Informer against recorded vectors and a naive reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiled
from attention.references.informer import informer, logarithmic_budget
from lra.attention import Attention, build

BOTH = ["informer", "informer_mask"]
MAX_LENGTH = 300
FEATURES = 20


def make(name: str, **options: Any) -> Attention:
    size = {"heads": 2, "head_dim": 8, "max_length": MAX_LENGTH, "features": FEATURES}
    return build(name, **{**size, **options})


def inputs(length: int, batch: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query, key, value and a mask with a full row, then rows with ever more holes, each with one real token."""
    torch.manual_seed(length)
    tensors = [torch.randn(batch, 2, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    mask = torch.rand(batch, length) < torch.linspace(1.1, 0.1, batch)[:, None]
    mask[:, length // 2] = True
    return [*tensors, mask]


def gradients(output: Tensor, inputs: list[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, upstream, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize(
    ("file", "case"), [(file, case) for file in ("informer", "informermask") for case in golden.cases(file)]
)
def test_equals_recorded(file: str, case: str) -> None:
    record = golden.load(file, case)
    _, heads, length, head_dim = record.shape
    features = record.meta["config"]["in_nb_features"]
    attention = build(file, heads=heads, head_dim=head_dim, max_length=length, features=features, released=True)
    index, top = record.draws["index"], record.draws["top"]
    golden.assert_equal(attention, record, {"index": index})

    query, key, value = (record.arrays[name] for name in "qkv")
    query, key, _, mask = attention.released_inputs(query, key, value, record.mask)
    assert torch.equal(attention.select(query, key, mask, index)[0].sort().values, top)
    drawn = attention.draw(query, key, value, record.mask)["index"]
    assert drawn.shape[-2:] == index.shape[-2:] and len(drawn) == len(mask)
    assert (drawn.amax((1, 2)) < mask.sum(1)).all()


@pytest.mark.parametrize("length", [1, 2, 17, 63, 64, 65, 257])
@pytest.mark.parametrize("name", BOTH)
def test_equals_reference(name: str, length: int) -> None:
    attention = make(name)
    query, key, value, mask = inputs(length)
    upstream = torch.randn_like(query) * mask[:, None, :, None]
    draws = attention.draw(query, key, value, mask, torch.Generator().manual_seed(1))
    if name == "informer":
        budgets = [logarithmic_budget(count, FEATURES, MAX_LENGTH) for count in mask.sum(1).tolist()]
    else:
        budgets = [min(count, FEATURES) for count in mask.sum(1).tolist()]
    output = attention(query, key, value, mask, draws)
    wanted = informer(query, key, value, mask, draws["index"], budgets)
    real = mask[:, None, :, None]
    torch.testing.assert_close(output * real, wanted)
    tensors = [query, key, value]
    torch.testing.assert_close(gradients(output, tensors, upstream), gradients(wanted, tensors, upstream))


@pytest.mark.parametrize("name", BOTH)
def test_exact_where_the_budget_covers_the_sequence(name: str) -> None:
    attention = make(name, features=90)
    query, key, value, mask = inputs(80)
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=80)(query, key, value, mask)
    real = mask[:, None, :, None]
    torch.testing.assert_close(attention(query, key, value, mask) * real, exact * real)


@pytest.mark.parametrize("name", BOTH)
def test_samples_distinct_real_keys(name: str) -> None:
    attention = make(name)
    query, key, value, mask = inputs(257)
    index = attention.draw(query, key, value, mask)["index"]
    for row, real in zip(index, mask, strict=True):
        sampled = row[: int(attention.budget(real.sum()))]
        assert real[sampled].all() and len(sampled.unique()) == len(sampled)


@pytest.mark.parametrize("name", BOTH)
def test_neighbours_and_padding_do_not_matter(name: str) -> None:
    attention = make(name).eval()
    query, key, value, mask = inputs(64)
    mask[0, 40:] = False
    alone = attention(*(tensor[:1, :, :40] for tensor in (query, key, value)), mask[:1, :40])
    dirty = [tensor.masked_fill(~mask[:, None, :, None], 1e4) for tensor in (query, key, value)]
    torch.testing.assert_close(attention(*dirty, mask)[:1, :, :40], alone)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("real", [0, 1])
def test_finite_at_large_logits_and_without_tokens(name: str, released: bool, dtype: torch.dtype, real: int) -> None:
    query, key, value, mask = inputs(33, dtype=dtype)
    mask[:] = False
    mask[:, :real] = True
    output = make(name, released=released)(200 * query, 200 * key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))


@pytest.mark.parametrize("name", BOTH)
def test_autocast_selects_the_same_queries(name: str) -> None:
    attention = make(name).eval()
    arguments = inputs(129, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output.float(), attention(*arguments), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_compiles_in_one_graph(name: str) -> None:
    attention = make(name).eval()
    arguments = inputs(65, dtype=torch.float32)
    torch.testing.assert_close(compiled(attention)(*arguments), attention(*arguments))


@pytest.mark.parametrize("name", BOTH)
def test_counts_its_flops(name: str) -> None:
    """``informer`` rounds its budget up to c ceil(ln n): 12 x 6 = 72 keys for 64 features."""
    attention = make(name, max_length=256, features=64)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*inputs(256, batch=1))
    counted = counter.get_total_flops() / 2 / attention.heads
    assert counted / attention.multiply_adds(256) == pytest.approx(1.08, abs=0.08)


@pytest.mark.parametrize("name", BOTH)
def test_sample_is_fresh_in_training_and_fixed_in_evaluation(name: str) -> None:
    attention, arguments = make(name), inputs(257)
    assert not torch.equal(attention.draw(*arguments)["index"], attention.draw(*arguments)["index"])
    attention.eval()
    assert torch.equal(attention(*arguments), attention(*arguments))
