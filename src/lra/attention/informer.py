"""Informer's ProbSparse attention (Zhou et al. 2021): exact rows for the most selective queries, else the mean."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, Tensor

from lra.attention import fused, gather
from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend
from lra.attention.gather import pick, replace_rows
from lra.attention.vmean import mean_value

QUERIES_AT_ONCE = 256
"""Queries scored at a time on a CPU, so that the scores take memory in proportion to this and not to the length."""


class Informer(Attention):
    """ProbSparse attention with the budgets of its paper, logarithmic in the sequence's own length.

    Algorithm 1 of the paper, for a sequence of m real tokens: score every query against a random sample of U keys,
    M(q) = max_j q.k_j - mean_j q.k_j (equation 4, its factor 1/sqrt(p) left out); the u queries of highest score
    attend to all keys, the rest return the mean of the values. Both budgets are U = u = min(m, c ceil(ln m)) with the
    sampling factor c = ceil(features / ln max_length), so about ``features`` at full length. Where u reaches m the
    output is exact attention. All queries and heads share one sample (Q times the sampled keys, as line 3 of the
    algorithm is written), drawn without replacement. Padding is neither sampled, selected, attended to nor averaged.
    Scores carry no gradient. Which of equal scores come first is left to torch; all are equal where U is 1.

    ``released=True`` follows the released code instead: every query samples keys of its own, with replacement; the mean
    divides by the length, not by U; budgets are those of ``max_length``; and padding counts as tokens.

    Kept for the backward pass: keys, values, the u selected queries and their exact rows. The scores are transient,
    U for each query of every head and sequence, on a CPU ``QUERIES_AT_ONCE`` of these at a time.
    """

    random = True
    reference = "Zhou et al. 2021, arXiv 2012.07436"

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.factor = math.ceil(self.features / math.log(max(self.max_length, 2)))
        self.most = self.largest_budget()
        self.register_noise("index", self.max_length, *([self.most] if self.released else []))

    def largest_budget(self) -> int:
        """The budget of a sequence of ``max_length`` tokens."""
        return min(self.max_length, self.factor * math.ceil(math.log(max(self.max_length, 2))))

    def budget(self, count: Tensor) -> Tensor:
        """How many keys to sample, and queries to select, for sequences of ``count`` real tokens."""
        return torch.minimum(count, self.factor * count.clamp(min=2).log().ceil().long())

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``index`` (batch, U), real positions in random order; released (batch, length, U), a sample per query."""
        length = key.shape[2]
        most = min(length, self.most)
        if self.released:
            uniform = self.noise("index", 1, generator)[:, :length, :most]
            return {"index": (uniform * self.released_count(mask)[:, None, None]).long()}
        uniform = self.token_noise("index", mask, generator)
        return {"index": uniform.masked_fill(~mask, -1).topk(most).indices}

    def released_count(self, mask: Tensor) -> Tensor:
        """(batch,) the released code's number of positions to sample keys from."""
        return torch.full_like(mask[:, 0], mask.shape[1], dtype=torch.long)

    def released_inputs(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Inputs and mask as the released code sees them."""
        return query, key, value, torch.ones_like(mask)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        if self.released:
            query, key, value, mask = self.released_inputs(query, key, value, mask)
        selected, kept = self.select(query, key, mask, draws["index"])
        kept = kept[:, None].expand_as(selected)
        if gather.on_gpu(query):  # where rows are picked in order
            selected, order = selected.sort()
            kept = kept.gather(2, order)
        exact = attend(pick(query, selected), key, value, mask)
        mean = mean_value(value, mask)
        return replace_rows(mean.expand_as(value), selected, torch.where(kept[..., None], exact, mean))

    @torch.no_grad()
    def select(self, query: Tensor, key: Tensor, mask: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, heads, u) queries by falling score, and (batch, u) whether the sequence's own budget keeps them."""
        if self.released:
            logits = (query @ key.mT).gather(-1, index.view(-1, 1, *index.shape[-2:]).expand(*query.shape[:2], -1, -1))
            score = logits.amax(-1) - logits.sum(-1) / key.shape[2]
            return score.topk(index.shape[-1]).indices, torch.ones_like(mask[:, : index.shape[-1]])
        rank = torch.arange(index.shape[1], device=index.device)
        kept = rank < self.budget(mask.sum(-1, keepdim=True))  # (batch, U)
        score = sparsity(query, key, index, kept).masked_fill(~mask[:, None], -math.inf)
        return score.topk(index.shape[1]).indices, kept

    def multiply_adds(self, length: int) -> int:
        return 3 * length * min(self.features, length) * self.head_dim


class InformerMask(Informer):
    """ProbSparse attention with the same budgets U = u = min(m, features) for sequences of every length.

    This is the only difference from :class:`Informer`, which leaves padding out as well.

    ``released=True``: as for :class:`Informer`, but padding is zeroed, never sampled, attended to or averaged.
    """

    def largest_budget(self) -> int:
        return min(self.max_length, self.features)

    def budget(self, count: Tensor) -> Tensor:
        return count.clamp(max=self.features)

    def released_count(self, mask: Tensor) -> Tensor:
        return mask.sum(-1)

    def released_inputs(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        padding = ~mask[:, None, :, None]
        return *(tensor.masked_fill(padding, 0) for tensor in (query, key, value)), mask


def sparsity(query: Tensor, key: Tensor, index: Tensor, kept: Tensor) -> Tensor:
    """(batch, heads, length) max - mean of each query's products with the ``kept`` keys of ``index``, at least float32.

    The mean taken from the keys: max_j q.k_j - q.mean = max_j q.(k_j - mean), one product and no difference of sums. On
    a GPU in half precision a kernel finds the first of these maxima, without a matrix of products.
    """
    index = torch.where(kept, index, index[:, :1])  # a repeated key does not move the maximum
    precise = torch.promote_types(key.dtype, torch.float32)
    sample = key.gather(2, index[:, None, :, None].expand(-1, key.shape[1], -1, key.shape[3]))
    with torch.autocast(key.device.type, enabled=False):
        mean = mean_value(sample.to(precise), kept)  # (batch, heads, 1, head_dim)
        if fused.takes(query, sample, query.dtype):
            return fused.largest_products(query, sample.to(query.dtype)) - (query.to(precise) * mean).sum(-1)
        sample = (sample.to(precise) - mean).mT  # (batch, heads, head_dim, U)
        # A compiler would make another graph for another number of parts, and a GPU is better filled by one.
        whole = torch.compiler.is_compiling() or query.device.type != "cpu"
        parts = torch.split(query.to(precise), query.shape[2] if whole else QUERIES_AT_ONCE, dim=2)
        return torch.cat([(part @ sample).amax(-1) for part in parts], dim=-1)
