"""LSH attention as softmax over an explicit set of keys for each token, the union of what its rounds let it see."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def buckets(query: Tensor, rotations: Tensor, real: int, chunk_length: int) -> list[int]:
    """Buckets of one sequence's real tokens (real, head_dim) in one round, by rotations (head_dim, columns)."""
    if real <= chunk_length:
        return [0] * real
    turned = query @ rotations[:, : math.ceil(real / chunk_length)].to(query.dtype)
    return torch.cat([turned, -turned], dim=-1).argmax(-1).tolist()


def seen(bucket: list[int], chunk_length: int) -> list[set[int]]:
    """The other tokens that each token sees in one round."""
    order = sorted(range(len(bucket)), key=lambda token: (bucket[token], token))
    chunk = {token: place // chunk_length for place, token in enumerate(order)}
    return [
        {j for j in order if j != i and bucket[j] == bucket[i] and chunk[i] - chunk[j] in (0, 1)}
        for i in range(len(bucket))
    ]


def reformer(query: Tensor, value: Tensor, mask: Tensor, rotations: Tensor | None, chunk_length: int) -> Tensor:
    """``rotations`` (heads, head_dim, rounds, columns); None for sequences of a single chunk."""
    output = torch.zeros_like(value)
    for b in range(len(mask)):
        real = mask[b].nonzero()[:, 0].tolist()
        for h in range(query.shape[1]):
            queries, values = query[b, h, real], value[b, h, real]
            rounds = [torch.zeros(query.shape[-1], 1)] if rotations is None else rotations[h].unbind(1)
            views = [seen(buckets(queries, turn, len(real), chunk_length), chunk_length) for turn in rounds]
            keys = queries / (queries.square().mean(-1, keepdim=True) + 1e-6).sqrt() / query.shape[-1] ** 0.5
            for i, token in enumerate(real):
                visible = sorted(set().union(*(view[i] for view in views))) or [i]
                output[b, h, token] = torch.softmax(keys[visible] @ queries[i], 0) @ values[visible]
    return output
