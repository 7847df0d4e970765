"""The Triton kernels in float16: on a CPU Triton's interpreter runs them, which cannot multiply bfloat16."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from lra.attention import Attention, build, fused, gather
from lra.attention.checking import maker, masks
from lra.attention.exact import attend, log_sum_exp
from lra.attention.fused import (
    block_sparse_attention,
    fused_attention,
    fused_attention_and_sums,
    fused_log_sum_exp,
    largest_products,
)

# The interpreter of older releases cannot count loops with the pinned NumPy.
pytest.importorskip("triton", minversion=None if torch.cuda.is_available() else "3.9")

SIZES = [(1, 1, 32), (70, 130, 32), (128, 64, 20), (100, 257, 33), (65, 65, 64), (40, 48, 128)]
"""Queries, keys and head size: one token, no multiples of a tile, sizes that are padded."""


@pytest.fixture(autouse=True)
def device() -> Iterator[None]:
    """Make all tensors on the GPU where there is one, and else where the interpreter is, which conftest.py turns on."""
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        yield


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do on the CPU what is done on a GPU in half precision."""
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: True)
    monkeypatch.setattr(fused, "takes", lambda query, value, dtype: dtype == torch.float16)


def inputs(queries: int, keys: int, size: int, width: int | None = None) -> list[Tensor]:
    """Query, key and value in memory layouts of all kinds, and a bias of counts that hides every third key."""
    torch.manual_seed(queries)
    query = torch.randn(2, 2, queries, size).half()
    key = torch.randn(2, keys, 2, size).half().transpose(1, 2)
    value = torch.randn(2, 2, width or size, keys).half().mT
    bias = torch.randint(1, 4000, (2, 2, keys)).log()
    bias[:, 1, 1::3] = -math.inf
    return [tensor.requires_grad_() for tensor in (query, key, value, bias)]


def explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """In whole matrices, of any type."""
    return (query @ key.mT / query.shape[-1] ** 0.5 + bias[:, :, None]).softmax(-1) @ value


def off(actual: Tensor, expected: Tensor) -> float:
    """Relative error; absolute where nothing is expected."""
    size = expected.norm()
    return ((actual.double() - expected).norm() / (size if size > 1e-6 else 1.0)).item()


def with_gradients(core: Callable[..., Tensor], tensors: list[Tensor], upstream: Tensor) -> list[Tensor]:
    """The output and the gradients of all tensors."""
    output = core(*tensors)
    return [output, *torch.autograd.grad(output, tensors, upstream.to(output.dtype))]


@pytest.mark.parametrize(("queries", "keys", "size"), SIZES)
def test_equals_float64(queries: int, keys: int, size: int) -> None:
    """Outputs and gradients, that of the bias too, as near as float16 can be."""
    tensors = inputs(queries, keys, size)
    upstream = torch.randn(2, 2, queries, size).half()
    found = with_gradients(fused_attention, tensors, upstream)
    precise = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = with_gradients(explicit, precise, upstream)
    for one, other in zip(found, expected, strict=True):
        assert off(one, other) < 2e-3
    assert all(one.dtype == tensor.dtype for one, tensor in zip(found[1:], tensors, strict=True))


