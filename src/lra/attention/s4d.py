"""S4D (Gu et al. 2022): a diagonal state space model in place of attention, in both directions.

A yardstick from outside attention: each channel of the values is convolved with a long kernel of few parameters.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from lra.attention.contract import Attention, Draws


class S4D(Attention):
    """y = k_forward * v + k_backward * v + D v, with k_t = 2 Re sum_n C_n B_n exp(t dt A_n) and A, C, D, dt learned.

    The discretisation is zero-order hold, B = (exp(dt A) - 1) / A, and A starts as S4D-Lin: -1/2 + i pi n (section 4).
    The convolution runs over ``max_length`` positions by a Fourier transform; padding holds zeros, so real tokens to
    the left of padding see nothing of it. Queries and keys play no part, ``features`` neither. Time is n log n. Keep
    the parameters in float32: bfloat16 rounds frequencies by more than the kernel bears. Inputs may be of any type.

    Args:
        state: complex states N of a channel; each stands for a pair of conjugates.

    Raises:
        ValueError: ``state`` is less than 1.
    """

    uses_key = False
    compares = False
    reference = "Gu et al. 2022, arXiv 2206.11893"

    def __init__(self, *, state: int = 32, **common: Any) -> None:
        super().__init__(**common)
        if state < 1:
            raise ValueError(f"state must be at least 1, not {state}")
        self.state = state
        channels = self.heads * self.head_dim
        low, high = math.log(0.001), math.log(0.1)
        self.log_step = nn.Parameter(torch.rand(channels) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.full((channels, state), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(state).float().expand(channels, -1).clone())
        self.output = nn.Parameter(torch.randn(2, channels, state, 2) * math.sqrt(0.5))  # of both directions
        self.skip = nn.Parameter(torch.ones(channels))

    def kernels(self, length: int) -> Tensor:
        """(2, channels, length) float32: the kernels of both directions."""
        step = self.log_step.float().exp()[:, None]
        rate = torch.complex(-self.log_decay.float().exp(), self.frequency.float())  # (channels, state)
        gain = torch.view_as_complex(self.output.float()) * (torch.exp(rate * step) - 1) / rate
        time = torch.arange(length, device=step.device)
        powers = torch.exp((rate * step)[..., None] * time)  # (channels, state, length)
        return 2 * torch.einsum("dcn,cnt->dct", gain, powers).real

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        heads, length, head_dim = value.shape[1:]
        tokens = value.masked_fill(~mask[:, None, :, None], 0).float().transpose(-1, -2).flatten(1, 2)
        forward, backward = self.kernels(length).unbind()  # (channels, length)
        # One circular convolution over twice the length: what reaches back in time stands at its end.
        both = torch.cat([forward, torch.zeros_like(forward[:, :1]), backward[:, 1:].flip(-1)], dim=-1)
        size = 2 * length
        mixed = torch.fft.irfft(torch.fft.rfft(tokens, n=size) * torch.fft.rfft(both, n=size), n=size)[..., :length]
        mixed = mixed + self.skip.float()[:, None] * tokens  # (batch, channels, length)
        return mixed.unflatten(1, (heads, head_dim)).transpose(-1, -2).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        """The kernels, 4 n N p, and three real transforms of 2 n points, 5/4 (2 n) log2 (2 n) p each."""
        transforms = 3 * 2.5 * length * math.log2(2 * length)
        return round((4 * length * self.state + transforms) * self.head_dim)
