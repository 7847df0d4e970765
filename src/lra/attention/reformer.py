"""Reformer (Kitaev et al. 2020): a token attends to the tokens that a random hash puts in the same bucket.

Queries serve as keys, k_j = q_j / |q_j|. In each of several rounds all tokens are hashed to buckets and sorted by
bucket, and the sorted sequence is cut into chunks of m tokens; a chunk attends to itself and to the previous one.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, rms_norm

from lra.attention.contract import Attention, Draws
from lra.attention.gather import permute

HIDDEN = -1e9
"""The logit of a pair that is not attended to."""
SELF = -1e5
"""Added to the logit of a token with itself, which attends to itself only if there is no other token."""


class Reformer(Attention):
    """LSH attention with shared queries and keys (Kitaev et al. 2020, section 2 and appendix A).

    Token i attends to the union over rounds of the tokens j in its bucket and in its chunk or the one before. A pair
    that meets in several rounds must count once: the paper divides its weight by the number N_ij of such rounds, here
    it is left to the first of them, which is the same sum. Masked tokens are sorted behind all real ones, so the chunks
    of a sequence do not depend on its padding, nor does its number of buckets, 2 ceil(l / m) for l real tokens (the
    paper's m = 2 l / n_buckets). A sequence with l <= m is one bucket: every token attends to all others.

    With ``released``, as in the Hugging Face module that the paper's code uses: a chunk attends to all of itself and of
    the previous one whatever the buckets, the first chunk of a round to the last one of the round before (of the last
    round, for the first), pairs count as often as they meet, and the number of buckets is set by the padded length.

    Attention costs a token the same at any length, but hashing compares it with ceil(l / m) directions: time is
    quadratic, and from 4 m^2 tokens on hashing is the larger part.

    ``key`` is ignored and so is ``features``: the budget is 2 m keys a query and round. Kept for the backward pass: the
    attention weights, 2 m a token and round; sorted queries and two copies of keys and values a round. It has no second
    derivatives.

    Args:
        num_hashes: hashing rounds.
        chunk_length: tokens m in a chunk; other lengths are padded inside.

    Raises:
        ValueError: an option is below 1.
    """

    linear = False
    random = True
    uses_key = False
    reference = "Kitaev et al. 2020, arXiv 2001.04451"

    def __init__(self, *, num_hashes: int = 2, chunk_length: int = 64, **common: Any) -> None:
        super().__init__(**common)
        if num_hashes < 1 or chunk_length < 1:
            raise ValueError(f"num_hashes and chunk_length must be at least 1, not {num_hashes} and {chunk_length}")
        self.num_hashes = num_hashes
        self.chunk_length = chunk_length
        self.register_noise("rotations", self.heads, self.head_dim, num_hashes, self.count_chunks(self.max_length))

    def count_chunks(self, length: int) -> int:
        return -(-length // self.chunk_length)

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``rotations`` (heads, head_dim, rounds, chunks): normal, shared by all sequences; none for a single chunk."""
        chunks = self.count_chunks(mask.shape[1])
        if chunks == 1:
            return {}
        uniform = self.noise("rotations", 1, generator)[0, ..., :chunks]
        return {"rotations": torch.special.ndtri(uniform.clamp(min=2**-25))}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        length = query.shape[2]
        if length <= self.chunk_length:
            hidden = ~mask[:, None, None, :].repeat(1, self.heads, length, 1)
            output, total, _ = attend_chunks(query, as_key(query), value, hidden)
            return (output / total).to(value.dtype)

        query, value = (pad(tensor, (0, 0, 0, -length % self.chunk_length)) for tensor in (query, value))
        mask = pad(mask, (0, -length % self.chunk_length))
        with torch.no_grad():
            bucket = self.hash(query, mask, draws["rotations"])
            position = torch.arange(mask.shape[1], device=mask.device)
            order = bucket.argsort(dim=-1, stable=True)  # (batch, heads, rounds, length)
            rank = torch.empty_like(order).scatter_(-1, order, position.expand_as(order))
            hidden = self.hide_released(order, mask) if self.released else self.hide(bucket, order, rank)
        query, value = self.in_chunks(permute(torch.cat([query, value], dim=-1), order, rank)).chunk(2, dim=-1)
        key, value = self.with_previous(as_key(query)), self.with_previous(value)
        output, total, top = attend_chunks(query, key, value, hidden)
        output = from_chunks(output, order, rank)  # (batch, heads, rounds, length, head_dim)
        total, top = from_chunks(torch.cat([total, top], dim=-1), order, rank).split(1, dim=-1)
        weight = (top - top.amax(dim=2, keepdim=True)).detach().exp2()
        output = (weight * output).sum(dim=2) / (weight * total).sum(dim=2)
        return output[:, :, :length].to(value.dtype)

    def in_chunks(self, sequence: Tensor) -> Tensor:
        """(batch, heads, rounds, length, ...) to (batch, heads, rounds, chunks, m, ...)."""
        return sequence.unflatten(3, (-1, self.chunk_length))

    def hash(self, query: Tensor, mask: Tensor, rotations: Tensor) -> Tensor:
        """(batch, heads, rounds, length) buckets argmax [x R; -x R]; masked tokens get a last bucket of their own."""
        columns = rotations.shape[-1]
        if not self.released:
            real = mask.sum(dim=-1)
            used = torch.where(real <= self.chunk_length, 0, -(-real // self.chunk_length))
            used = torch.arange(columns, device=mask.device) < used[:, None]  # (batch, columns)
            rotations = rotations * used[:, None, None, None, :]
        with torch.autocast(query.device.type, enabled=False):
            turned = query.to(rotations.dtype) @ rotations.flatten(-2)
        turned = turned.unflatten(-1, (-1, columns)).transpose(2, 3)  # (batch, heads, rounds, length, columns)
        best = turned.abs().argmax(dim=-1, keepdim=True)
        bucket = torch.where(turned.gather(-1, best) < 0, best + columns, best).squeeze(-1)
        return torch.where(mask[:, None, None, :], bucket, 2 * columns)

    def with_previous(self, chunks: Tensor) -> Tensor:
        """Put the previous chunk before each one: (batch, heads, rounds, chunks, m, ...) to (..., 2 m, ...)."""
        previous = chunks.flatten(2, 3).roll(1, dims=2).view_as(chunks) if self.released else chunks.roll(1, dims=3)
        return torch.cat([previous, chunks], dim=4)

    def hide(self, bucket: Tensor, order: Tensor, rank: Tensor) -> Tensor:
        """The pairs (batch, heads, rounds, chunks, m, 2 m) to hide: of two buckets, or met in a round before.

        A pair meets where the key is in the query's bucket and in its chunk or the one before: where ``place``, which
        numbers the chunks of all buckets, differs by 0 or 1.
        """
        place = bucket * (self.count_chunks(order.shape[-1]) + 1) + rank // self.chunk_length
        hidden = []
        for this in range(order.shape[2]):
            here = order[:, :, this, None].expand(-1, -1, this + 1, -1)
            query = self.in_chunks(place[:, :, : this + 1].gather(-1, here))
            key = self.with_previous(query)
            key[:, :, this, 0, : self.chunk_length] = -2  # the first chunk has no previous one
            query, key = query[..., :, None], key[..., None, :]
            meets = [(query[:, :, r] == key[:, :, r]) | (query[:, :, r] - 1 == key[:, :, r]) for r in range(this + 1)]
            hide = ~meets[this]
            for before in meets[:this]:
                hide |= before
            hidden.append(hide)
        return torch.stack(hidden, dim=2)

    def hide_released(self, order: Tensor, mask: Tensor) -> Tensor:
        """The same for the released code: masked keys, and the token itself met in the round before."""
        chunks = self.in_chunks(order)
        windows = self.with_previous(chunks)
        masked = ~mask[:, None].expand(-1, chunks.shape[1], -1).gather(-1, windows.flatten(2)).view_as(windows)
        return masked[..., None, :] | (chunks[..., :, None] == windows[..., None, :])

    def multiply_adds(self, length: int) -> int:
        """4 n m R p for the chunks of R rounds, and n ceil(n / m) R p for hashing; 2 n^2 p for a single chunk."""
        chunks = self.count_chunks(length)
        if chunks == 1:
            return 2 * length * length * self.head_dim
        return length * self.num_hashes * (4 * self.chunk_length + chunks) * self.head_dim


def as_key(query: Tensor) -> Tensor:
    """Shared queries as keys: divided by their length, and by sqrt(p) as logits are."""
    return (rms_norm(query, query.shape[-1:], eps=1e-6) / math.sqrt(query.shape[-1])).to(query.dtype)


def from_chunks(chunks: Tensor, order: Tensor, rank: Tensor) -> Tensor:
    """(batch, heads, rounds, chunks, m, size), sorted by ``order``, back to (batch, heads, rounds, length, size)."""
    back, forth = (index.flatten(1, 2)[:, :, None] for index in (rank, order))
    return permute(chunks.flatten(1, 2).flatten(2, 3), back, forth).view(*rank.shape, -1)


def attend_chunks(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> list[Tensor]:
    """Attention of queries (..., m, p) to keys and values (..., w, p), the last m of which are the same tokens.

    Returns the weighted sums of values (..., m, p) and the sums of weights (..., m, 1), both divided by 2^top, and top
    (..., m, 1), which is not differentiable.
    """
    hidden.diagonal(hidden.shape[-1] - hidden.shape[-2], -2, -1).fill_(0)  # jit.trace refuses False
    with torch.autocast(query.device.type, enabled=False):
        flat = (tensor.flatten(0, -3) for tensor in (query, key, value, hidden))
        results = ChunkAttention.apply(*flat)  # type: ignore[no-untyped-call]
    return [tensor.unflatten(0, query.shape[:-2]) for tensor in results]


class ChunkAttention(torch.autograd.Function):
    """:func:`attend_chunks` for one leading dimension, working in place: time goes to memory more than to products."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        # exp2 is far faster than exp on the CPU where weights vanish.
        logits = torch.baddbmm(query.new_empty(1), query, key.mT, beta=0, alpha=math.log2(math.e))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        logits.masked_fill_(hidden, HIDDEN)
        logits.diagonal(key.shape[1] - query.shape[1], -2, -1).add_(SELF)
        top = logits.amax(dim=-1, keepdim=True)
        weight = logits.sub_(top).exp2_()
        total = weight.sum(dim=-1, keepdim=True)
        weight = weight.to(value.dtype)
        ctx.save_for_backward(query, key, value, weight)
        ctx.mark_non_differentiable(top)
        return weight @ value, total, top

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output: Tensor, total: Tensor, top: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weight = ctx.saved_tensors
        logits = (output @ value.mT).add_(total).mul_(weight)
        return logits @ key, logits.mT @ query, weight.mT @ output, None
