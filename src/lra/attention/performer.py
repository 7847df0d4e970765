"""Performer: attention by positive orthogonal random features, FAVOR+ (Choromanski et al. 2021, arXiv 2009.14794)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from lra.attention.contract import Attention, Draws


class Performer(Attention):
    """phi(Q) (phi(K)^T V) / phi(Q) (phi(K)^T 1), where phi(q) . phi(k) estimates exp(q . k / sqrt(p)) without bias.

    phi(q)_f = exp(w_f . x - |x|^2 / 2) / sqrt(d) with x = q / p^(1/4) (lemma 1). The rows w_f of the projection are
    orthogonal in blocks of p, each as long as a Gaussian vector (section 2.4). One projection serves all heads and
    sequences; it is drawn anew in every training pass and stays the same in evaluation.

    Draws:
        projection: (features, head_dim), or (heads, features, head_dim) for one a head.

    Memory kept for the backward pass: one (features, length) matrix a head, the key features.
    """

    random = True
    reference = "Choromanski et al. 2021, arXiv 2009.14794"
    evaluation_projection: Tensor

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.register_buffer("evaluation_projection", orthogonal_gaussian(self.features, self.head_dim))

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        if generator is None and not self.training:
            return {"projection": self.evaluation_projection}
        return {"projection": orthogonal_gaussian(self.features, self.head_dim, generator, query.device)}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        core = torch.promote_types(value.dtype, torch.float32)  # exponentials of long vectors need float32
        attention = released_favor if self.released else favor
        with torch.autocast(value.device.type, enabled=False):
            projection = draws["projection"].to(core)
            return attention(query.to(core), key.to(core), value.to(core), mask, projection).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        return 3 * length * self.features * self.head_dim


def orthogonal_gaussian(
    rows: int, columns: int, generator: Generator | None = None, device: torch.device | None = None
) -> Tensor:
    """(rows, columns) normal vectors, orthogonal within each block of ``columns`` rows; each alone is still normal."""
    blocks = -(-rows // columns)
    basis, triangle = torch.linalg.qr(torch.randn(blocks, columns, columns, generator=generator, device=device))
    # The sign of R's diagonal makes the basis uniform (Mezzadri 2007): LAPACK's alone favours one half of the sphere.
    directions = basis * triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    lengths = torch.randn(rows, columns, generator=generator, device=device).norm(dim=-1, keepdim=True)
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
    output = scaled_dot_product_attention(with_column(query * scale, one), features, sums / total, scale=1.0)
    return output[..., :head_dim]


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
