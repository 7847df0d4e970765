from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from lra.machine import allocated_peak, machine, make_deterministic, peak_memory, size

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


def test_resident_memory_is_plausible() -> None:
    assert 50 * MIB < peak_memory(CPU) < 2**40


@pytest.mark.parametrize("content", [None, "processor: 0\n"])
def test_a_processor_that_linux_does_not_name(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc/cpuinfo, and on some processors it gives no name."""

    def read_text(path: Path) -> str:
        assert path == Path("/proc/cpuinfo")
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("lra.machine.version", lambda package: "1.0")  # reads files too
    for name, expected in (("arm", "arm"), ("", platform.machine())):
        monkeypatch.setattr(platform, "processor", lambda name=name: name)
        assert machine(CPU, 2)["device"] == expected


def test_determinism_does_not_fill_new_tensors() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True  # torch's default
        make_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]
