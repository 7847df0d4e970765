"""FNet (Lee-Thorp et al. 2021): tokens are mixed by a Fourier transform, without any weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lra.attention.contract import Attention, Draws


class FNet(Attention):
    """Re(F_length F_hidden V): the real part of a two-dimensional discrete Fourier transform of the values.

    Hidden is all heads side by side. The transform over positions has always ``max_length`` points, the real tokens
    followed by zeros, so that the amount of padding changes nothing; it is divided by sqrt(max_length heads head_dim),
    which keeps its scale. Queries and keys play no part, ``features`` neither. Time is n log n.
    """

    uses_key = False
    compares = False
    reference = "Lee-Thorp et al. 2021, arXiv 2105.03824"

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        heads, length, head_dim = value.shape[1:]
        tokens = value.masked_fill(~mask[:, None, :, None], 0).float()
        tokens = tokens.transpose(1, 2).flatten(2)  # (batch, length, heads * head_dim)
        mixed = torch.fft.fft(torch.fft.fft(tokens, dim=2), n=self.max_length, dim=1).real[:, :length]
        mixed = mixed / math.sqrt(self.max_length * heads * head_dim)
        return mixed.unflatten(2, (heads, head_dim)).transpose(1, 2).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        """5/2 N log2 N multiply-adds of a complex transform over ``max_length`` positions, whatever the length."""
        return round(2.5 * self.max_length * math.log2(max(2, self.max_length)) * self.head_dim)
