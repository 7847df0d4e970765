"""The paper's model: a small pre-norm transformer encoder, masked mean pooling, and a head for one or two towers.

Paper section 6 and the released configuration: 2 layers, embedding 64, hidden 128, 2 heads of 32, dropout 0.1, GELU,
learned positions; or other sizes and rotary positions. The attention is any module of :mod:`lra.attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from lra.attention import build
from lra.attention.contract import Attention
from lra.attention.dropout import Dropout
from lra.attention.gather import look_up
from lra.config.settings import AttentionSettings, ModelSettings

if TYPE_CHECKING:
    from lra.tasks.contract import Task


class SelfAttention(nn.Module):
    """Projections around an attention; (batch, length, embedding) to the same.

    Rotary positions turn queries and keys between the projections and the attention, so all methods get the same.
    """

    def __init__(self, settings: ModelSettings, attention: Attention) -> None:
        super().__init__()
        inner = settings.heads * settings.head_dim
        self.heads = settings.heads
        self.attention = attention
        self.rotary = settings.positions == "rotary" and attention.compares
        self.query = nn.Linear(settings.embedding, inner)
        self.key = nn.Linear(settings.embedding, inner) if attention.uses_key else None
        self.value = nn.Linear(settings.embedding, inner)
        self.output = nn.Linear(inner, settings.embedding)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        attended = self.attention(*self.project(x), mask)  # (batch, heads, length, head_dim)
        return self.output(attended.transpose(1, 2).flatten(2))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, (batch, heads, length, head_dim) each, as the attention takes them."""
        query, value = self.split(self.query(x)), self.split(self.value(x))
        query = rotate(query) if self.rotary else query
        if self.key is None:
            return query, query, value
        key = self.split(self.key(x))
        return query, rotate(key) if self.rotary else key, value

    def split(self, x: Tensor) -> Tensor:
        """(batch, length, heads * head_dim) to (batch, heads, length, head_dim)"""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def rotate(x: Tensor) -> Tensor:
    """Turn pairs of features by angles that grow with the position (Su et al. 2021, RoFormer, arXiv 2104.09864).

    The product of a query and a key then depends on their content and on the distance between them.

    Args:
        x: queries or keys, (batch, heads, length, head_dim), head_dim even; feature i is paired with i + head_dim / 2.

    Returns:
        The same shape and type; angles are float32.
    """
    half = x.shape[-1] // 2
    position = torch.arange(x.shape[2], device=x.device, dtype=torch.float32)
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position[:, None] * frequency  # (length, head_dim / 2)
    cosine, sine = angle.cos(), angle.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, settings: ModelSettings, attention: Attention) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(settings.embedding)
        self.attention = SelfAttention(settings, attention)
        self.mlp_norm = nn.LayerNorm(settings.embedding)
        self.mlp = nn.Sequential(
            nn.Linear(settings.embedding, settings.hidden),
            nn.GELU(),
            Dropout(settings.dropout),
            nn.Linear(settings.hidden, settings.embedding),
        )
        self.dropout = Dropout(settings.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))


