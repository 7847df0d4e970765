"""Softmax attention over some keys, each with a bias of its logit: the core that the methods share.

On a GPU torch's kernels that take a mask are slow, or not deterministic, and in half precision they round the bias to 8
bits. So half precision has kernels of its own (:mod:`lra.attention.fused`). Elsewhere on a GPU, in float32 or without
Triton, the bias travels as two more columns of queries and keys: every query gets 1, 1, and a key with bias b gets
hi = round(b / scale) and lo = b / scale - hi, whose products with the query add up to b. Then torch's kernels without a
mask serve. On a CPU the mask is as fast, and its bias stays in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lra.attention import fused, gather
from lra.attention.dropout import draw_kept

HIDDEN = -57344.0
"""Takes the place of b / scale where b is less. Float16 holds it; at head size 128 it is a logit of -5068."""
MOST_ROWS = 65535
"""Sequences times heads in one call of a fused CUDA kernel: its grid has no more blocks along an axis."""
BLOCK_WEIGHTS = 1 << 22
"""Attention weights in memory at once where torch has no fused kernel that drops them. Arrays of more than 32 MiB go
back to the system when they are freed, and fetching their pages again would take as long as the arithmetic."""


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, dropout: float = 0.0) -> Tensor:
    """softmax(Q K^T / sqrt(p) + bias) V.

    Args:
        query: (batch, heads, queries, p)
        key: (batch, heads, keys, p)
        value: (batch, heads, keys, p)
        bias: (batch, keys) or (batch, heads, keys); logits to add, in float32 at best, -inf for a key that does not
            count; or bool, True for a key that counts. Where none does, the output is finite and means nothing.
        dropout: share of the weights to drop, of which those kept are scaled up.
    """
    if gather.on_gpu(query):
        if fused.takes(query, value, dtype := computed_in(query)):
            query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
            return fused.fused_attention(query, key, value, as_logits(bias, key), dropout)
        return attend_by_columns(query, key, value, bias, dropout=dropout)
    if dropout and query.device.type == "cpu":
        return attend_in_blocks(query, key, value, bias, dropout)
    mask = None if bias is None else over_queries(bias, query.dtype)
    return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


def attend_and_sum(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`attend`, and the log-sum-exps of its logits, (batch, heads, queries) in float32 at least, with gradients.

    Quick, and without a matrix of logits, on a GPU in half precision alone.
    """
    bias = as_logits(bias, key)
    if fused.takes(query, value, query.dtype):
        return fused.fused_attention_and_sums(query, key, value, bias)
    logits = query.to(bias.dtype) @ key.to(bias.dtype).mT * query.shape[-1] ** -0.5 + bias[:, :, None]
    return (logits.softmax(-1) @ value.to(bias.dtype)).to(value.dtype), logits.logsumexp(-1)


