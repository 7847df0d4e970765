"""Skeinformer and its ablations (Chen et al. 2022, NAACL, arXiv 2112.05359, algorithm 1 and table 1).

Adaptive row normalisation (equation 6) lets the geometric mean of a row's selected entries stand for each of the m - d
unselected ones. The geometric mean of exponentials is the exponential of the mean, and

    (prod_j exp(q.k_j))^(1/d) = exp(q . mean_j k_j),

so the normalised row is softmax attention over d + 1 keys: the selected ones, and a virtual key at their mean which
counts m - d times (a logit bias of log(m - d)) and whose value is the mean of the unselected values. It therefore runs
in torch's fused kernel: no (length, d) matrix is stored, and no exponential can overflow. Once every token is selected
the virtual key counts 0 times and the output is exact attention.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from lra.attention import gather
from lra.attention.contract import Attention, Draws
from lra.attention.exact import attend, log_sum_exp
from lra.attention.gather import among, in_order, pick, replace_rows, take_rows

PILOT_BLOCK = 64
ZERO_WEIGHT = -200.0


class Skeinformer(Attention):
    """Column sampling by importance, adaptive row normalisation, and exact rows where a pilot was drawn.

    ``draws`` holds ``S0`` (batch, heads, d) int64, the pilot rows J, uniform with replacement over the real tokens (a
    recorded (batch, d) is shared by the heads), and ``S1`` (batch, heads, d) int64, the distinct columns J' drawn with
    the probabilities of equation 5. Both have min(d, length) entries; a sequence with fewer real tokens gets all of
    them, filled up with padding that counts for nothing. A row that is drawn twice receives its gradient once. No
    gradient passes through the probabilities. With more or fewer keys than queries, J is drawn from all queries, and
    ``S0`` has at most as many entries as there are.

    Memory: :meth:`draw` passes through two (batch, heads, 64, length) float32 blocks. For the backward pass the output
    is kept a second time, and for each head d selected keys and values, d pilot queries and their d output rows.

    With ``released=True``, :meth:`draw` shrinks d to the shortest sequence of the batch less one, as the released code
    does; this reads a length back from the device. Given the same draws that code computes the same function. Its
    overflow, pilots on padding and repeated gradients are not reproduced.
    """

    random = True
    cross_attention = True
    reference = "Chen et al. 2022, arXiv 2112.05359, algorithm 1"
    uses_pilots: ClassVar[bool] = True
    """Columns are drawn by importance, which pilot rows estimate; otherwise uniformly."""
    reuses_pilots: bool = True
    """The pilot rows of the output are exact (step 5)."""

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        if self.uses_pilots:
            self.register_noise("pilots", self.heads, self.features)
        self.register_noise("columns", self.heads, self.max_length)

    @torch.no_grad()
    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        batch, length = mask.shape
        count = min(self.features, length)
        if self.released:
            count = min(count, max(int(mask.sum(-1).min()) - 1, 1))
        noise = self.token_noise("columns", mask, generator)
        if not self.uses_pilots:
            return {"S1": draw_columns(torch.zeros_like(noise), mask, noise, count)}
        real, drawn = mask, count
        if query.shape[2] != length:  # the mask is over the keys, and all queries count
            real, drawn = mask.new_ones(batch, query.shape[2]), min(count, query.shape[2])
        pilots = draw_pilots(real, self.noise("pilots", batch, generator)[..., :drawn])
        if gather.on_gpu(query):
            weights = fused_column_weights(query, key, value, mask, pilots)
        else:
            weights = column_weights(query, key, value, mask, pilots)
        return {"S0": pilots, "S1": draw_columns(weights, mask, noise, count)}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        output = self.approximate(query, key, value, mask, in_order(draws["S1"]))
        return with_exact_rows(output, query, key, value, mask, draws["S0"]) if self.reuses_pilots else output

    def approximate(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
        """Steps 3 and 4: all output rows from the selected ``columns`` (batch, heads, d)."""
        real = mask[:, None].expand(-1, key.shape[1], -1)
        precision = torch.promote_types(key.dtype, torch.float32)
        selected = real.gather(2, columns).to(precision)  # (batch, heads, d), 0 for padding
        others = (real & ~among(columns, key.shape[2])).to(precision)  # (batch, heads, length)
        selected_key = pick(key, columns)
        counts = torch.cat([selected, others.sum(-1, keepdim=True)], -1)
        return attend(
            query,
            torch.cat([selected_key, mean_row(selected, selected_key)], 2),
            torch.cat([pick(value, columns), mean_row(others, value)], 2),
            counts.log(),
        )

    def multiply_adds(self, length: int) -> int:
        return (2 + self.uses_pilots + self.reuses_pilots) * length * min(self.features, length) * self.head_dim


class SkeinUniform(Skeinformer):
    """Ablation "uniform sampling": columns are drawn uniformly. Pilots only serve the importance, so there are none."""

    uses_pilots = False
    reuses_pilots = False


class SkeinNoPilot(Skeinformer):
    """Ablation "no pilot sampling reutilisation": step 5 is skipped."""

    reuses_pilots = False


class SkeinSimpleNorm(Skeinformer):
    """Ablation "simple row normalisation": softmax over the d selected columns alone.

    Pilot rows stay exact, as in the full method; ``released=True`` drops them, as the released code does.
    """

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.reuses_pilots = not self.released

    def approximate(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
        selected = mask[:, None].expand(-1, key.shape[1], -1).gather(2, columns)
        return attend(query, pick(key, columns), pick(value, columns), selected)


class SkeinNoNorm(Skeinformer):
    """Ablation "no row normalisation": exact attention weights, of which the unselected ones are dropped.

    Rows are divided by the sums of the full matrix, so the weights of a row add up to less than 1 (no 1/(d p_j) makes
    up for it: the estimate is biased), and the time is that of exact attention. Pilot rows stay exact, as in the full
    method; ``released=True`` drops them, as the released code does.
    """

    linear = False

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self.reuses_pilots = not self.released

    def approximate(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, columns: Tensor) -> Tensor:
        selected = among(columns, key.shape[2])
        return attend(query, key, value * selected[..., None], mask)

    def multiply_adds(self, length: int) -> int:
        pilots = (1 + self.reuses_pilots) * length * min(self.features, length) * self.head_dim
        return 2 * length * length * self.head_dim + pilots


def draw_pilots(mask: Tensor, noise: Tensor) -> Tensor:
    """Positions of real tokens, uniform and with replacement: (batch, heads, d) from as many uniform numbers."""
    seen = mask.cumsum(-1)  # (batch, length)
    length = seen[:, None, -1:]
    rank = torch.minimum((noise * length).long(), length - 1)  # the product can round up to length
    return torch.searchsorted(seen, rank.flatten(1) + 1).view_as(rank)


def column_weights(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, pilots: Tensor) -> Tensor:
    """log(sqrt(sum_k B_J[k, i]^2) ||V_i||) of equation 5, up to a constant, (batch, heads, length) float32.

    The softmax is taken in float32 whatever the inputs. Padded columns are at -inf (NaN where all of them are).
    """
    bias = torch.zeros_like(mask, dtype=torch.float32).masked_fill(~mask, -torch.inf)[:, None, None]
    squares = torch.zeros_like(value[..., 0], dtype=torch.float32)
    for block in (take_rows(query, pilots) * query.shape[-1] ** -0.5).split(PILOT_BLOCK, dim=2):
        weights = (block @ key.transpose(-1, -2)).float().add_(bias).softmax(-1)  # (batch, heads, block, length)
        squares += weights.square_().sum(2)
    return (squares.sqrt() * value.float().square().sum(-1).sqrt()).log()


def fused_column_weights(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, pilots: Tensor) -> Tensor:
    """The same for a GPU, without the (d, length) matrix B_J. Padded columns hold any number.

    With s = q_k . k_i / sqrt(p) and L_k the log-sum-exp of pilot row k, log B_J[k, i]^2 = 2 s - 2 L_k. The log of its
    sum over k is again a log-sum-exp, that of attention from the keys to the pilots.
    """
    pilot_query, scale = take_rows(query, pilots), query.shape[-1] ** -0.5
    sums = log_sum_exp(pilot_query, key, mask, scale=scale)  # (batch, heads, d)
    squares = log_sum_exp(key, pilot_query, -2 * sums, scale=2 * scale)  # (batch, heads, length)
    return (squares + value.float().square().sum(-1).log()) / 2


def draw_columns(log_weights: Tensor, mask: Tensor, noise: Tensor, count: int) -> Tensor:
    """Distinct columns, drawn one after the other in proportion to their weights: (batch, heads, count).

    The largest log weights plus Gumbel noise are such a sample (Kool et al. 2019, arXiv 1903.06059). Columns of weight
    0 come after all others, and padding after those.

    Args:
        log_weights: (batch, heads, length), up to a constant.
        mask: (batch, length), True for a real token.
        noise: (batch, heads, length) uniform numbers in [0, 1).
        count: how many to draw, at most length.
    """
    gumbel = -noise.clamp(min=2**-25).log().neg().log()  # between -2.9 and 16.7
    scores = (log_weights.clamp(min=ZERO_WEIGHT) + gumbel).masked_fill(~mask[:, None], -torch.inf)
    return scores.topk(count, sorted=False).indices


def with_exact_rows(output: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, pilots: Tensor) -> Tensor:
    """``output`` with its rows ``pilots``, (batch, heads, d) or (batch, d), replaced by exact attention (step 5)."""
    if pilots.dim() == 2:
        pilots = pilots[:, None].expand(-1, query.shape[1], -1)
    pilots = pilots.sort().values
    exact = attend(pick(query, pilots), key, value, mask)
    first = pilots.diff(prepend=pilots[..., :1] - 1) != 0
    exact = torch.where(first[..., None], exact, exact.detach())  # a row's gradient goes to every repeat of it
    return replace_rows(output, pilots, exact)


def mean_row(weights: Tensor, tensor: Tensor) -> Tensor:
    """(batch, heads, 1, head_dim) mean of the rows whose weight is 1 rather than 0; 0 if there are none."""
    share = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    return share.to(tensor.dtype)[:, :, None] @ tensor
