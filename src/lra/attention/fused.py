"""Softmax attention with a bias a key by the Triton kernels of :mod:`lra.attention.kernels`, for a GPU.

Torch's fused kernels that take a mask are slow or not deterministic, and those without a mask are slow where they are
deterministic. These ones are neither. To torch they are operators, which its compiler leaves as they are.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

HAS_TRITON = importlib.util.find_spec("triton") is not None
"""Whether the kernels can be compiled."""
LARGEST = 128
"""Head sizes up to this one fit into a multiprocessor's memory."""
LN_2 = math.log(2)


@dataclass(frozen=True)
class Tile:
    """How a kernel cuts its work: queries and keys at a time, warps of a program, loads ahead."""

    rows: int
    columns: int
    warps: int
    stages: int


Tiles = Callable[[int, int, int], Tile]
"""The tile for so many queries and keys and a padded head size. Up to a size of 32 they were chosen by time, of eight
or nine each on an H200; for larger heads none has been timed."""


def forward_tile(queries: int, keys: int, padded: int) -> Tile:
    """For the outputs."""
    if padded > 64:
        return Tile(128, 64, warps=8, stages=2)
    if queries <= 64:
        return Tile(64, 64, warps=4, stages=3)
    return Tile(128, 128, warps=4, stages=2) if keys >= 1024 and padded <= 32 else Tile(128, 64, warps=4, stages=3)


def query_tile(queries: int, keys: int, padded: int) -> Tile:
    """For the gradient of queries."""
    if padded > 32:
        return Tile(64, 64, warps=4, stages=2 if padded > 64 else 3)
    return Tile(64 if queries <= 64 else 128, 32, warps=4, stages=3)


def key_tile(queries: int, keys: int, padded: int) -> Tile:
    """For the gradients of keys, values and biases."""
    return Tile(64, 64, warps=4, stages=2 if padded > 64 else 3)


def takes(query: Tensor, value: Tensor, dtype: torch.dtype) -> bool:
    """Whether the kernels can compute these, in this type."""
    half = dtype in (torch.bfloat16, torch.float16)
    return half and query.is_cuda and max(query.shape[-1], value.shape[-1]) <= LARGEST and HAS_TRITON


def fused_attention_and_sums(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`fused_attention`, and the log-sum-exp of its logits, (batch, heads, queries) float32, with gradients."""
    output, peak = attention(query, key, value, bias, None, query.shape[-1] ** -0.5, 0.0)
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
    return attention(query, key, value, bias, seed, query.shape[-1] ** -0.5, dropout)[0]


@torch.no_grad()
def fused_log_sum_exp(query: Tensor, key: Tensor, bias: Tensor, scale: float) -> Tensor:
    """log sum_j exp(scale q_i . k_j + bias_j), (batch, heads, queries) float32; -7e5 where every key is hidden."""
    return attention(query, key, key, bias, None, scale, 0.0)[1] * LN_2


@custom_op("lra::attention", mutates_args=())
def attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, seed: Tensor | None, scale: float, dropout: float
) -> tuple[Tensor, Tensor]:
    """The output, and the log-sum-exp of the logits in base 2, (batch, heads, queries)."""
    from lra.attention.kernels import forward_kernel

    query, key, value = map(with_whole_rows, (query, key, value))
    output, peak = empty_output(query, value)
    arguments = [*strided(query, key, value, bias, output), peak]
    launch(forward_kernel, forward_tile, query, value, arguments, seed, scale, dropout, by_rows=True)
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
    seed: Tensor | None,
    scale: float,
    dropout: float,
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
    arguments = [*given, *strided(output, upstream, query_gradient), peak, product, of_peak]
    launch(query_kernel, query_tile, query, value, arguments, seed, scale, dropout, by_rows=True)
    arguments = [*given, *strided(upstream, key_gradient, value_gradient), bias_gradient, peak, product]
    launch(key_kernel, key_tile, query, value, arguments, seed, scale, dropout, by_rows=False)
    return gradients


@attention_backward.register_fake
def _(
    upstream: Tensor, query: Tensor, key: Tensor, value: Tensor, *others: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return empty_gradients(query, key, value)


def remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep what the backward pass needs."""
    query, key, value, bias, seed, ctx.scale, ctx.dropout = inputs
    ctx.save_for_backward(query, key, value, bias, *output, seed)
    ctx.set_materialize_grads(False)


def go_back(ctx: Any, upstream: Tensor | None, of_peak: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of :func:`attention`."""
    *tensors, output, peak, seed = ctx.saved_tensors
    upstream = torch.zeros_like(output) if upstream is None else upstream
    return (
        *attention_backward(upstream, *tensors, output, peak, of_peak, seed, ctx.scale, ctx.dropout),
        None,
        None,
        None,
    )


attention.register_autograd(go_back, setup_context=remember)


def launch(
    kernel: Any,
    tiles: Tiles,
    query: Tensor,
    value: Tensor,
    arguments: list[Any],
    seed: Tensor | None,
    scale: float,
    dropout: float,
    by_rows: bool,
) -> None:
    """Start a kernel, a program for each block of queries or of keys and each head."""
    batch, heads, queries, size = query.shape
    keys, width = value.shape[2:]
    padded = max(16, 1 << (max(size, width) - 1).bit_length())
    tile = tiles(queries, keys, padded)
    blocks = -(-queries // tile.rows) if by_rows else -(-keys // tile.columns)
    kernel[(batch * heads * blocks,)](
        *arguments,
        seed,
        round(dropout * 2**32),
        1 / (1 - dropout),
        scale,
        heads,
        queries,
        keys,
        SIZE=size,
        WIDTH=width,
        PADDED=padded,
        ROWS=tile.rows,
        COLUMNS=tile.columns,
        DROPS=seed is not None,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )


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


def with_whole_rows(tensor: Tensor) -> Tensor:
    """The tensor, copied if its rows are not contiguous."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def strided(*tensors: Tensor) -> list[Any]:
    """Each tensor and its steps along the first three axes."""
    return [argument for tensor in tensors for argument in (tensor, *tensor.stride()[:3])]
