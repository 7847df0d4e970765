"""FLOPs of a model's forward pass: counted from the operations that run, and by the formulas of its attentions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lra.attention.contract import Attention
from lra.model import Model, formula_flops


@torch.no_grad()
def count_flops(model: Model, tokens: Sequence[Tensor], mask: Sequence[Tensor]) -> dict[str, int]:
    """FLOPs of an evaluation pass over the given sequences; a multiply-add counts as two.

    Args:
        model: the model.
        tokens: token ids (batch, length) of each tower.
        mask: True for a real token, (batch, length) for each tower.

    Returns:
        ``flops_forward``: counted matrix products and attention kernels of the model. ``flops_attention``: the part of
        the attentions, without the projections around them. ``flops_formula``: that part by :func:`formula_flops`.
    """
    training = model.training
    model.eval()
    with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
        model(tokens, mask)
    model.train(training)
    attentions = [name for name, module in model.named_modules() if isinstance(module, Attention)]
    counts = counter.get_flop_counts()
    within = [counts.get(f"{type(model).__name__}.{name}", {}) for name in attentions]
    return {
        "flops_forward": counter.get_total_flops(),
        "flops_attention": sum(sum(count.values()) for count in within),
        "flops_formula": sum(formula_flops(model, tower.shape[1]) * len(tower) for tower in tokens),
    }


@torch.no_grad()
def attention_flops(attention: Attention, length: int, device: torch.device) -> int:
    """Counted FLOPs of an attention's evaluation pass over one sequence, all heads: matrix products and kernels."""
    query, key, value = torch.randn(3, 1, attention.heads, length, attention.head_dim, device=device)
    mask = torch.ones(1, length, dtype=torch.bool, device=device)
    training = attention.training
    attention.eval()
    with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
        attention(query, key, value, mask)
    attention.train(training)
    return counter.get_total_flops()


def _attention_kernel(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs of an attention kernel from the shapes of its arguments."""
    return int(sdpa_flop_count(query, key, value))


CPU_KERNELS = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_kernel}
"""Kernels that torch's counter lacks, and the functions that give their FLOPs."""
