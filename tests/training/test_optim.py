from __future__ import annotations

import pytest
import torch
from torch import nn

from lra.config.settings import TrainSettings
from lra.training.optim import cosine_decay, is_out_of_memory, linear_decay, make_optimizer, one_cycle


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
        assert one_cycle(warmup, steps, step) == pytest.approx(reference.get_last_lr()[0], rel=1e-6, abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            reference.step()


def test_no_warmup_starts_at_the_peak() -> None:
    assert one_cycle(0, 5, 0) == one_cycle(1, 5, 0) == 1.0
    assert one_cycle(0, 1, 0) == 1.0


def test_what_counts_as_running_out_of_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"))
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


@pytest.mark.parametrize(("warmup", "steps"), [(0, 6), (3, 10)])
def test_the_other_schedules_are_those_of_public_recipes(warmup: int, steps: int) -> None:
    """A warm-up from 0, then torch's half cosine or line to 0 over the steps that are left."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup)
    for step in range(warmup):
        assert cosine_decay(warmup, steps, step) == linear_decay(warmup, steps, step) == step / warmup
    for step in range(warmup, steps + 1):
        assert cosine_decay(warmup, steps, step) == pytest.approx(cosine.get_last_lr()[0], abs=1e-9)
        assert linear_decay(warmup, steps, step) == pytest.approx((steps - step) / (steps - warmup))
        optimizer.step()
        cosine.step()


def test_only_the_weights_of_linear_layers_decay() -> None:
    """Of the model without gradients a step shrinks those, and leaves norms, biases and embeddings as they were."""
    model = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    settings = TrainSettings(1, 0.5, warmup=0, steps=10, evaluate_every=1, weight_decay=0.1, schedule="cosine")
    optimizer, _ = make_optimizer(model, settings, steps=10)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if name == "2.weight" else 1))
