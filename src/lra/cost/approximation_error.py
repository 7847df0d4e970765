"""The distance of an attention's output from the exact one (figure 1 of Chen et al. 2022, arXiv 2112.05359).

    lra approximate --attention skeinformer

The error of one head is the spectral norm of (approximation - exact output), divided by that of the exact output. Q, K
and V come from every layer and head of the arena's model on real text. The model has random weights, new in each trial,
or the weights of a run with exact attention. A trial is one sequence with its own random choices; its value is the mean
error over layers and heads. If a method uses queries as keys (Reformer), so does the exact attention beside it.

The texts of the task's test split are joined, in random order, to sequences of full length without padding. Models of
the small scale were trained on shorter sequences; their position embeddings are stretched to the length by linear
interpolation. Learned parameters of a method (Linformer's projection) keep their initial values. BigBird and Reformer
have budgets of their own and V-Mean has none, so only their random choices make their errors vary with d.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.functional import interpolate, scaled_dot_product_attention

from lra import paths
from lra.attention import build, load, resolve
from lra.config.settings import ApproximateSettings, AttentionSettings, ModelSettings
from lra.data.shards import Shards, read_shards
from lra.devices import default_device, prepare_cpu
from lra.errors import LraError, reason_of
from lra.files import read_metrics
from lra.model import Layer, Model, build_model
from lra.sealing import write_sealed_csv
from lra.training.run_folder import NEEDED, read_run, read_weights


@dataclass(frozen=True)
class ErrorRow:
    """Mean error of one attention, and its standard error; ``weights`` is trained or random.

    If a trial failed, both are None and ``reason`` says why. A single trial has no standard error.
    """

    attention: str
    weights: str
    length: int
    features: int
    trials: int
    mean: float | None
    standard_error: float | None
    reason: str


def approximate(
    settings: ApproximateSettings, data: Path, run: Path | None, out: Path, *, threads: int
) -> list[ErrorRow]:
    """Compare one attention with exact attention and write the rows as CSV.

    Args:
        settings: the attention, the lengths, the budgets and the number of trials.
        data: folder of the prepared task with the texts.
        run: folder of a finished run with exact attention on that task; None for random weights only.
        out: the file to write.
        threads: CPU threads.

    Raises:
        LraError: the task has two towers, or the folder is not a finished run, or one with other data or without exact
            attention.
    """
    prepare_cpu(threads)
    shards = read_shards(data)
    rows = [
        row
        for weights in ("trained", "random")
        if run or weights == "random"
        for length in settings.lengths
        for row in _compare(settings, shards, run if weights == "trained" else None, length)
    ]
    write_sealed_csv(out, [field.name for field in dataclasses.fields(ErrorRow)], map(dataclasses.astuple, rows))
    return rows


def _compare(settings: ApproximateSettings, shards: Shards, run: Path | None, length: int) -> list[ErrorRow]:
    """The rows of one length, with random weights, or with trained ones if there is a run."""
    device, texts = default_device(), Texts(shards)
    failed = "" if run is None else failure(run)
    try:
        uses_key = load(resolve(settings.attention.module or settings.attention.name).path).uses_key
    except ValueError as problem:  # a method that cannot be imported is a row too
        uses_key, failed = True, str(problem)
    model = None if run is None or failed else trained_model(run, shards, length).to(device)
    errors: dict[int, list[float]] = {features: [] for features in settings.features}
    reasons = dict.fromkeys(settings.features, failed)
    for trial in range(0 if failed else settings.trials):
        # Two seeds: with one, the initial weights of the method would repeat those of the model.
        model_seed, seed = map(int, np.random.SeedSequence([settings.seed, trial]).generate_state(2))
        tokens = torch.from_numpy(texts.joined(length, [settings.seed, trial]).astype(np.int64)).to(device)
        torch.manual_seed(model_seed)
        used = model or random_model(settings.model, shards, length).to(device)
        inputs = Inputs(*projections(used, tokens), uses_key=uses_key)
        for features in settings.features:
            attention = dataclasses.replace(settings.attention, features=features)
            try:
                errors[features].append(float(relative_error(attention, inputs, seed).mean()))
            except Exception as problem:  # a method that crashes is a row
                reasons[features] = reason_of(problem)  # or LraError, alone
                traceback.print_exc()
    return [
        ErrorRow(
            settings.attention.name,
            "random" if run is None else "trained",
            length,
            features,
            settings.trials,
            None if reasons[features] else statistics.fmean(values),
            None if reasons[features] else standard_error(values),
            reasons[features],
        )
        for features, values in errors.items()
    ]


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean; a single value has none."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


class Inputs:
    """Q, K, V (batch, heads, length, head_dim) of sequences without padding, and the output of exact attention."""

    @torch.no_grad()
    def __init__(self, query: Tensor, key: Tensor, value: Tensor, *, uses_key: bool = True) -> None:
        self.query, self.key, self.value = query, key if uses_key else query, value
        self.mask = torch.ones(len(query), query.shape[2], dtype=torch.bool, device=query.device)
        self.exact = scaled_dot_product_attention(self.query, self.key, self.value)
        self.norm = spectral_norm(self.exact)  # (batch, heads)


@torch.no_grad()
def relative_error(attention: AttentionSettings, inputs: Inputs, seed: int) -> Tensor:
    """||approximation - exact|| / ||exact|| in the spectral norm, (batch, heads).

    Args:
        attention: settings of the method, which is built for this call.
        inputs: queries, keys and values.
        seed: seed of the method's random choices and initial weights.
    """
    _, heads, length, head_dim = inputs.query.shape
    torch.manual_seed(seed)
    name = attention.module or attention.name
    method = build(
        name,
        heads=heads,
        head_dim=head_dim,
        max_length=length,
        features=attention.features,
        **{**load(resolve(name).path).approximation, **attention.options},
    )
    method = method.to(inputs.query.device).eval()
    tensors = (inputs.query, inputs.key, inputs.value, inputs.mask)
    draws = method.draw(*tensors, torch.Generator(inputs.query.device).manual_seed(seed))
    return spectral_norm(method(*tensors, draws) - inputs.exact) / inputs.norm


def spectral_norm(matrix: Tensor) -> Tensor:
    """Largest singular value of each (length, head_dim) matrix, float64, from its (head_dim, head_dim) Gram matrix."""
    wide = matrix.double()
    return torch.linalg.eigvalsh(wide.mT @ wide)[..., -1].clamp(min=0).sqrt()


@torch.no_grad()
def projections(model: Model, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Q, K and V of every layer, each (layers, heads, length, head_dim), of one sequence of (length,) token ids."""
    model.eval()
    mask = torch.ones(1, len(tokens), dtype=torch.bool, device=tokens.device)
    x = model.embed(tokens[None])
    projected = []
    for number, layer in enumerate(layers_of(model)):
        if number:
            x = layers_of(model)[number - 1](x, mask)
        projected.append(layer.attention.project(layer.attention_norm(x)))
    query, key, value = (torch.cat(parts) for parts in zip(*projected, strict=True))
    return query, key, value


