"""Softmax attention with a bias a key by the Triton kernels of :mod:`lra.attention.kernels`, for a GPU.

Torch's fused kernels that take a mask are slow or not deterministic, and those without a mask are slow where they are
deterministic. These ones are neither. To torch they are operators, which its compiler leaves as they are.
"""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from lra.attention.launching import (
    forward_tile,
    key_tile,
    launch,
    launch_largest,
    lists,
    query_tile,
    strided,
    with_whole_rows,
)

HAS_TRITON = importlib.util.find_spec("triton") is not None
"""Whether the kernels can be compiled."""
LARGEST = 128
"""Head sizes up to this one fit into a multiprocessor's memory."""
BLOCKS = (16, 32, 64, 128)
"""Sizes of blocks that :func:`block_sparse_attention` takes: those that tiles are cut to."""
LN_2 = math.log(2)


def takes(query: Tensor, value: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernels can compute these, in this type."""
    half, size = dtype in (torch.bfloat16, torch.float16), max(query.shape[-1], value.shape[-1])
    return half and query.is_cuda and size <= LARGEST and runs_kernels(query.device)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def runs_kernels(device: torch.device) -> bool:
    """Whether Triton compiles for this GPU: those of compute capability 8.0 (the A100) and later ones."""
    return HAS_TRITON and torch.cuda.get_device_capability(device) >= (8, 0)


def fused_attention_and_sums(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`fused_attention`, and the log-sum-exp of its logits, (batch, heads, queries) float32, with gradients."""
    output, peak = attention(query, key, value, bias, None, None, query.shape[-1] ** -0.5, 0.0, 0)
    return output, peak * LN_2


def fused_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(Q K^T / sqrt(p) + bias) V with gradients, (batch, heads, queries, size); 0 where every key is hidden.

    Args:
        query: (batch, heads, queries, p), in half precision like key and value.
        key: (batch, heads, keys, p)
        value: (batch, heads, keys, size)
        bias: (batch, heads, keys) float32, its first axes expanded at will; -inf for a key that does not count.
        dropout: share of the weights to drop, of which those kept are scaled up.
    """
    seed = torch.randint(2**31, (1,), device=query.device) if dropout else None
    return attention(query, key, value, bias, None, seed, query.shape[-1] ** -0.5, dropout, 0)[0]


def block_sparse_attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, seen: Tensor, block: int) -> Tensor:
    """:func:`fused_attention` in which queries see some blocks of keys only, in time and memory of those.

    Args:
        query: (batch, heads, queries, p), in half precision like key and value.
        key: (batch, heads, keys, p)
        value: (batch, heads, keys, size)
        bias: (batch, heads, keys) float32, as there.
        seen: (batch, heads, query blocks, key blocks) bool. A query that sees no block has an output of 0.
        block: tokens in a block, one of ``BLOCKS``; the last block may have fewer.
    """
    return attention(query, key, value, bias, seen, None, query.shape[-1] ** -0.5, 0.0, block)[0]


@torch.no_grad()
def fused_log_sum_exp(query: Tensor, key: Tensor, bias: Tensor, scale: float) -> Tensor:
    """log sum_j exp(scale q_i . k_j + bias_j), (batch, heads, queries) float32; -7e5 where every key is hidden."""
    return attention(query, key, key, bias, None, None, scale, 0.0, 0)[1] * LN_2


@custom_op("lra::largest_products", mutates_args=())
def largest_products(query: Tensor, key: Tensor) -> Tensor:
    """max_j q_i . k_j, (batch, heads, queries) float32, of (batch, heads, ..., p) in half precision; no gradient."""
    from lra.attention.kernels import largest_kernel

    largest = query.new_empty(query.shape[:3], dtype=torch.float32)
    launch_largest(largest_kernel, with_whole_rows(query), with_whole_rows(key), largest)
    return largest


@largest_products.register_fake
def _(query: Tensor, key: Tensor) -> Tensor:
    return query.new_empty(query.shape[:3], dtype=torch.float32)


@custom_op("lra::attention", mutates_args=())
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    seen: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout: float,
    block: int,
) -> tuple[Tensor, Tensor]:
    """The output, and the log-sum-exp of the logits in base 2, (batch, heads, queries)."""
    from lra.attention.kernels import forward_kernel

    query, key, value = map(with_whole_rows, (query, key, value))
    output, peak = empty_output(query, value)
    arguments = [*strided(query, key, value, bias, output), peak, *lists(seen)]
    launch(forward_kernel, forward_tile, query, value, arguments, seed, scale, dropout, block, by_rows=True)
    return output, peak


@attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return empty_output(query, value)


@custom_op("lra::attention_backward", mutates_args=())
def attention_backward(
    upstream: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    output: Tensor,
    peak: Tensor,
    of_peak: Tensor | None,
    seen: Tensor | None,
    seed: Tensor | None,
    scale: float,
    dropout: float,
    block: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias; that of the bias is (batch, heads, keys) float32.

    ``upstream`` and ``of_peak`` are those of the output and, unless None, of the log-sum-exp.
    """
    from lra.attention.kernels import key_kernel, query_kernel

    upstream, query, key, value, output = map(with_whole_rows, (upstream, query, key, value, output))
    gradients = empty_gradients(query, key, value)
    query_gradient, key_gradient, value_gradient, bias_gradient = gradients
    product = torch.empty_like(peak)
    given = strided(query, key, value, bias)
    of_peak = None if of_peak is None else of_peak.contiguous()
    arguments = [*given, *strided(output, upstream, query_gradient), peak, product, of_peak, *lists(seen)]
    launch(query_kernel, query_tile, query, value, arguments, seed, scale, dropout, block, by_rows=True)
    seeing = None if seen is None else seen.mT
    arguments = [*given, *strided(upstream, key_gradient, value_gradient), bias_gradient, peak, product, *lists(seeing)]
    launch(key_kernel, key_tile, query, value, arguments, seed, scale, dropout, block, by_rows=False)
    return gradients


@attention_backward.register_fake
def _(
    upstream: Tensor, query: Tensor, key: Tensor, value: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return empty_gradients(query, key, value)


def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what the backward pass needs."""
    query, key, value, bias, seen, seed, *ctx.others = inputs
    ctx.save_for_backward(query, key, value, bias, *output, seen, seed)
    ctx.set_materialize_grads(False)


def go_back(ctx: Any, upstream: Tensor | None, of_peak: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of :func:`attention`."""
    *tensors, output, peak, seen, seed = ctx.saved_tensors
    upstream = torch.zeros_like(output) if upstream is None else upstream
    gradients = attention_backward(upstream, *tensors, output, peak, of_peak, seen, seed, *ctx.others)
    return *gradients, *[None] * (2 + len(ctx.others))


attention.register_autograd(go_back, setup_context=remember)


def empty_output(query: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The output, heads beside each other in memory as the model's projections want them, and the log-sum-exps."""
    batch, heads, queries = query.shape[:3]
    output = value.new_empty(batch, queries, heads, value.shape[3]).transpose(1, 2)
    return output, query.new_empty(batch, heads, queries, dtype=torch.float32)


def empty_gradients(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Those of query, key, value and bias, the first three laid out as the output is."""
    batch, heads, keys = key.shape[:3]
    of_query, of_key, of_value = (
        tensor.new_empty(batch, tensor.shape[2], heads, tensor.shape[3]).transpose(1, 2)
        for tensor in (query, key, value)
    )
    return of_query, of_key, of_value, key.new_empty(batch, heads, keys, dtype=torch.float32)
