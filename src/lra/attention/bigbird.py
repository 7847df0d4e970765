"""BigBird (Zaheer et al. 2020): each block of queries sees a few blocks of keys instead of all of them.

A sequence is cut into blocks of ``block_size`` tokens. Its first and its last block are global: they attend to
everything, and everything attends to them. Any other block i attends to blocks i - 1, i and i + 1 (the window) and to
``num_random_blocks`` further ones, so to at most 5 + r blocks, each counted once however often it is listed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad

from lra.attention import gather
from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend, attend_to_blocks, has_block_kernel
from lra.attention.gather import take


class BigBird(Attention):
    """Block-sparse softmax attention in the ITC form (internal global blocks) of Zaheer et al. 2020, section 2.

    The last block is the one with the sequence's own last real token, so padding changes nothing; with ``released`` it
    is the last block of the padded length. The random blocks are distinct and none that is listed already. They are a
    fixed pattern: one choice for each layer, head and block, drawn when the module is built and saved with its weights,
    the same at every step and in evaluation, unless :meth:`draw` is given a generator. (The official encoder seeds each
    layer differently, too.) A sequence of at most 4 + r blocks has all its blocks listed: it gets exact attention.
    Blocks are cut by position, padding included, so padding belongs behind the tokens; with holes in the mask a token
    keeps its position. ``features`` plays no part: the budget is (5 + r) * ``block_size`` keys a query.

    Kept for the backward pass: a copy of the listed keys and values, 5 + r times as large as keys and values; none on a
    GPU in half precision, where a kernel reads the blocks in place, if ``block_size`` is 16, 32, 64 or 128.

    Args:
        block_size: tokens in a block; other lengths are padded inside.
        num_random_blocks: random blocks r for each block of queries and each head.

    Raises:
        ValueError: there is no token in a block, or a negative number of random blocks.
    """

    random = True
    reference = "Zaheer et al. 2020, arXiv 2007.14062"

    def __init__(self, *, block_size: int = 64, num_random_blocks: int = 3, **common: Any) -> None:
        super().__init__(**common)
        if block_size < 1:
            raise ValueError(f"block_size must be at least 1, not {block_size}")
        if num_random_blocks < 0:
            raise ValueError(f"num_random_blocks must be at least 0, not {num_random_blocks}")
        self.block_size = block_size
        self.num_random_blocks = num_random_blocks
        blocks = self.count_blocks(self.max_length)
        self.register_noise("rand_blocks", self.heads, blocks, blocks)

    def count_blocks(self, length: int) -> int:
        return (length + self.block_size - 1) // self.block_size

    def lists_everything(self, length: int) -> bool:
        """Whether a sequence is so short that it gets exact attention for any choice of random blocks."""
        return self.count_blocks(length) <= 4 + self.num_random_blocks

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``rand_blocks`` (batch, heads, blocks - 2, r): of each block but the first and the last of the padded length.

        -1 stands where a short sequence has no block left. Nothing is drawn where all blocks are listed anyway.
        """
        if self.lists_everything(mask.shape[1]):
            return {}
        rank = self.fixed_noise("rand_blocks")  # (heads, blocks, blocks)
        if generator is not None:
            rank = torch.rand(rank.shape, generator=generator, dtype=torch.float32, device=rank.device)
        blocks = self.count_blocks(mask.shape[1])
        other = torch.arange(blocks, device=mask.device)
        row = other[1:-1, None]  # (blocks - 2, 1)
        last = self.last_block(mask)[:, None, None]  # (batch, 1, 1)
        free = (other > 0) & (other < last) & ((other - row).abs() > 1)  # (batch, blocks - 2, blocks)
        rank = torch.where(free[:, None], rank[:, row, other], -1)
        best, listed = rank.topk(self.num_random_blocks)
        return {"rand_blocks": torch.where(best < 0, -1, listed)}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        if self.lists_everything(mask.shape[1]):
            return attend(query, key, value, mask)
        if has_block_kernel(query, value, self.block_size):
            seen = seen_blocks(self.last_block(mask), draws["rand_blocks"], self.count_blocks(mask.shape[1]))
            return attend_to_blocks(query, key, value, mask, seen, self.block_size)
        batch, heads, length, head_dim = query.shape
        # Sizes are written out: the compiler would carry a size that torch infers along as an ever longer quotient.
        size, blocks, listings = self.block_size, self.count_blocks(length), 5 + self.num_random_blocks
        extra = blocks * size - length
        mask = pad(mask, (0, extra))
        query, key, value = (pad(tensor, (0, 0, 0, extra)) for tensor in (query, key, value))
        query_blocks, key_blocks, value_blocks = (
            tensor.reshape(batch, heads, blocks, size * head_dim) for tensor in (query, key, value)
        )
        last = self.last_block(mask)

        listed, counts = list_blocks(last, draws["rand_blocks"], blocks)  # (batch, heads, blocks - 2, 5 + r)
        seen = mask.view(batch, blocks, size)[torch.arange(batch, device=mask.device)[:, None, None, None], listed]
        rows = batch * heads * (blocks - 2)
        middle = attend(
            query_blocks[:, :, 1:-1].reshape(rows, 1, size, head_dim),
            copy_blocks(key_blocks, last, listed).view(rows, 1, listings * size, head_dim),
            copy_blocks(value_blocks, last, listed).view(rows, 1, listings * size, head_dim),
            (seen & counts[..., None]).view(rows, listings * size),
        ).reshape(batch, heads, blocks - 2, size * head_dim)

        ends = torch.stack([torch.zeros_like(last), last], dim=-1)[:, None].expand(-1, heads, -1)
        whole = attend(take(query_blocks, ends).view(batch, heads, 2 * size, head_dim), key, value, mask)
        first_row, last_row = whole.reshape(batch, heads, 2, size * head_dim).split(1, dim=2)

        output = torch.cat([first_row, middle, last_row], dim=2)  # (batch, heads, blocks, size * head_dim)
        is_last = torch.arange(blocks, device=mask.device) == last[:, None]  # (batch, blocks)
        output = torch.where(is_last[:, None, :, None], last_row, output)
        return output.view(batch, heads, blocks * size, head_dim)[:, :, :length]

    def last_block(self, mask: Tensor) -> Tensor:
        """(batch) the index of the last global block."""
        block = torch.arange(mask.shape[1], device=mask.device) // self.block_size
        return block[-1].expand(mask.shape[0]) if self.released else (block * mask).amax(dim=-1)

    def multiply_adds(self, length: int) -> int:
        """2 n (5 + r) block_size p, the two global rows apart: 4 n d p at d = 256. The paper's table says 5 n d p."""
        if self.lists_everything(length):
            return 2 * length * length * self.head_dim
        blocks = self.count_blocks(length)
        pairs = (blocks - 2) * (5 + self.num_random_blocks) + 2 * blocks
        return 2 * pairs * self.block_size**2 * self.head_dim