@pytest.mark.parametrize(
    ("queries", "keys", "size", "block"), [(70, 130, 32, 16), (128, 64, 20, 32), (65, 200, 64, 128)]
)
def test_block_sparse_equals_float64(queries: int, keys: int, size: int, block: int) -> None:
    """Outputs and gradients where queries see some blocks only, another choice for every head."""
    tensors = inputs(queries, keys, size)
    upstream = torch.randn(2, 2, queries, size).half()
    seen = torch.rand(2, 2, -(-queries // block), -(-keys // block)) < 0.4
    seen[..., -1] |= ~seen.any(-1)
    unseen = seen.repeat_interleave(block, 2).repeat_interleave(block, 3)[:, :, :queries, :keys].double().log()

    def sparse(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return (query @ key.mT / query.shape[-1] ** 0.5 + bias[:, :, None] + unseen).softmax(-1) @ value

    found = with_gradients(lambda *given: block_sparse_attention(*given, seen, block), tensors, upstream)
    expected = with_gradients(sparse, [tensor.detach().double().requires_grad_() for tensor in tensors], upstream)
    for one, other in zip(found, expected, strict=True):
        assert off(one, other) < 2e-3


def test_queries_that_see_no_block() -> None:
    tensors = inputs(64, 64, 16)
    seen = torch.ones(2, 2, 2, 2, dtype=torch.bool)
    seen[:, :, 1] = False
    output, *gradients = with_gradients(
        lambda *given: block_sparse_attention(*given, seen, 32), tensors, torch.ones(2, 2, 64, 16)
    )
    assert output[:, :, :32].any() and not output[:, :, 32:].any()
    assert gradients[0][:, :, :32].any() and not gradients[0][:, :, 32:].any()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_values_of_another_size() -> None:
    tensors = inputs(30, 70, 33, width=20)
    precise = [tensor.detach().double() for tensor in tensors]
    assert off(fused_attention(*tensors), explicit(*precise)) < 2e-3


@pytest.mark.parametrize("both", [False, True])
def test_gradients_of_sums(both: bool) -> None:
    """Of the log-sum-exps, alone and together with those of the output."""
    tensors = inputs(70, 130, 32)
    precise = [tensor.detach().double().requires_grad_() for tensor in tensors]
    weight = torch.randn(2, 2, 70)

    def loss(output: Tensor, sums: Tensor) -> Tensor:
        return (sums * weight).sum() + (output.to(sums.dtype).square().sum() if both else 0)

    found = torch.autograd.grad(loss(*fused_attention_and_sums(*tensors)), tensors, allow_unused=True)
    logits = precise[0] @ precise[1].mT / 32**0.5 + precise[3][:, :, None]
    wanted = loss(explicit(*precise), logits.logsumexp(-1))
    for one, other in zip(
        found, torch.autograd.grad(wanted, precise, materialize_grads=True, allow_unused=True), strict=True
    ):
        assert one is not None and off(one, other) < 2e-3


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_log_sum_exp(scale: float) -> None:
    query, key, _, bias = inputs(70, 130, 32)
    expected = (scale * query.double() @ key.double().mT + bias.double()[:, :, None]).logsumexp(-1)
    torch.testing.assert_close(fused_log_sum_exp(query, key, bias, scale).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("queries", "keys", "size"), SIZES)
def test_largest_products(queries: int, keys: int, size: int) -> None:
    """Negative ones too, where the zeros beyond the last key would be larger."""
    query, key, *_ = (tensor.detach() for tensor in inputs(queries, keys, size))
    for sign in (1, -1):
        query, key = (query, key) if sign > 0 else (query.abs(), -key.abs())
        expected = (query.double() @ key.double().mT).amax(-1)
        torch.testing.assert_close(largest_products(query, key).double(), expected, atol=1e-5, rtol=1e-5)


def test_hidden_keys() -> None:
    """What they hold does not matter, be it infinite; where all are hidden the output is 0, and so are gradients."""
    query, key, value, bias = (tensor.detach() for tensor in inputs(20, 1100, 16))
    bias = torch.zeros_like(bias)
    bias[0, :, :70], bias[0, :, 200:] = -math.inf, -math.inf
    bias[1, 1] = -math.inf
    hidden = bias.isneginf()[..., None]
    tensors = [query, key.masked_fill(hidden, math.inf), value.masked_fill(hidden, math.nan), bias]
    clean = [query, key.masked_fill(hidden, 0), value.masked_fill(hidden, 0), bias]
    upstream = torch.randn(2, 2, 20, 16).half()
    found, expected = (
        with_gradients(fused_attention, [tensor.requires_grad_() for tensor in given], upstream)
        for given in (tensors, clean)
    )
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other) and one.isfinite().all()
        assert not one[1, 1].any()
    assert fused_log_sum_exp(query, key, bias, 1.0)[1, 1].max() < -1e5


def test_dropping_weights() -> None:
    """A quarter of the weights is 0, at places of its own for every row, head, sequence and seed; the rest grows."""
    query, key, _, bias = (tensor.detach() for tensor in inputs(128, 128, 32))
    tensors = [query, key, torch.eye(128).half().expand(2, 2, -1, -1).contiguous(), torch.zeros_like(bias)]
    weights = explicit(*(tensor.double() for tensor in tensors))
    tensors = [tensor.requires_grad_() for tensor in tensors]
    kept = []
    for seed in range(2):
        output = fused.attention(*tensors, None, torch.tensor([seed]), 32**-0.5, 0.25, 0)[0]
        kept.append(output != 0)
        assert off(output, weights * kept[-1] / 0.75) < 2e-3
        rows = kept[-1].float().flatten(0, 2)
        deviation = (0.25 * 0.75 / rows.numel()) ** 0.5
        assert abs(rows.mean() - 0.75) < 5 * deviation
        assert (rows.mean(0) - 0.75).abs().max() < 5 * deviation * 128**0.5, "each key is dropped as often"
        assert (rows.mean(1) - 0.75).abs().max() < 5 * deviation * 512**0.5, "and in each row"
        correlation = (rows.T - 0.75) @ (rows - 0.75) / (512 * 0.25 * 0.75)
        assert correlation.fill_diagonal_(0).abs().max() < 5.5 * 512**-0.5, "one key tells nothing of another"
    assert abs((kept[0] == kept[1]).float().mean() - (0.75**2 + 0.25**2)) < 0.02
    upstream = torch.randn_like(output)
    precise = [tensor.detach().double().requires_grad_() for tensor in tensors]

    def dropped(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        whole = (query @ key.mT / 32**0.5 + bias[:, :, None]).softmax(-1)
        return (whole * kept[1] / 0.75) @ value

    expected = with_gradients(dropped, precise, upstream)
    for one, other in zip(torch.autograd.grad(output, tensors, upstream), expected[1:], strict=True):
        assert off(one, other) < 2e-3


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", [None, bool, float])
def test_core_takes_every_bias(kind: Any) -> None:
    """No bias, a mask, and one bias for all heads, under autocast."""
    query, key, value, bias = (tensor.detach() for tensor in inputs(20, 40, 16))
    given = {None: None, bool: bias[:, 1].isfinite(), float: bias[:, 1]}[kind]
    logits = torch.zeros_like(bias) if given is None else given.float().log() if kind is bool else given
    logits = logits[:, None].expand_as(bias) if logits.dim() == 2 else logits
    expected = explicit(*(tensor.double() for tensor in (query, key, value, logits)))
    with torch.autocast(query.device.type, dtype=torch.float16):
        assert off(attend(query.float(), key.float(), value.float(), given), expected) < 2e-3
    if kind is not None:
        sums = log_sum_exp(query, key, given, scale=16**-0.5)
        wanted = (query.double() @ key.double().mT / 4 + logits.double()[:, :, None]).logsumexp(-1)
        torch.testing.assert_close(sums.double(), wanted, atol=1e-5, rtol=1e-5)


METHODS = ["softmax_nodropout", "bigbird", "informer", "skeinformer", "skein_nonorm", "skein_simplenorm", "nystrom"]


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("name", [*METHODS, "performer", "linformer"])
def test_methods(name: str) -> None:
    """In float16 by the kernels about what they are in float32 by torch's."""
    length = 200
    attention = maker(name)(length).eval()
    torch.manual_seed(0)
    tensors = [torch.randn(3, attention.heads, length, attention.head_dim).half() for _ in range(3)]
    mask = masks(length)["holes"]
    draws = attention.draw(*tensors, mask)
    output = attention(*tensors, mask, draws) * mask[:, None, :, None]
    plain = attention(*(tensor.float() for tensor in tensors), mask, draws) * mask[:, None, :, None]
    heads = (output - plain).flatten(2).norm(dim=-1) / plain.flatten(2).norm(dim=-1)
    assert heads.median() < 1e-2


def sparse_bigbird(length: int) -> tuple[Attention, list[Tensor], Tensor]:
    """BigBird with six blocks or more; query, key, value; a mask of a full sequence, a short one, and one of holes."""
    attention = build("bigbird", heads=1, head_dim=16, max_length=256, block_size=32, num_random_blocks=1)
    torch.manual_seed(length)
    tensors = [torch.randn(3, 1, length, 16).half().requires_grad_() for _ in range(3)]
    mask = torch.rand(3, length) < torch.tensor([2.0, 2.0, 0.6])[:, None]
    mask[1, 100:] = False
    return attention, tensors, mask


@pytest.mark.usefixtures("kernels")
def test_bigbird_reads_blocks_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients are those of the copies."""
    attention, tensors, mask = sparse_bigbird(250)
    real = mask[:, None, :, None]
    draws = attention.draw(*tensors, mask)
    calls = []

    def called(*given: Any) -> Tensor:
        calls.append(given)
        return block_sparse_attention(*given)

    monkeypatch.setattr(fused, "block_sparse_attention", called)
    upstream = torch.randn(3, 1, 250, 16)
    found = with_gradients(lambda *given: attention(*given, mask, draws) * real, tensors, upstream)
    assert len(calls) == 1
    precise = [tensor.detach().double().requires_grad_() for tensor in tensors]
    expected = with_gradients(lambda *given: attention(*given, mask, draws) * real, precise, upstream)
    assert len(calls) == 1, "float64 takes the copies"
    for one, other in zip(found, expected, strict=True):
        assert off(one, other) < 2e-3


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("kernels")
def test_bigbird_compiles_for_any_length() -> None:
    """Without a break, in one graph for two lengths, with the same outputs and gradients."""
    torch._dynamo.reset()
    attention, *_ = sparse_bigbird(256)
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(attention, fullgraph=True, dynamic=True, backend=counter)
    for length in (170, 250):
        _, tensors, mask = sparse_bigbird(length)
        upstream = torch.randn(3, 1, length, 16).half()
        for one, other in zip(
            with_gradients(partial(compiled, mask=mask), tensors, upstream),
            with_gradients(partial(attention, mask=mask), tensors, upstream),
            strict=True,
        ):
            assert torch.equal(one, other)
    assert counter.frame_count == 1


def test_device_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels are for GPUs alone, from the generation of the A100 on; a compiled model knows it as a constant."""
    half = torch.randn(1, 1, 4, 8, device="cpu").half()
    assert not fused.takes(half, half, torch.float16)
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        asked = torch.compile(lambda x: x + fused.runs_kernels(x.device), fullgraph=True, backend="eager")
        torch._dynamo.reset()
        assert asked(torch.zeros(1, device="cpu")) == (capability >= (8, 0))


@pytest.mark.parametrize("drops", [False, True])
def test_operators_are_what_they_are_registered_as(drops: bool) -> None:
    """Shapes, types and layouts for torch's compiler, and gradients."""
    query, key, value, bias = inputs(20, 30, 16)
    seen = None if drops else torch.ones(2, 2, 2, 2, dtype=torch.bool)
    others = (None, torch.tensor([1]), 0.25, 0.1, 0) if drops else (seen, None, 0.25, 0.0, 16)
    torch.library.opcheck(fused.attention, (query, key, value, bias, *others))
    query, key, value, bias = (tensor.detach() for tensor in (query, key, value, bias))
    output, peak = fused.attention(query, key, value, bias, *others)
    given = (output, query, key, value, bias, output, peak, peak, *others)
    torch.library.opcheck(fused.attention_backward, given)
    torch.library.opcheck(fused.largest_products, (query, key))
