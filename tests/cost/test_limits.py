"""What a device can do at most, in the units that it is told in."""

from __future__ import annotations

import pytest
import torch

from lra.cost import limits as measuring
from lra.cost.limits import Limits, measure_limits

CPU = torch.device("cpu")


def test_the_least_time_for_bytes_and_for_products() -> None:
    limits = Limits(copy_gb_s=4000, matmul_tflop_s=800)
    assert limits.copy_ms(4 * 10**9) == pytest.approx(1)
    assert limits.matmul_ms(8 * 10**11) == pytest.approx(1)


def test_the_best_of_some_counts_and_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measuring.COPIED_BYTES, "cpu", 1000)
    monkeypatch.setitem(measuring.MATRIX_SIZE, "cpu", 10)
    times = iter([4.0, 2.0, 8.0, 4.0, 4.0, 3.0, 1.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr(measuring, "milliseconds", lambda call, device: call() or next(times))
    found = measure_limits(CPU, torch.float32)
    assert found.copy_ms(2000) == pytest.approx(2)
    assert found.matmul_ms(2000) == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_are_measured(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(measuring.MATRIX_SIZE, "cpu", 64)
    found = measure_limits(CPU, dtype)
    assert found.copy_gb_s > 0 and found.matmul_tflop_s > 0
