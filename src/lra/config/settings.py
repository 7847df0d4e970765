"""What one run is made of. A leaf without logic: results depend on these values, never on how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lra.tasks.description import Task

SHARD_ROWS = 16384
"""Rows of a full Parquet shard; the number of shards of a split follows from its rows."""


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the model; ``embedding_std`` is the initial standard deviation of token and position embeddings."""

    layers: int = 2
    embedding: int = 64
    hidden: int = 128
    heads: int = 2
    head_dim: int = 32
    dropout: float = 0.1
    embedding_std: float = 0.02


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained.

    Args:
        batch: examples of an optimiser step.
        learning_rate: peak of the OneCycle schedule.
        warmup: steps until the peak.
        steps: optimiser steps at most.
        evaluate_every: steps between evaluations on dev.
        patience: evaluations without a lower dev loss that end the run.
        precision: fp32, or mixed precision with bf16 or fp16.
        micro_batch: examples that pass through the model at once; None: as many as fit.
        pad: every sequence to the task's length, or to the batch's longest rounded up to 64; with ``bucket`` training
            batches are made of sequences of about the same length.
        compile: compile the model with torch.compile.
    """

    batch: int
    learning_rate: float
    warmup: int
    steps: int
    evaluate_every: int
    patience: int = 10
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    micro_batch: int | None = None
    pad: Literal["length", "batch", "bucket"] = "length"
    compile: bool = False


@dataclass(frozen=True)
class AttentionSettings:
    """A row of the table: its name, where its class is (None: the registry knows), and its options."""

    name: str
    features: int = 256
    options: Mapping[str, Any] = field(default_factory=dict)
    module: str | None = None


@dataclass(frozen=True)
class Experiment:
    """One run: attention x task x seed, and everything that can change its numbers but the code and the data."""

    task: str
    attention: AttentionSettings
    seed: int
    model: ModelSettings
    train: TrainSettings


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured, and how: the ``measure`` block of config.yaml, and an attention.

    Args:
        attention: the method.
        batch: examples of a timed step; None makes it 4096 positions.
        repeats: timed steps at most.
        seconds: no further repeat begins after so long, but two are made in any case.
        memory_gb: memory that the largest batch must fit into, in GiB.
        precision: fp32, or mixed precision with bf16 or fp16.
        check: also try the predicted largest batch, or the paper's if that is smaller.
        model: sizes of the model; the paper's by default.
        task: a task of the user's own; None for one of the Arena's.
        step: examples of an optimiser step of a task of the user's own.
    """

    attention: AttentionSettings
    batch: int | None = None
    repeats: int = 5
    seconds: float = 1.0
    memory_gb: float = 16.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    check: bool = False
    model: ModelSettings = field(default_factory=ModelSettings)
    task: Task | None = None
    step: int | None = None


@dataclass(frozen=True)
class ApproximateSettings:
    """What is compared: the ``approximate`` block of a scale in config.yaml, an attention, and the model's sizes.

    Args:
        attention: the method; its own ``features`` are ignored.
        model: sizes of the model with random weights.
        trials: sequences.
        lengths: their lengths n.
        features: the method's budgets d.
        seed: of the choice of texts, random weights and the method's random choices.
    """

    attention: AttentionSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    trials: int = 768
    lengths: tuple[int, ...] = (1024, 4096)
    features: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    seed: int = 0


@dataclass(frozen=True)
class BenchSettings:
    """What is timed: the ``bench`` block of config.yaml, and the attentions, each with its budget d and its options.

    Args:
        attentions: the methods.
        lengths: positions of a sequence.
        repeats: timed pairs at each length.
    """

    attentions: tuple[AttentionSettings, ...]
    lengths: tuple[int, ...]
    repeats: int
