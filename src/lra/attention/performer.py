"""Performer: attention by positive orthogonal random features, FAVOR+ (Choromanski et al. 2021, arXiv 2009.14794)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from lra.attention import exact, gather
from lra.attention.contract import Attention, Draws

KERNELS = ("softmax", "relu")
RELU_FLOOR = 1e-3
"""Added to every feature of the ReLU kernel, as in the Arena, so that no denominator is 0."""


class Performer(Attention):
    """phi(Q) (phi(K)^T V) / phi(Q) (phi(K)^T 1), where phi(q) . phi(k) estimates exp(q . k / sqrt(p)) without bias.

    phi(q)_f = exp(w_f . x - |x|^2 / 2) / sqrt(d) with x = q / p^(1/4) (lemma 1). The rows w_f of the projection are
    orthogonal in blocks of p, each as long as a Gaussian vector (section 2.4). One projection serves all heads and
    sequences. It is drawn when the module is built and kept: a model that trains on ever new features never sees those
    it is evaluated with (docs/fidelity.md has the figures).

    Draws:
        projection: (features, head_dim) float32, or (heads, features, head_dim) for one a head.

    Memory kept for the backward pass: one (features, length) matrix a head, the key features; none on CUDA in half
    precision.

    Args:
        kernel: ``softmax``, or ``relu`` for phi(x) = max(x, 0) + 0.001 (section 2.3 with f = ReLU and no projection,
            the Long Range Arena's own setting), which is deterministic and has head_dim features.
        redraw: draw a new projection after every so many training passes, 0 for never. Evaluation uses the last one
            that was trained with. Each micro-batch, and each tower of retrieval, is a pass of its own.

    Raises:
        ValueError: there is no such kernel, ``redraw`` is negative, or it has nothing to redraw.
    """

    random: bool = True
    reference = "Choromanski et al. 2021, arXiv 2009.14794"
    fixed_projection: Tensor
    passes: Tensor

    def __init__(self, *, kernel: str = "softmax", redraw: int = 0, **common: Any) -> None:
        super().__init__(**common)
        if kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")
        if redraw < 0:
            raise ValueError(f"redraw must be at least 0, not {redraw}")
        if kernel == "relu" and (redraw or self.released):
            raise ValueError("kernel relu draws no features: leave out `redraw` and `released`")
        if redraw and self.released:
            raise ValueError("the released performer never redraws its features: leave out `redraw` or `released`")
        self.kernel = kernel
        self.redraw = redraw
        self.random = kernel == "softmax"
        if self.random:
            # Its bits as whole numbers, because converting a module to half precision rounds all of its floats.
            bits = orthogonal_gaussian(self.features, self.head_dim).view(torch.int32)
            self.register_buffer("fixed_projection", bits)
        if redraw:
            self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        if not self.random:
            return {}
        if generator is not None:
            return {"projection": orthogonal_gaussian(self.features, self.head_dim, generator, query.device)}
        if self.redraw and self.training:
            self.redraw_when_due()
        # A copy where it is redrawn: a pass may need its own projection again after the next one has begun.
        bits = self.fixed_projection.clone() if self.redraw else self.fixed_projection
        return {"projection": bits.view(torch.float32)}

    @torch.no_grad()
    def redraw_when_due(self) -> None:
        """Count a training pass, and replace the projection before every ``redraw``-th one but the first."""
        # Both outcomes are computed, since a branch on the counter would wait for the device and does not compile.
        fresh = orthogonal_gaussian(self.features, self.head_dim, device=self.fixed_projection.device)
        due = (self.passes > 0) & (self.passes % self.redraw == 0)
        self.fixed_projection.copy_(torch.where(due, fresh.view(torch.int32), self.fixed_projection))
        self.passes.add_(1)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        core = torch.promote_types(value.dtype, torch.float32)  # exponentials of long vectors need float32
        with torch.autocast(value.device.type, enabled=False):
            inputs = query.to(core), key.to(core), value.to(core), mask
            if self.kernel == "relu":
                return relu_attention(*inputs).to(value.dtype)
            if self.released:
                return released_favor(*inputs, draws["projection"].to(core)).to(value.dtype)
            if value.dtype != core and gather.on_gpu(value):
                return favor_in_half_precision(query, key, value, mask, draws["projection"])
            return favor(*inputs, draws["projection"].to(core)).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        """4 n d (p + 1), p + 1 being rounded up to a multiple of 4; 2 n p (p + 1) for the ReLU kernel."""
        if self.kernel == "relu":
            return 2 * length * self.head_dim * (self.head_dim + 1)
        return 4 * length * self.features * (self.head_dim + 1 + -(self.head_dim + 1) % 4)


def orthogonal_gaussian(
    rows: int, columns: int, generator: Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """(rows, columns) float32 normal vectors, orthogonal in blocks of ``columns`` rows; each alone is still normal."""
    blocks = -(-rows // columns)
    given: Any = {"generator": generator, "device": device, "dtype": torch.float32}
    basis, triangle = torch.linalg.qr(torch.randn(blocks, columns, columns, **given))
    # The sign of R's diagonal makes the basis uniform (Mezzadri 2007): LAPACK's alone favours one half of the sphere.
    directions = basis * triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    lengths = torch.randn(rows, columns, **given).norm(dim=-1, keepdim=True)
    return directions.flatten(0, 1)[:rows] * lengths


def favor(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, projection: Tensor) -> Tensor:
    """FAVOR+ as two softmaxes: every feature averages the values, every query averages the features.

    A query's exp(-|x|^2 / 2) cancels in the quotient. So does a factor exp(c_f) moved from the keys' feature f to the
    queries': with c_f the feature's peak over the sequence's keys, and a softmax over the queries' features, nothing
    overflows and no denominator is below 1, however large the logits.
    """
    head_dim, scale = query.shape[-1], query.shape[-1] ** -0.25
    one = query.new_ones(*query.shape[:2], 1, 1)
    padded = ~mask[:, None, :, None]
    key = key.masked_fill(padded, 0) * scale
    bias = (key.square().sum(-1, keepdim=True) / -2).masked_fill(padded, -1e30)
    logits = with_column(projection, one) @ with_column(key, bias).mT  # (batch, heads, features, length)
    peak = logits.detach().amax(-1, keepdim=True)
    sums = logits.sub_(peak).exp_() @ with_column(value.masked_fill(padded, 0), one)
    total = sums[..., head_dim : head_dim + 1]  # (batch, heads, features, 1)
    features = with_column(projection, peak + total.log())
    kernel = partial(scaled_dot_product_attention, scale=1.0)
    return exact.in_pieces(kernel, with_column(query * scale, one), features, sums / total)[..., :head_dim]


def favor_in_half_precision(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, projection: Tensor) -> Tensor:
    """:func:`favor` by two fused attentions, without a (features, length) matrix; for a GPU.

    Features attend to keys, and queries to features, whose biases are the logarithms of their sums over the keys. The
    projection is rounded, to other features of the same kind; squares and sums stay in float32.
    """
    size = query.shape[-1]
    wide = torch.promote_types(value.dtype, torch.float32)
    padded = ~mask[:, None, :, None]
    key, value = key.masked_fill(padded, 0), value.masked_fill(padded, 0)
    mask = mask | ~mask.any(1, keepdim=True)  # all padding: all its zeros are looked at
    features = (projection * size**0.25).to(query.dtype).expand(*query.shape[:2], -1, -1)
    bias = (key.to(wide).square().sum(-1) / (-2 * math.sqrt(size))).masked_fill(~mask[:, None], -math.inf)
    means, sums = exact.attend_and_sum(features, key, value, bias)
    return exact.attend(query, features, means, sums)


def relu_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The Arena's Performer: features max(x, 0) + 0.001 of unscaled queries and keys."""
    padded = ~mask[:, None, :, None]
    query, key = (tensor.relu() + RELU_FLOOR for tensor in (query, key.masked_fill(padded, 0)))
    counted = mask | ~mask.any(1, keepdim=True)  # all padding: a mean of zeros
    counted = counted[:, None, :, None].to(value.dtype).expand(-1, value.shape[1], -1, -1)
    sums = query @ (key.mT @ torch.cat([value.masked_fill(padded, 0), counted], dim=-1))
    return sums[..., :-1] / sums[..., -1:]


def with_column(matrix: Tensor, column: Tensor) -> Tensor:
    """(..., rows, width) ``matrix`` beside ``column``, then zeros up to a multiple of 4, as fused attention wants."""
    shape = torch.broadcast_shapes(matrix.shape[:-1], column.shape[:-1])
    both = torch.cat([matrix.expand(*shape, -1), column.expand(*shape, 1)], dim=-1)
    return pad(both, (0, -both.shape[-1] % 4))


def released_favor(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, projection: Tensor) -> Tensor:
    """The paper's released code: temperature 1/p, padded keys in the denominator, a stabiliser shared by the batch."""
    real = mask[:, None, :, None]

    def features(x: Tensor, stabilised_over: tuple[int, ...]) -> Tensor:
        x = x * x.shape[-1] ** -0.5
        logits = x @ projection.mT  # (batch, heads, length, features)
        norm = x.square().sum(-1, keepdim=True) / 2
        return (logits - norm - logits.amax(stabilised_over, keepdim=True)).exp() + 1e-4

    query_features = features(query, (-1,))
    key_features = features(key * real, (0, 1, 2, 3))
    total = query_features @ key_features.sum(2).unsqueeze(-1)  # (batch, heads, length, 1)
    return query_features @ (key_features.mT @ (value * real)) / total
