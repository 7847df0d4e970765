from __future__ import annotations

import pytest
import torch

from lra.training.optim import is_out_of_memory, one_cycle


@pytest.mark.parametrize(("warmup", "steps"), [(2, 10), (20, 300), (99, 100)])
def test_the_schedule_is_torchs_one_cycle(warmup: int, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps,
        pct_start=warmup / steps,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    for step in range(steps):
        assert one_cycle(step, warmup, steps) == pytest.approx(reference.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            reference.step()


def test_no_warmup_starts_at_the_peak() -> None:
    assert one_cycle(0, 0, 5) == one_cycle(0, 1, 5) == 1.0
    assert one_cycle(0, 0, 1) == 1.0


def test_what_counts_as_running_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))
