"""Algorithm 1 of arXiv 2112.05359 for one head of one sequence, row by row in raw exponentials. Slow; for float64.

Query, key and value are (length, head_dim), mask is (length,) bool.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def column_probabilities(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, pilots: Tensor) -> Tensor:
    """Equation 5: the (length,) probabilities of the columns, given the (d,) pilot rows."""
    weights = torch.zeros(len(key), dtype=key.dtype)
    for pilot in pilots.tolist():
        row = torch.exp(key @ query[pilot] / math.sqrt(key.shape[1])) * mask
        weights += (row / row.sum()) ** 2
    weights = weights.sqrt() * value.norm(dim=1)
    return weights / weights.sum()


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    columns: Tensor,
    pilots: Tensor | None = None,
    norm: str = "adaptive",
) -> Tensor:
    """The (length, head_dim) output; rows of padding are 0.

    ``columns`` are the selected ones, of which padding is skipped, and the rows ``pilots`` are exact. ``norm`` is
    "adaptive" (equation 6), "simple" (softmax over the selected columns) or "none" (exact row sums).
    """
    real = mask.nonzero().flatten().tolist()
    chosen = [j for j in columns.tolist() if j in real]
    others = [j for j in real if j not in chosen]
    exact_rows = [] if pilots is None else pilots.tolist()
    output = torch.zeros_like(value)
    for i in real:
        a = torch.exp(key @ query[i] / math.sqrt(key.shape[1]))
        if i in exact_rows:
            weighted, row_sum = a[real] @ value[real], a[real].sum()
        elif norm == "adaptive":
            g = a[chosen].prod() ** (1 / len(chosen))
            weighted = a[chosen] @ value[chosen] + g * value[others].sum(0)
            row_sum = a[chosen].sum() + len(others) * g
        elif norm == "simple":
            weighted, row_sum = a[chosen] @ value[chosen], a[chosen].sum()
        else:
            weighted, row_sum = a[chosen] @ value[chosen], a[real].sum()
        output[i] = weighted / row_sum
    return output
