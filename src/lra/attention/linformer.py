"""Linformer (Wang et al. 2020) and the unreduced Johnson-Lindenstrauss sketch it is a shortcut for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lra.attention import exact
from lra.attention.contract import Attention, Draws


class Linformer(Attention):
    """softmax(Q (E K)^T / sqrt(p)) (E V): attention over d learned mixtures of the positions.

    ``E`` (features, max_length) is a trained parameter, one for all heads and for keys and values alike: "key-value
    sharing" of the paper's section 4. It starts as in the method's official code (fairseq's ``examples/linformer``),
    uniform with the variance 1 / (features + max_length); the paper states no start. (Its theorem 2 is about another
    pair, delta R for keys and exp(-delta) R for values with R of N(0, 1/d) and delta = 2^-max_length.) Padded keys and
    values count as 0 and a shorter input uses the first columns of ``E``, so how far it is padded changes nothing.

    ``released=True`` has an ``E`` a head, (heads, features, max_length), frozen at its first values, of standard
    deviation 0.02: the published numbers come from GPUs, where the released code never trained it.

    Kept for the backward pass: queries, the unpadded keys and values, the d projected ones and the output; no
    (length, d) matrix per sequence.
    """

    reference = "Wang et al. 2020, arXiv 2006.04768"

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        if self.released:
            initial = 0.02 * torch.randn(self.heads, self.features, self.max_length)
            self.E = nn.Parameter(initial, requires_grad=False)
        else:
            self.E = nn.Parameter(torch.empty(self.features, self.max_length))
            nn.init.xavier_uniform_(self.E, gain=1 / math.sqrt(2))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        both = torch.cat((key, value), dim=-1).masked_fill(~mask[:, None, :, None], 0)
        projection = self.E[..., : key.shape[2]].to(both.dtype)
        projected = torch.einsum("hdn,bhnp->bhdp" if self.released else "dn,bhnp->bhdp", projection, both)
        projected_key, projected_value = projected.chunk(2, dim=-1)
        return exact.attend(query, projected_key, projected_value)

    def multiply_adds(self, length: int) -> int:
        return 4 * length * self.features * self.head_dim


class LinformerJLT(Attention):
    """B S S^T V with B = softmax(Q K^T / sqrt(p)) in full: the paper's "unreduced JLT" row.

    The entries of the sketch ``S`` (length, features) are N(0, 1/d), one sketch for the whole batch and all heads, so
    the mean of S S^T is the identity and the output is an unbiased estimate of B V. Multiplied from the right it is
    exact attention to the sketched values S (S^T V): quadratic in time, yet no (length, length) matrix is formed.

    ``S`` is drawn when the module is built and kept, as Linformer keeps the projection that the sketch stands for; the
    paper does not say how often it is drawn, and with a new one every pass nothing is learned (docs/fidelity.md).

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
        uniform = self.fixed_noise("S") if generator is None else self.noise("S", 1, generator)[0]
        uniform = uniform[: key.shape[2]].clamp(2**-25, 1 - 2**-24)  # an endpoint would be infinite
        return {"S": torch.special.ndtri(uniform) / math.sqrt(self.features)}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        sketch = draws["S"].to(value.dtype)
        sketched = sketch @ (sketch.T @ value.masked_fill(~mask[:, None, :, None], 0))
        return exact.attend(query, key, sketched, mask)

    def multiply_adds(self, length: int) -> int:
        return 2 * length * length * self.head_dim + 2 * length * self.features * self.head_dim
