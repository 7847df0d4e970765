"""FAVOR+ written out from its definition, one sequence and one head at a time, unstabilised; meant for float64."""

from __future__ import annotations

import torch
from torch import Tensor


def features(x: Tensor, projection: Tensor) -> Tensor:
    """(length, d) positive random features of the rows of ``x``, already divided by p^(1/4)."""
    norm = x.square().sum(-1, keepdim=True) / 2
    return torch.exp(x @ projection.T - norm) / projection.shape[0] ** 0.5


def performer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, projection: Tensor) -> Tensor:
    """The kernel matrix phi(Q) phi(K)^T over the real keys, normalised by its row sums, times V."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0]
        for h in range(query.shape[1]):
            scale = query.shape[-1] ** -0.25
            kernel = features(query[b, h] * scale, projection) @ features(key[b, h, real] * scale, projection).T
            output[b, h] = kernel / kernel.sum(-1, keepdim=True) @ value[b, h, real]
    return output


def relu_performer(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """The same with features max(x, 0) + 0.001 of the rows themselves."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0]
        for h in range(query.shape[1]):
            kernel = (query[b, h].relu() + 1e-3) @ (key[b, h, real].relu() + 1e-3).T
            output[b, h] = kernel / kernel.sum(-1, keepdim=True) @ value[b, h, real]
    return output
