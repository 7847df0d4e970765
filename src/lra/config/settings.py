"""Settings of one job, as plain data: results depend on these values, not on the code that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from lra.tasks.description import Count

SHARD_ROWS = 16384
"""Rows of a full Parquet shard; the number of shards of a split follows from its rows."""

Precision = Literal["fp32", "bf16", "fp16"]
Least2 = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(gt=0, lt=1)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the model."""

    layers: Count = 2
    """Layers."""
    embedding: Count = 64
    """Size of the embedding of a token."""
    hidden: Count = 128
    """Units of a layer's feed-forward part, and of the classifier."""
    heads: Count = 2
    """Heads of the attention."""
    head_dim: Count = 32
    """Size of one head."""
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of activations that training drops."""
    embedding_std: PositiveFloat = 0.02
    """Initial standard deviation of the token and position embeddings; a task that stays at chance may need more."""
    positions: Literal["learned", "rotary"] = "learned"
    """Learned embeddings added to the tokens', or queries and keys turned by their positions (RoFormer). A method that
    compares no query with a key gets learned ones in both cases."""


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained."""

    batch: Count
    """Examples of an optimiser step."""
    learning_rate: PositiveFloat
    """Peak of the schedule."""
    warmup: NonNegativeInt
    """Steps until the peak."""
    steps: Count
    """Optimiser steps at most."""
    evaluate_every: Count
    """Steps between evaluations on dev."""
    patience_steps: Count | None = None
    """Steps without a lower dev loss that end the run; null for ten times ``evaluate_every``, the paper's."""
    schedule: Literal["onecycle", "cosine", "linear"] = "onecycle"
    """How the learning rate falls after the peak: the paper's OneCycle, from 1/25 of the peak and linear to 4e-6 of it;
    half a cosine or a line to 0, both from 0."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's weight decay; it applies to the weights of linear layers only."""
    seconds: PositiveFloat | None = None
    """The run ends at the first step by which training has taken so many seconds; null for no such bound."""
    flops: PositiveFloat | None = None
    """FLOPs that all training steps may take, by formula at the full padded length; the schedule then spans as many
    steps as they allow. Null for no such bound."""
    precision: Precision = "fp32"
    """fp32, or mixed precision with bf16 or fp16."""
    micro_batch: Count | None = None
    """Examples that pass through the model at once; null for as many as fit."""
    pad: Literal["length", "batch", "bucket"] = "length"
    """Pad every sequence to the task's length, or to the batch's longest (``batch``), or that with training batches
    of sequences of about the same length (``bucket``). Lengths are rounded up to a multiple of 64, of an eighth of the
    task's length where that is less."""
    compile: Literal["auto", True, False] = "auto"
    """Compile the model with torch.compile; ``auto`` does on a GPU."""


@dataclass(frozen=True)
class PretrainSettings:
    """How a model learns to predict hidden tokens of the task's own training split before it is trained on labels.

    Schedule, weight decay, precision and padding are those of ``train``. Nothing ends it early.
    """

    mask: Share
    """Share of tokens that are hidden and predicted, drawn anew for each batch."""
    batch: Count
    """Examples of an optimiser step; each sequence of a pair is predicted by itself."""
    learning_rate: PositiveFloat
    """Peak of the schedule."""
    warmup: NonNegativeInt
    """Steps until the peak."""
    steps: Count
    """Optimiser steps."""
    evaluate_every: Count
    """Steps between evaluations on hidden tokens of dev, the best of which gives the weights."""


@dataclass(frozen=True)
class AttentionSettings:
    """A row of the table."""

    name: str
    """Its name."""
    features: Count = 256
    """The method's budget d."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the method's class."""
    module: str | None = None
    """The module or file of its class; null for a method of the registry."""


@dataclass(frozen=True)
class Experiment:
    """One run: attention x task x seed, and all settings that can change its numbers."""

    task: str
    attention: AttentionSettings
    seed: Annotated[int, Field(ge=0, lt=2**64)]
    model: ModelSettings
    train: TrainSettings
    mask: Share | None = None
    """Share of tokens to hide and to predict, for a run that pretrains; null for one that learns labels."""
    pretrain: PretrainSettings | None = None
    """The pretraining whose weights the run starts from; null for random ones."""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How time, memory and FLOPs of training are measured.

    The descriptions stand in ``Field``, because pydantic finds no docstrings of fields of a base class.
    """

    batch: Annotated[
        Count | None,
        Field(description="Examples of a timed step; null for the paper's on a GPU, for 4096 tokens on a CPU."),
    ] = None
    repeats: Annotated[
        Least2, Field(description="Timed pairs of steps, the method's and exact attention's, at least.")
    ] = 2
    seconds: Annotated[
        NonNegativeFloat | None,
        Field(description="No further pair begins after so many seconds; null for 10 on a GPU, 1 on a CPU."),
    ] = None
    memory_gib: Annotated[PositiveFloat, Field(description="Memory in GiB that the largest batch must fit in.")] = 16.0
    precision: Annotated[
        Precision | None,
        Field(
            description="fp32, or mixed precision with bf16 or fp16; null for that of the task's training on a GPU, "
            "for fp32 on a CPU."
        ),
    ] = None
    check: Annotated[
        bool,
        Field(
            description="Also try the largest batch that should fit, or the paper's if smaller; takes minutes on a CPU."
        ),
    ] = False


@dataclass(frozen=True)
class MeasureSettings(MeasureOptions):
    """Settings of measuring the cost of an attention on a task at its true size."""

    attention: AttentionSettings
    """The method."""
    data: Mapping[str, Any]
    """The entries of the task's ``data`` block that determine its sizes."""
    train_batch: Count
    """Examples of an optimiser step of the task's training."""
    train_precision: Precision = "fp32"
    """Precision of that training."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Sizes of the model; the paper's by default."""


@dataclass(frozen=True, kw_only=True)
class ApproximateOptions:
    """How far each approximation is from exact attention on the text task's data (figure 1)."""

    trials: Least2 = 768
    """Sequences; 768 in the paper."""
    lengths: Counts = (1024, 4096)
    """Their lengths n."""
    features: Counts = (8, 16, 32, 64, 128, 256)
    """The method's budgets d."""
    seed: NonNegativeInt = 0
    """Seed of the choice of texts, random weights and the method's random choices."""


@dataclass(frozen=True)
class ApproximateSettings(ApproximateOptions):
    """Settings of comparing an attention with exact attention."""

    attention: AttentionSettings
    """The method; its own ``features`` are ignored."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Sizes of the model with random weights."""


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Lengths and repeats of the timing of attention cores against exact attention."""

    lengths: Counts
    """Positions of a sequence."""
    repeats: Count
    """Timed pairs at each length."""
