"""ProbSparse attention, one query at a time in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def logarithmic_budget(count: int, features: int, max_length: int) -> int:
    """min(m, c ceil(ln m)) with c = ceil(features / ln n), but at least one step of c."""
    return min(count, math.ceil(features / math.log(max_length)) * max(1, math.ceil(math.log(count))))


def informer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, index: Tensor, budgets: list[int]) -> Tensor:
    """The first ``budgets[b]`` keys of ``index[b]`` score the real queries of sequence b; as many queries win."""
    output = torch.zeros_like(value)
    for b, budget in enumerate(budgets):
        real = mask[b].nonzero()[:, 0].tolist()
        for h in range(query.shape[1]):
            keys, values = key[b, h, real], value[b, h, real]
            scores = {}
            for i in real:
                products = [(query[b, h, i] @ key[b, h, j]).item() for j in index[b, :budget].tolist()]
                scores[i] = max(products) - sum(products) / len(products)
            winners = sorted(real, key=scores.__getitem__, reverse=True)[:budget]
            for i in real:
                weights = torch.softmax(keys @ query[b, h, i] / query.shape[-1] ** 0.5, 0)
                output[b, h, i] = weights @ values if i in winners else values.mean(0)
    return output
