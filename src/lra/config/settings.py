"""Settings of one job, as plain data. Results depend on these values, not on the code that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from lra.tasks.description import Count

SHARD_ROWS = 16384
"""Rows of a full Parquet shard; a split has as many shards as its rows need."""

Precision = Literal["fp32", "bf16", "fp16"]
Least2 = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(gt=0, lt=1)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1)]


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the model."""

    layers: Count = 2
    """Number of layers."""
    embedding: Count = 64
    """Size of the embedding of a token."""
    hidden: Count = 128
    """Hidden units of a layer's feed-forward part, and of the classifier."""
    heads: Count = 2
    """Number of attention heads."""
    head_dim: Count = 32
    """Size of a head."""
    dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of activations that training drops."""
    embedding_std: PositiveFloat = 0.02
    """Initial standard deviation of the token and position embeddings; a task that stays at chance may need more."""
    positions: Literal["learned", "rotary"] = "learned"
    """`learned`: position embeddings, added to those of the tokens. `rotary`: queries and keys are turned by their
    positions (RoFormer). A method that does not compare queries with keys always gets learned ones."""


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
    """Steps without a lower dev loss that end the run; null for ten times ``evaluate_every``, as in the paper."""
    schedule: Literal["onecycle", "cosine", "linear"] = "onecycle"
    """The learning rate after a linear warm-up. `onecycle`, as in the paper: starts at 1/25 of the peak, falls on a
    line to 4e-6 of it. `cosine` and `linear`: start at 0, fall to 0 on half a cosine or on a line."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's weight decay; it applies to the weights of linear layers only."""
    seconds: PositiveFloat | None = None
    """Seconds of training; the run ends at the first step that reaches them. Null for no such bound."""
    flops: PositiveFloat | None = None
    """FLOPs of all training steps, by formula at the full padded length. The run and its schedule have as many steps as
    they allow. Null for no such bound."""
    precision: Precision = "fp32"
    """fp32, or mixed precision with bf16 or fp16."""
    micro_batch: Count | None = None
    """Examples that pass through the model at once; null for as many as fit in memory."""
    pad: Literal["length", "batch", "bucket"] = "length"
    """Length to which sequences are padded. `length`: the task's. `batch`: the longest of the batch, rounded up to a
    multiple of 64. `bucket`: as `batch`, with training batches of sequences of similar length."""
    compile: Literal["auto", True, False] = "auto"
    """Whether to compile the model with torch.compile; `auto` compiles on a GPU."""


@dataclass(frozen=True)
class PretrainSettings:
    """How a model learns to predict hidden tokens of the task's own training split before it is trained on labels.

    Schedule, weight decay, precision and padding are those of ``train``. A pretraining never stops early.
    """

    mask: Share
    """Share of tokens that are hidden and predicted, drawn anew for each batch."""
    batch: Count
    """Examples of an optimiser step; the sequences of a pair are predicted separately."""
    learning_rate: PositiveFloat
    """Peak of the schedule."""
    warmup: NonNegativeInt
    """Steps until the peak."""
    steps: Count
    """Optimiser steps."""
    evaluate_every: Count
    """Steps between evaluations on hidden tokens of dev. The weights of the best evaluation are kept."""


@dataclass(frozen=True)
class AttentionSettings:
    """A row of the table."""

    name: str
    """Name of the row."""
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
    """Share of tokens to hide and to predict, if this run is a pretraining; null for a run that learns labels."""
    pretrain: PretrainSettings | None = None
    """The pretraining whose weights the run starts from; null to start from random weights."""


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How time, memory and FLOPs of training are measured.

    The descriptions stand in ``Field``, because pydantic finds no docstrings of fields of a base class.
    """

    batch: Annotated[
        Count | None,
        Field(description="Examples of a timed step; null for the paper's batch on a GPU, for 4096 tokens on a CPU."),
    ] = None
    repeats: Annotated[
        Least2,
        Field(
            description="Timed pairs of steps at least: a step of the method and one of exact attention. Fewer than "
            "three give no interval of their ratio."
        ),
    ] = 3
    seconds: Annotated[
        NonNegativeFloat | None,
        Field(description="Seconds after which no further pair begins; null for 10 on a GPU, 0.7 on a CPU."),
    ] = None
    memory_gib: Annotated[PositiveFloat, Field(description="Memory in GiB that the largest batch must fit in.")] = 16.0
    precision: Annotated[
        Precision | None,
        Field(
            description="fp32, or mixed precision with bf16 or fp16; null for the precision of the task's training on "
            "a GPU, for fp32 on a CPU."
        ),
    ] = None
    check: Annotated[
        bool,
        Field(
            description="Also try the largest batch that should fit, or the paper's if it is smaller; this takes "
            "minutes on a CPU."
        ),
    ] = False


@dataclass(frozen=True)
class MeasureSettings(MeasureOptions):
    """Settings for measuring the cost of an attention on a task at its true size."""

    attention: AttentionSettings
    """The method."""
    data: Mapping[str, Any]
    """The entries of the task's ``data`` block that determine its sizes."""
    train_batch: Count
    """Examples of an optimiser step of the task's training."""
    train_precision: Precision = "fp32"
    """Precision of the task's training."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Sizes of the model; the paper's by default."""


@dataclass(frozen=True, kw_only=True)
class ApproximateOptions:
    """How far each approximation is from exact attention on the text task's data (figure 1)."""

    trials: Least2 = 768
    """Number of sequences; 768 in the paper."""
    lengths: Counts = (1024, 4096)
    """Lengths n of the sequences."""
    features: Counts = (8, 16, 32, 64, 128, 256)
    """Budgets d of the method."""
    seed: NonNegativeInt = 0
    """Seed of the order of texts, the random weights and the method's random choices."""


@dataclass(frozen=True)
class ApproximateSettings(ApproximateOptions):
    """Settings for comparing an attention with exact attention."""

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
    """Timed pairs at each length: a pass of the method and one of exact attention."""
