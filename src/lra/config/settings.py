"""What one run is made of. A leaf without logic: results depend on these values, never on how they were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