def layers_of(model: Model) -> list[Layer]:
    """The model's layers, by their type."""
    return cast("list[Layer]", list(model.layers))


def random_model(sizes: ModelSettings, shards: Shards, length: int) -> Model:
    """The arena's model with exact attention and fresh weights from torch's global random state."""
    exact = AttentionSettings("softmax_nodropout")
    return build_model(dataclasses.replace(shards.task, max_length=length), sizes, exact)


def failure(run: Path) -> str:
    """The reason why a run has no weights; an empty string if it has."""
    metrics = read_metrics(run / paths.METRICS, NEEDED)
    return "" if metrics["status"] == "ok" else f"{run} ended as {metrics['status']}: {metrics['reason']}"


def trained_model(run: Path, shards: Shards, length: int) -> Model:
    """The model with the best weights of a finished run; too few position embeddings are stretched to ``length``.

    Raises:
        LraError: the folder is not a finished run, its weights are damaged, it was trained on other data, or its
            attention is not exact.
    """
    metrics, experiment = read_run(run)
    if shards.identity != metrics["data"]:
        raise LraError(f"{run} was trained on other data than {shards.folder}; train it again or give another --run.")
    task = dataclasses.replace(shards.task, max_length=length)
    model = build_model(task, experiment.model, experiment.attention)
    if not all(layer.attention.attention.exact for layer in layers_of(model)):
        raise LraError(f"{run} was trained with {metrics['attention']}; give a --run with exact attention.")
    weights = read_weights(run)
    if model.positions is not None:
        weights["positions.weight"] = stretch(weights["positions.weight"], len(model.positions.weight))
    model.load_state_dict(weights)
    return model


def stretch(table: Tensor, length: int) -> Tensor:
    """The first ``length`` rows of a (positions, embedding) table; if it has fewer, a linear interpolation of them."""
    if length <= len(table):
        return table[:length]
    return interpolate(table.T[None], size=length, mode="linear", align_corners=True)[0].T


class Texts:
    """The texts of the test split of a task with one tower.

    Raises:
        LraError: the task has two towers.
    """

    def __init__(self, shards: Shards) -> None:
        if shards.task.towers != 1:
            raise LraError(f"{shards.folder} has pairs of sequences; give a task with single sequences, such as text.")
        tables = [pq.read_table(path, columns=["tokens"]) for path in shards.files("test")]
        rows: pa.ListArray = pa.concat_tables(tables).column("tokens").combine_chunks()
        self.tokens = rows.flatten().to_numpy()
        self.ends = np.cumsum(rows.value_lengths().to_numpy())

    def joined(self, length: int, seed: list[int]) -> npt.NDArray[np.unsignedinteger]:
        """(length,) token ids: the texts in a random order, repeated only if all of them together are shorter."""
        order = np.random.default_rng(seed).permutation(len(self.ends))
        starts = self.ends - np.diff(self.ends, prepend=0)
        enough = np.searchsorted(np.cumsum(self.ends[order] - starts[order]), length) + 1
        return np.resize(np.concatenate([self.tokens[starts[row] : self.ends[row]] for row in order[:enough]]), length)
