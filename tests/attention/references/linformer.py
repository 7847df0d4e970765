"""Linformer and the unreduced Johnson-Lindenstrauss sketch, one sequence and one head at a time in float64."""

from __future__ import annotations

import torch
from torch import Tensor


def linformer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, projection: Tensor) -> Tensor:
    """softmax(Q (E K)^T / sqrt(p)) (E V) from the real positions alone; ``projection`` is E (d, max_length)."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0]
        for h in range(query.shape[1]):
            columns = projection[:, real]
            mixed_key, mixed_value = columns @ key[b, h, real], columns @ value[b, h, real]
            output[b, h] = torch.softmax(query[b, h] @ mixed_key.T / query.shape[-1] ** 0.5, -1) @ mixed_value
    return output


def linformer_jlt(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, sketch: Tensor) -> Tensor:
    """B S (S^T V) with the (length, m) matrix B written out; ``sketch`` is S (length, d)."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0]
        for h in range(query.shape[1]):
            weights = torch.softmax(query[b, h] @ key[b, h, real].T / query.shape[-1] ** 0.5, -1)
            output[b, h] = (weights @ sketch[real]) @ (sketch[real].T @ value[b, h, real])
    return output
