"""The limits of the device, measured: bytes copied and floating-point operations done in a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lra.cost.probes import milliseconds
from lra.cost.timing import warm_up

COPIED_BYTES = {"cpu": 2**26, "cuda": 2**30}
"""Bytes to copy; more than any cache holds."""
MATRIX_SIZE = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices to multiply."""
REPEATS = 5
"""Measurements, of which the fastest counts."""


@dataclass(frozen=True)
class Limits:
    """The highest measured rates of a device.

    Args:
        copy_gb_s: 10^9 bytes a second; bytes read and bytes written both count.
        matmul_tflop_s: 10^12 floating-point operations a second of a product of two square matrices.
    """

    copy_gb_s: float
    matmul_tflop_s: float

    def copy_ms(self, count: int) -> float:
        """The least milliseconds to read or write so many bytes."""
        return count / self.copy_gb_s / 1e6

    def matmul_ms(self, flops: int) -> float:
        """The least milliseconds for so many floating-point operations of matrix products."""
        return flops / self.matmul_tflop_s / 1e9


def measure_limits(device: torch.device, dtype: torch.dtype) -> Limits:
    """Measure the limits, products in ``dtype``; this also warms up a GPU."""
    source = torch.zeros(COPIED_BYTES[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    size = MATRIX_SIZE[device.type]
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def copy() -> None:
        target.copy_(source)

    def multiply() -> None:
        torch.mm(left, right)

    warm_up((copy, multiply), device)
    copy_ms, matmul_ms = (min(milliseconds(call, device) for _ in range(REPEATS)) for call in (copy, multiply))
    return Limits(2 * source.numel() / copy_ms / 1e6, 2 * size**3 / matmul_ms / 1e9)
