"""Optimiser, learning-rate schedules, precision and random state of training."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from lra.config.settings import TrainSettings
from lra.errors import is_out_of_memory as is_out_of_memory

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def make_optimizer(model: nn.Module, settings: TrainSettings, steps: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    """The paper's AdamW (section 6) and its learning rates over ``steps`` updates.

    Only the weights of linear layers decay, as is usual: decay would pull norms, embeddings and other learned
    parameters, such as state matrices, towards meaningless values.
    """
    decayed = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    linear = {id(weight) for weight in decayed}
    others = [parameter for parameter in model.parameters() if id(parameter) not in linear]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-6, fused=True)
    return optimizer, LambdaLR(optimizer, functools.partial(SCHEDULES[settings.schedule], settings.warmup, steps))


def autocast(settings: TrainSettings, device: torch.device) -> torch.autocast:
    """Mixed precision, if the settings ask for it; otherwise a context without effect."""
    dtype = PRECISIONS.get(settings.precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def one_cycle(warmup: int, steps: int, step: int) -> float:
    """Share of the peak rate at a step, counted from 0: linear from 1/25 to 1 in ``warmup`` steps, then to 4e-6.

    The same numbers as torch's OneCycleLR with linear annealing, which fails for a warm-up of 0 or 1 steps.
    """
    start, end, peak = 1 / 25, 1 / 25e4, max(warmup - 1, 0)
    if step < peak:
        return start + (1 - start) * step / peak
    return 1 + (end - 1) * min((step - peak) / max(steps - 1 - peak, 1), 1)


def linear_decay(warmup: int, steps: int, step: int) -> float:
    """Share of the peak rate at a step, counted from 0: linear from 0 to 1 in ``warmup`` steps, then linear to 0.

    The same numbers as transformers' ``get_linear_schedule_with_warmup``; without a warm-up the first step is the peak.
    """
    return step / warmup if step < warmup else max(0.0, (steps - step) / max(steps - warmup, 1))


def cosine_decay(warmup: int, steps: int, step: int) -> float:
    """As :func:`linear_decay`, but half a cosine to 0: transformers' ``get_cosine_schedule_with_warmup``."""
    falling = linear_decay(warmup, steps, step)
    return falling if step < warmup else (1 - math.cos(math.pi * falling)) / 2


SCHEDULES = {"onecycle": one_cycle, "linear": linear_decay, "cosine": cosine_decay}


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Torch's global random states. The order of the data needs none: seed and step decide it."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Set torch's global random states to those that :func:`random_state` returned."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