class Model(nn.Module):
    """Token ids to class logits.

    Args:
        settings: sizes.
        attention: makes one attention module, called once a layer.
        vocabulary: number of token ids.
        max_length: longest sequence.
        classes: number of labels.
        towers: 1, or 2 for a pair of sequences compared by [x, y, x * y, x - y].
    """

    def __init__(
        self,
        settings: ModelSettings,
        attention: Callable[[], Attention],
        *,
        vocabulary: int,
        max_length: int,
        classes: int,
        towers: int = 1,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, settings.embedding)
        positions = nn.Embedding(max_length, settings.embedding)
        for embedding in (self.tokens, positions):
            nn.init.normal_(embedding.weight, std=settings.embedding_std)
        self.positions: nn.Embedding | None = positions
        self.dropout = Dropout(settings.dropout)
        layers = [Layer(settings, attention()) for _ in range(settings.layers)]
        self.layers = nn.ModuleList(layers)
        if all(layer.attention.rotary for layer in layers):
            self.positions = None
        self.norm = nn.LayerNorm(settings.embedding)
        width = settings.embedding if towers == 1 else 4 * settings.embedding
        self.head = nn.Sequential(nn.Linear(width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, classes))

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, length) token ids to (batch, length, embedding), with learned positions where there are any."""
        x = look_up(self.tokens.weight, tokens)
        return x if self.positions is None else x + self.positions.weight[: tokens.shape[1]]

    def contextual(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(batch, length) token ids and mask to what the last layer makes of each, (batch, length, embedding)."""
        x = self.dropout(self.embed(tokens))
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)

    def encode(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(batch, length) token ids and mask to the (batch, embedding) mean over real positions."""
        x = self.contextual(tokens, mask)
        weight = mask.to(x.dtype).unsqueeze(-1)  # (batch, length, 1)
        return (x * weight).sum(1) / weight.sum(1).clamp(min=1)

    def forward(self, tokens: Sequence[Tensor], mask: Sequence[Tensor]) -> Tensor:
        """One (batch, length) tensor of token ids and of mask a tower, to (batch, classes) logits."""
        if len(tokens) == 1:
            return self.head(self.encode(tokens[0], mask[0]))
        # Both towers share the encoder, so they pass through it as one batch, padded to the longer one.
        x, y = self.encode(stack(tokens), stack(mask)).chunk(2)
        return self.head(torch.cat([x, y, x * y, x - y], dim=-1))

    def redraw_evaluation(self, generator: torch.Generator) -> bool:
        """Draw other random numbers for evaluation in every layer; return whether the attention has any."""
        attentions = (module for module in self.modules() if isinstance(module, Attention))
        redrawn = [attention.redraw_evaluation(generator) for attention in attentions]
        return any(redrawn)


class TokenModel(Model):
    """Token ids, some of them hidden, to logits of every token; the encoder is that of :class:`Model`.

    A hidden token has the id ``vocabulary``. Its embedding is a parameter of its own, so that the table of embeddings
    has the shape that training needs, which knows no hidden tokens; it is left behind with the head.
    """

    def __init__(
        self, settings: ModelSettings, attention: Callable[[], Attention], *, vocabulary: int, **sizes: int
    ) -> None:
        super().__init__(settings, attention, vocabulary=vocabulary, **sizes)
        self.hidden = nn.Parameter(torch.randn(settings.embedding) * settings.embedding_std)
        self.head = nn.Linear(settings.embedding, vocabulary)  # type: ignore[assignment]

    def embed(self, tokens: Tensor) -> Tensor:
        hidden = tokens == self.tokens.num_embeddings
        x = torch.where(hidden.unsqueeze(-1), self.hidden, look_up(self.tokens.weight, tokens.masked_fill(hidden, 0)))
        return x if self.positions is None else x + self.positions.weight[: tokens.shape[1]]

    def forward(self, tokens: Sequence[Tensor], mask: Sequence[Tensor]) -> Tensor:
        """One (batch, length) tensor of token ids and of mask a tower, to (batch, towers * length, vocabulary)."""
        logits = self.head(self.contextual(stack(tokens), stack(mask)))
        return torch.cat(logits.chunk(len(tokens)), dim=1)


def of_one_length(towers: Sequence[Tensor]) -> list[Tensor]:
    """The (batch, length) tensors of the towers, the shorter one filled up with zeros."""
    length = max(tower.shape[1] for tower in towers)
    return [pad(tower, (0, length - tower.shape[1])) for tower in towers]


def stack(towers: Sequence[Tensor]) -> Tensor:
    """The (batch, length) tensors of two towers one above the other, the shorter one filled up with zeros."""
    return torch.cat(of_one_length(towers))


def build_attention(attention: AttentionSettings, model: ModelSettings, max_length: int) -> Attention:
    """One attention module for a model of these sizes, with fresh weights from torch's global random state."""
    return build(
        attention.module or attention.name,
        heads=model.heads,
        head_dim=model.head_dim,
        max_length=max_length,
        features=attention.features,
        **attention.options,
    )


def build_model(task: Task, model: ModelSettings, attention: AttentionSettings, kind: type[Model] = Model) -> Model:
    """The model for a task, of labels or of tokens, with fresh weights from torch's global random state."""
    length = padded_length(task)
    return kind(
        model,
        lambda: build_attention(attention, model, length),
        vocabulary=task.vocabulary,
        max_length=length,
        classes=task.classes,
        towers=task.towers,
    )


def padded_length(task: Task) -> int:
    """Length that sequences are padded to: the next power of two, as in the paper (2000 -> 2048, 4000 -> 4096)."""
    return 1 << (task.max_length - 1).bit_length()


def trims(model: Model, pad: str) -> bool:
    """Whether sequences are padded to less than that: ``pad`` asks for it and every attention allows it."""
    fixed = any(module.fixed_length for module in model.modules() if isinstance(module, Attention))
    return pad != "length" and not fixed


def formula_flops(model: nn.Module, length: int) -> int:
    """FLOPs of a model's attentions for one sequence: two for each multiply-add of their formulas' leading terms."""
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    return 2 * sum(attention.heads * attention.multiply_adds(length) for attention in attentions)


def forward_flops(model: Model, task: Task) -> int:
    """FLOPs of one example's forward pass by formula: the attentions' leading terms and the layers' projections."""
    length = padded_length(task)
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    within = {inner for attention in attentions for inner in attention.modules()}
    linear = [module for module in model.layers.modules() if isinstance(module, nn.Linear) and module not in within]
    projections = sum(module.weight.numel() for module in linear)
    return task.towers * (2 * length * projections + formula_flops(model, length))