@torch.no_grad()
def log_sum_exp(query: Tensor, key: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    """log sum_j exp(scale q_i . k_j + bias_j), (batch, heads, queries) float32, of which no matrix is stored.

    Its arguments are those of :func:`attend`. It has no gradient.
    """
    if fused.takes(query, key, dtype := computed_in(query)):
        return fused.fused_log_sum_exp(query.to(dtype), key.to(dtype), as_logits(bias, key), scale)
    return in_pieces(partial(_log_sum_exp, scale=scale), *with_bias(query, key, bias, scale)).float()


def has_block_kernel(query: Tensor, value: Tensor, block: int) -> bool:
    """Whether :func:`attend_to_blocks` takes these."""
    return fused.takes(query, value, computed_in(query)) and block in fused.BLOCKS


def attend_to_blocks(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, seen: Tensor, block: int) -> Tensor:
    """:func:`attend` in which each block of queries sees some blocks of keys, on a GPU in half precision.

    Args:
        query: (batch, heads, queries, p)
        key: (batch, heads, keys, p)
        value: (batch, heads, keys, p)
        mask: (batch, keys) bool, True for a key that counts for queries that see its block.
        seen: (batch, heads, query blocks, key blocks) bool.
        block: tokens in a block.
    """
    dtype = computed_in(query)
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    return fused.block_sparse_attention(query, key, value, as_logits(mask, key), seen, block)


def attend_by_columns(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, *, dropout: float = 0.0
) -> Tensor:
    """:func:`attend` by kernels that take no mask."""
    head_dim = value.shape[-1]
    scale = query.shape[-1] ** -0.5
    if bias is not None:
        query, key = with_bias(query, key, bias, scale)
        value = pad(value, (0, query.shape[-1] - head_dim))  # flash attention wants one size
    kernel = partial(scaled_dot_product_attention, dropout_p=dropout, scale=scale)
    return in_pieces(kernel, query, key, value)[..., :head_dim]


def in_pieces(kernel: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Call a kernel of (batch, heads, ...) tensors as often as it takes for none of its calls to have too many rows."""
    batch, heads = tensors[0].shape[:2]
    if batch * heads <= MOST_ROWS:
        return kernel(*tensors)
    pieces = zip(*(tensor.split(max(1, MOST_ROWS // heads)) for tensor in tensors), strict=True)
    return torch.cat([kernel(*piece) for piece in pieces])


def with_bias(query: Tensor, key: Tensor, bias: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys whose scaled products hold the bias, their size padded with zeros to a multiple of 8.

    Masked keys become zero, so that their content does not matter.
    """
    dtype = computed_in(query)
    query, key = query.to(dtype), key.to(dtype)
    bias = as_logits(bias, key)[..., None]  # (batch, heads, keys, 1)
    whole = (bias.to(torch.promote_types(dtype, torch.float32)) / scale).clamp(min=HIDDEN)
    key = torch.where(whole > HIDDEN, key, 0)
    high = whole.to(dtype)
    low = (whole - high).to(dtype)
    extra = -(key.shape[-1] + 2) % 8
    one = query.new_ones(1).expand(*query.shape[:-1], 2)
    return pad(torch.cat([query, one], -1), (0, extra)), pad(torch.cat([key, high, low], -1), (0, extra))


def as_logits(bias: Tensor | None, key: Tensor) -> Tensor:
    """(batch, heads, keys) of a bias (batch, keys) or (batch, heads, keys), in at least float32; zeros for None."""
    batch, heads, keys = key.shape[:3]
    if bias is None:
        bias = key.new_zeros(1, keys, dtype=torch.float32)
    elif bias.dtype == torch.bool:
        bias = torch.zeros_like(bias, dtype=torch.float32).masked_fill(~bias, -math.inf)
    bias = bias[:, None] if bias.dim() == 2 else bias
    return bias.to(torch.promote_types(bias.dtype, torch.float32)).expand(batch, heads, keys)


def computed_in(tensor: Tensor) -> torch.dtype:
    """The type that attention computes in: the tensor's, or that of autocast."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


def over_queries(bias: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, 1 or heads, 1, keys) of a bias (batch, keys) or (batch, heads, keys), in at least float32, or bool."""
    if bias.dtype != torch.bool:
        bias = bias.to(torch.promote_types(dtype, torch.float32))
    return bias[:, None, None] if bias.dim() == 2 else bias[:, :, None]


def _log_sum_exp(query: Tensor, key: Tensor, scale: float) -> Tensor:
    if query.device.type == "cuda":
        if query.dtype in (torch.bfloat16, torch.float16):
            return torch.ops.aten._scaled_dot_product_flash_attention(query, key, key, scale=scale)[1]
        query, key = query.float(), key.float()
        sums = torch.ops.aten._scaled_dot_product_efficient_attention(query, key, key, None, True, scale=scale)[1]
        return sums[..., : query.shape[2]]  # it pads the queries
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, key, scale=scale)[1]


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """:func:`attend` with dropout on a CPU, where torch would drop weights of whole (queries, keys) matrices.

    Queries attend block by block, and where there are several blocks once more in the backward pass: in less time, and
    in memory linear in the length.
    """
    query, value = query * query.shape[-1] ** -0.5, value / (1 - dropout)
    bias = key.new_zeros(key.shape[0], key.shape[2]) if bias is None else bias
    mask = over_queries(bias, query.dtype)
    if mask.dtype == torch.bool:
        # Added, not filled in: a fill where a boolean says so is slow on a CPU.
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill(~mask, -math.inf)
    mask = mask.masked_fill(mask.isneginf().all(-1, keepdim=True), 0)  # where no key counts, all of them do
    rows = max(1, BLOCK_WEIGHTS // (query.shape[0] * query.shape[1] * key.shape[2]))
    blocks = query.split(rows, dim=2)
    if len(blocks) == 1:
        return attend_and_drop(query, key, value, mask, dropout)
    attended = [checkpoint(attend_and_drop, block, key, value, mask, dropout, use_reentrant=False) for block in blocks]
    return torch.cat(attended, dim=2)


def attend_and_drop(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, dropout: float) -> Tensor:
    """Attention of some queries, already divided by sqrt(p), without a random share ``dropout`` of its weights."""
    weights = (query @ key.transpose(-1, -2)).add_(bias).softmax(-1)  # (batch, heads, queries, keys)
    return (weights * draw_kept(weights.shape, dropout, weights.dtype)) @ value
