"""Nystromformer written out from its definition, one sequence and one head at a time; meant for float64."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def nystrom(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, landmarks: int, taps: Tensor | None = None
) -> Tensor:
    """F Z G V over the real tokens, plus each head's filter ``taps`` (heads, taps) over the values; 0 at padding."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0]
        for h in range(query.shape[1]):
            q, k, v = query[b, h, real], key[b, h, real], value[b, h, real]
            output[b, h, real] = attention(q, k, v, landmarks)
            for i in real if taps is not None else []:
                for t, tap in enumerate(taps[h]):
                    j = i + t - taps.shape[1] // 2
                    if 0 <= j < mask.shape[1] and mask[b, j]:
                        output[b, h, i] += tap * value[b, h, j]
    return output


def attention(query: Tensor, key: Tensor, value: Tensor, landmarks: int) -> Tensor:
    """One head of one sequence without padding."""
    length, head_dim = query.shape
    if length <= landmarks:
        return softmax(query, key, head_dim) @ value
    cuts = [segment * length // landmarks for segment in range(landmarks + 1)]
    query_landmarks, key_landmarks = (
        torch.stack([x[start:stop].mean(0) for start, stop in pairwise(cuts)]) for x in (query, key)
    )
    middle = softmax(query_landmarks, key_landmarks, head_dim)
    summaries = softmax(query_landmarks, key, head_dim) @ value
    return softmax(query, key_landmarks, head_dim) @ pseudo_inverse(middle) @ summaries


def softmax(query: Tensor, key: Tensor, head_dim: int) -> Tensor:
    return torch.softmax(query @ key.T / head_dim**0.5, -1)


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """The sixth iterate from A^T / (||A||_1 ||A||_inf)."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype)
    inverse = matrix.T / (matrix.abs().sum(0).max() * matrix.abs().sum(1).max())
    for _ in range(6):
        x = matrix @ inverse
        inverse = inverse @ (13 * identity - x @ (15 * identity - x @ (7 * identity - x))) / 4
    return inverse