def list_blocks(last: Tensor, rand_blocks: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """The key blocks of each query block but the outer two, (batch, heads, blocks - 2, 5 + r), and which of them count.

    An entry does not count where it repeats an earlier one or is -1 (0 takes its place).
    """
    row = torch.arange(1, blocks - 1, device=last.device)
    fixed = torch.stack(torch.broadcast_tensors(row * 0, last[:, None], row - 1, row, row + 1), dim=-1)
    heads, _, count = rand_blocks.shape[-3:]
    listed = torch.cat(
        [fixed[:, None].expand(-1, heads, -1, -1), rand_blocks.expand(last.shape[0], heads, blocks - 2, count)], dim=-1
    )
    repeated = (listed[..., :, None] == listed[..., None, :]).tril(-1).any(dim=-1)
    return listed.clamp(min=0), ~repeated & (listed >= 0)


def seen_blocks(last: Tensor, rand_blocks: Tensor, blocks: int) -> Tensor:
    """(batch, heads, blocks, blocks) whether a block of queries sees a block of keys; blocks of padding see none.

    Args:
        last: (batch) the last global block.
        rand_blocks: (batch or 1, heads, blocks - 2, r), -1 for none.
        blocks: how many there are.
    """
    block = torch.arange(blocks, device=last.device)
    row, column, last = block[:, None], block, last[:, None, None, None]
    ends = (row == 0) | (column == 0) | (row == last) | (column == last)
    drawn = (rand_blocks[..., None] == column).any(-2)  # (batch or 1, heads, blocks - 2, blocks)
    listed = ((row - column).abs() <= 1) | ends | pad(drawn, (0, 0, 1, 1))
    return listed & (row <= last) & (column <= last)


def copy_blocks(tensor: Tensor, last: Tensor, listed: Tensor) -> Tensor:
    """The listed rows of (batch, heads, blocks, row): (batch, heads, blocks - 2, 5 + r, row), as ``take`` gives them.

    On a GPU the backward pass of an index sorts, so there the global blocks and the window are slices, whose backward
    pass adds, and only the random blocks need an index. On a CPU one index for all is faster.

    Args:
        tensor: keys or values, a block a row.
        last: (batch) the last global block.
        listed: (batch, heads, blocks - 2, 5 + r) of :func:`list_blocks`.
    """
    if not gather.on_gpu(tensor):
        return take(tensor, listed)
    batch, heads, blocks, row = tensor.shape
    final = take(tensor, last[:, None, None].expand(-1, heads, -1))  # (batch, heads, 1, row)
    ends = (end.expand(batch, heads, blocks - 2, row) for end in (tensor[:, :, :1], final))
    window = (tensor[:, :, :-2], tensor[:, :, 1:-1], tensor[:, :, 2:])
    return torch.cat([*(one.unsqueeze(3) for one in (*ends, *window)), take(tensor, listed[..., 5:])], dim=3)
