from __future__ import annotations

import torch

from lra.cost.probes import allocated_peak, size

CPU = torch.device("cpu")
MIB = 2**20


def mebibytes(count: int) -> torch.Tensor:
    return torch.empty(count * MIB, dtype=torch.uint8)


def test_the_worst_moment_counts() -> None:
    def call() -> None:
        first = mebibytes(2)
        del first
        second, third = mebibytes(3), mebibytes(1)  # together 4 while the 2 above are free again
        del second, third
        mebibytes(1)

    assert allocated_peak(call, CPU) == 4 * MIB


def test_what_was_there_before_does_not_count() -> None:
    kept = mebibytes(8)
    assert allocated_peak(lambda: kept[:MIB].clone(), CPU) == MIB


def test_memory_of_the_backward_pass_counts() -> None:
    weight = torch.ones(MIB, requires_grad=True)  # 4 MiB
    peak = allocated_peak(lambda: weight.square().sum().backward(), CPU)
    # The square, and then the gradients of the square, of the weight, and what the product 2 w g needs.
    assert 8 * MIB <= peak <= 16 * MIB


def test_size() -> None:
    assert size([torch.zeros(3, 2), torch.zeros(5, dtype=torch.bfloat16)]) == 24 + 10
    assert size([]) == 0
