"""Sparse Sinkhorn Attention (Tay et al. 2020): blocks of keys are sorted softly, by a network that learns the order."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lra.attention.contract import NOISE_BITS, Attention, Draws
from lra.attention.exact import attend
from lra.attention.local import from_blocks, mask_blocks, to_blocks


class Sinkhorn(Attention):
    """Each block of queries attends to its own block of keys and to the one that is sorted to its place; section 3.

    The sorting network predicts from the mean of a block's real queries how much it wants each block of keys; its
    logits and Gumbel noise, divided by ``temperature``, become a doubly stochastic matrix S by ``iterations``
    normalisations of rows and columns. Keys and values in the place of block i are sum_j S_ij block_j. Padding is
    sorted along: a place counts by the share of S that falls on real tokens there, of which its key and value are the
    mean. So where S is a permutation, exactly the tokens of one block count. Blocks without a real token stay in place.

    The paper's network reads sums of the layer's inputs; queries are linear in these, and means do not grow with the
    length. As many logits are learned as ``max_length`` has blocks. Blocks are cut by position, so padding belongs
    behind the tokens. In evaluation the noise is the same for every sequence. Quadratic: S mixes all blocks.
    ``features`` plays no part.

    Args:
        block_size: tokens in a block.
        iterations: normalisations of rows and of columns.
        temperature: of logits and noise; the lower, the nearer is S to a permutation.

    Raises:
        ValueError: ``block_size`` or ``iterations`` is less than 1, or ``temperature`` is not positive.
    """

    random = True
    linear = False
    reference = "Tay et al. 2020, arXiv 2002.11296"

    def __init__(self, *, block_size: int = 50, iterations: int = 7, temperature: float = 0.75, **common: Any) -> None:
        super().__init__(**common)
        for name, count in {"block_size": block_size, "iterations": iterations}.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.block_size = block_size
        self.iterations = iterations
        self.temperature = temperature
        blocks, size = math.ceil(self.max_length / block_size), self.head_dim
        self.inner = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, size, size)))
        self.outer = nn.Parameter(nn.init.xavier_uniform_(torch.empty(self.heads, size, blocks)))
        self.register_noise("order", self.heads, blocks, blocks)

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``order`` (batch, heads, blocks, blocks) uniform, which becomes the Gumbel noise of the logits."""
        blocks = -(-mask.shape[1] // self.block_size)
        return {"order": self.noise("order", mask.shape[0], generator)[:, :, :blocks, :blocks]}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        padding = ~mask[:, None, :, None]
        query_blocks, key_blocks, value_blocks = (
            to_blocks(tensor.masked_fill(padding, 0), self.block_size) for tensor in (query, key, value)
        )  # (batch, blocks, heads, size, head_dim)
        real = mask_blocks(mask, self.block_size)  # (batch, blocks, size)
        with torch.autocast(query.device.type, enabled=False):
            order = self.sort(query_blocks, real, draws["order"])  # (batch, heads, blocks, blocks)
            keys, values, bias = self.with_sorted(order, key_blocks, value_blocks, real)
        output = attend(query_blocks.flatten(0, 1), keys, values, bias)
        return from_blocks(output.unflatten(0, query_blocks.shape[:2]), query.shape[2])

    def sort(self, query_blocks: Tensor, real: Tensor, noise: Tensor) -> Tensor:
        """The soft permutation S: row i says of which blocks the one in the place of block i is made.

        Args:
            query_blocks: (batch, blocks, heads, size, head_dim), 0 at padding.
            real: (batch, blocks, size) bool.
            noise: (batch, heads, blocks, blocks) uniform in [0, 1).

        Returns:
            (batch, heads, blocks, blocks)
        """
        dtype = torch.promote_types(query_blocks.dtype, torch.float32)
        blocks = real.shape[1]
        mean = query_blocks.to(dtype).sum(3) / real.sum(-1).clamp(min=1)[:, :, None, None]  # (batch, blocks, heads, p)
        inner = (mean.transpose(1, 2) @ self.inner.to(dtype)).relu()
        logits = inner @ self.outer[..., :blocks].to(dtype)
        gumbel = -(-noise.to(dtype).clamp(min=0.5**NOISE_BITS / 2).log()).log()
        filled = real.any(-1)  # (batch, blocks)
        both = (filled[:, :, None] & filled[:, None, :])[:, None]
        stays = torch.diag_embed(~filled)[:, None]
        order = ((logits + gumbel) / self.temperature).masked_fill(~both, -math.inf).masked_fill(stays, 0)
        for _ in range(self.iterations):
            order = order - order.logsumexp(-1, keepdim=True)
            order = order - order.logsumexp(-2, keepdim=True)
        return order.exp()

    def with_sorted(self, order: Tensor, key_blocks: Tensor, value_blocks: Tensor, real: Tensor) -> list[Tensor]:
        """Keys, values and the bias of each block of queries: its own block, then what is sorted to its place.

        Args:
            order: (batch, heads, blocks, blocks), the soft permutation S.
            key_blocks: (batch, blocks, heads, size, head_dim), 0 at padding.
            value_blocks: the same.
            real: (batch, blocks, size) bool.

        Returns:
            Keys and values (batch * blocks, heads, 2 size, head_dim), and the bias (batch * blocks, heads, 2 size).
        """
        share = torch.einsum("bhij,bjs->bihs", order, real.to(order.dtype))
        counts = share > 0
        share = share.clamp(min=torch.finfo(torch.float32).tiny ** 0.5)  # its square divides in the backward pass

        own = torch.zeros_like(share).masked_fill(~real.unsqueeze(2), -math.inf)
        bias = torch.cat([own, share.log().masked_fill(~counts, -math.inf)], dim=-1)
        both = []
        for blocks in (key_blocks, value_blocks):
            mixed = torch.einsum("bhij,bjhsp->bihsp", order, blocks.to(order.dtype)) / share.unsqueeze(-1)
            both.append(torch.cat([blocks, mixed.to(blocks.dtype)], dim=3))
        return [tensor.flatten(0, 1) for tensor in (*both, bias)]

    def multiply_adds(self, length: int) -> int:
        """2 n 2 b p for two blocks a query, and 2 N n p for sorting N blocks."""
        blocks = -(-length // self.block_size)
        return 2 * length * (2 * self.block_size + blocks) * self.head_dim
