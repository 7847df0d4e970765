"""Synthesizer (Tay et al. 2020): logits that compare no query with a key, but are learned or made from one token."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from lra.attention.contract import Attention, Draws


class Synthesizer(Attention):
    """softmax(R) V, where R (heads, max_length, max_length) takes one of three forms (section 3).

    ``random``: R is a learned matrix. ``factorized``: R = A B^T with A and B (max_length, ``rank``) learned. ``dense``:
    row i of R is W2 relu(W1 q_i), the query's own prediction of all logits. Learned logits belong to positions, so a
    shorter sequence uses their first rows and columns. Keys play no part, ``features`` neither. Quadratic in any form.

    Args:
        kind: the form of R.
        rank: inner size k of ``factorized``.

    Raises:
        ValueError: the kind is unknown, or ``rank`` is less than 1.
    """

    linear = False
    uses_key = False
    compares = False
    reference = "Tay et al. 2020, arXiv 2005.00743"

    def __init__(
        self, *, kind: Literal["random", "factorized", "dense"] = "random", rank: int = 32, **common: Any
    ) -> None:
        super().__init__(**common)
        if kind not in ("random", "factorized", "dense"):
            raise ValueError(f"kind must be random, factorized or dense, not {kind!r}")
        if rank < 1:
            raise ValueError(f"rank must be at least 1, not {rank}")
        self.kind = kind
        self.rank = rank
        longest, size = self.max_length, self.head_dim
        if kind == "random":
            self.logits = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, longest, longest)))
        elif kind == "factorized":
            self.left = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, longest, rank)))
            self.right = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, longest, rank)))
        else:
            self.inner = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, size, size)))
            self.outer = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, size, longest)))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        length = query.shape[2]
        if self.kind == "random":
            logits = self.logits[:, :length, :length]
        elif self.kind == "factorized":
            logits = self.left[:, :length] @ self.right[:, :length].transpose(-1, -2)
        else:
            logits = (query @ self.inner.to(query.dtype)).relu() @ self.outer[..., :length].to(query.dtype)
        bias = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device).masked_fill(
            ~mask, torch.finfo(torch.float32).min
        )
        weights = (logits.float() + bias[:, None, None]).softmax(-1)  # (batch, heads, length, length)
        return weights.to(value.dtype) @ value.masked_fill(~mask[:, None, :, None], 0)

    def multiply_adds(self, length: int) -> int:
        inner = {"random": 0, "factorized": self.rank, "dense": self.head_dim}[self.kind]
        return length * length * (self.head_dim + inner)
