"""Linformer (Wang et al. 2020) and the unreduced Johnson-Lindenstrauss sketch it is a shortcut for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lra.attention.contract import Attention, Draws


class Linformer(Attention):
    """softmax(Q (E K)^T / sqrt(p)) (E V): attention over d learned mixtures of the positions.

    ``E`` (heads, features, max_length) is a trained parameter, one for keys and values alike ("key-value sharing",
    section 4 of the paper), and starts as the N(0, 1/d) projection of its theorems. Padded keys and values count as 0
    and a shorter input uses the first columns of ``E``, so how far it is padded changes nothing.

    ``released=True`` freezes ``E`` at its first values, of standard deviation 0.02: the published numbers come from
    GPUs, where the released code never trained it. The formula is the same.

    Kept for the backward pass: queries, the unpadded keys and values, the d projected ones and the output; no
    (length, d) matrix per sequence.
    """

    reference = "Wang et al. 2020, arXiv 2006.04768"

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        deviation = 0.02 if self.released else 1 / math.sqrt(self.features)
        initial = deviation * torch.randn(self.heads, self.features, self.max_length)
        self.E = nn.Parameter(initial, requires_grad=not self.released)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        both = torch.cat((key, value), dim=-1).masked_fill(~mask[:, None, :, None], 0)
        projection = self.E[..., : key.shape[2]].to(both.dtype)
        projected = torch.einsum("hdn,bhnp->bhdp", projection, both)
        projected_key, projected_value = projected.chunk(2, dim=-1)
        return scaled_dot_product_attention(query, projected_key, projected_value)

    def multiply_adds(self, length: int) -> int:
        return 4 * length * self.features * self.head_dim


class LinformerJLT(Attention):
    """B S S^T V with B = softmax(Q K^T / sqrt(p)) in full: the paper's "unreduced JLT" row.

    The entries of the sketch ``S`` (length, features) are N(0, 1/d), one sketch for the whole batch and all heads, so
    the mean of S S^T is the identity and the output is an unbiased estimate of B V. Multiplied from the right it is
    exact attention to the sketched values S (S^T V): quadratic in time, yet no (length, length) matrix is formed.

    Kept for the backward pass: the inputs, S, the sketched values and the output.
    """

    linear = False
    random = True
    reference = "Chen et al. 2022, arXiv 2112.05359, after Wang et al. 2020, arXiv 2006.04768, theorem 1"

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.register_noise("S", self.max_length, self.features)

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``S`` (length, features) float32, the first rows of a sketch of ``max_length`` rows."""
        uniform = self.noise("S", 1, generator)[0].float().clamp(2**-25, 1 - 2**-24)  # an endpoint would be infinite
        sketch = torch.special.ndtri(uniform) / math.sqrt(self.features)
        return {"S": sketch[: key.shape[2]]}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        sketch = draws["S"].to(value.dtype)
        sketched = sketch @ (sketch.T @ value.masked_fill(~mask[:, None, :, None], 0))
        return scaled_dot_product_attention(query, key, sketched, attn_mask=mask[:, None, None, :])

    def multiply_adds(self, length: int) -> int:
        return 2 * length * length * self.head_dim + 2 * length * self.features * self.head_dim
