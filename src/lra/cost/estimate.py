"""An estimate of the arena before it runs: runs, steps, FLOPs, hours, memory and disk, and the runs that are finished.

    lra plan

Hours are those of a run that has the machine to itself and does not stop early. For a cell that ``lra measure`` has
measured at the length of its training, they come from that measurement. For other cells they are FLOPs by formula,
divided by FLOPs a second: those measured for this attention, or else for all attentions, or else for a step of exact
attention that is timed here. A plan for a card that is not at hand takes the rates of :mod:`lra.cost.cards`.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lra import paths
from lra.config.arena import Arena
from lra.config.pretraining import pretraining
from lra.config.settings import AttentionSettings, Experiment
from lra.cost.cards import Card
from lra.cost.training_step import YARDSTICK, Measurement
from lra.data.synthetic import describe
from lra.devices import default_device
from lra.errors import LraError
from lra.model import build_model, forward_flops, padded_length
from lra.sealing import read_measure
from lra.tasks.contract import Rows, Task
from lra.training.budget import TRAINING, affordable_steps

COPIES = 8
"""Copies of the weights in two checkpoints; each holds the last and best ones and the optimiser's two moments."""
TUNING = "tuning"
"""``PlannedCell.changes`` of the short runs that choose a learning rate."""


@dataclass(frozen=True)
class PlannedCell:
    """The runs of one attention on one task that differ by seed or, in tuning, by learning rate.

    Args:
        changes: empty for a cell of the table, ``pretraining``, ``tuning``, or batch size and rate of a sweep's cell.
        runs: number of runs: of seeds, or in tuning of learning rates.
        done: number of finished runs.
        steps: optimiser steps of a run at most.
        flops: FLOPs of one run, evaluations included.
        seconds: time of one run.
        measured: whether ``seconds`` comes from a measurement at this length; False if it is derived from FLOPs.
        parameters: number of the model's parameters.
        micro_batch: examples that fit in memory at once; None if their memory was not measured.
    """

    task: str
    attention: str
    changes: str
    runs: int
    done: int
    steps: int
    flops: float
    seconds: float
    measured: bool
    parameters: int
    micro_batch: int | None


def plan(arena: Arena, results: Path, memory: int, card: Card | None = None) -> list[PlannedCell]:
    """The cells of the table, then those of pretraining and tuning, then those of the sweep.

    Args:
        arena: the arena to run.
        results: folder of runs and measurements.
        memory: bytes that a micro-batch must fit in.
        card: plan for this card by its rates; None for this machine.
    """
    cells = [(task, attention) for task in arena.tasks for attention in arena.attentions]
    measures = {cell: None if card else _measure(results, *cell) for cell in cells}
    rates = _with_others(card.rates) if card else _rates(arena, measures)
    estimate = partial(_cell, arena, measures, rates, memory)
    seeds = [paths.seed_name(seed) for seed in arena.seeds]

    def of_seeds(folder: Path) -> list[Path]:
        return [folder / seed for seed in seeds]

    estimates = [
        estimate(
            arena.experiment(attention, task, seed=0), "", of_seeds(paths.cell(arena.scale, task, attention, results))
        )
        for task, attention in cells
    ]
    for task, attention in cells:
        if (experiment := arena.experiment(attention, task, seed=0)).pretrain:
            folder = paths.pretrained_cell(arena.scale, task, attention, results)
            estimates.append(estimate(pretraining(experiment), "pretraining", of_seeds(folder)))
        if tries := arena.tries(attention, task):
            folder = paths.tuning(arena.scale, task, attention, results)
            estimates.append(estimate(next(iter(tries.values())), TUNING, [folder / name for name in tries]))
    if arena.sweep:
        for cell, (batch, rate) in arena.sweep.cells().items():
            changed = arena.experiment(arena.sweep.attention, arena.sweep.task, seed=0, batch=batch, learning_rate=rate)
            folders = of_seeds(paths.swept_cell(arena.scale, cell, results))
            estimates.append(estimate(changed, f"batch {batch}, rate {rate}", folders))
    return estimates


def _measure(results: Path, task: str, attention: str) -> dict[str, Any] | None:
    """The measurement of a cell on a device of this type; None if there is none.

    Raises:
        LraError: the file is not a measurement.
    """
    path = paths.measurement(task, attention, results)
    measure = read_measure(path) if path.exists() else {"status": "missing"}
    try:
        return measure if measure["status"] == "ok" and measure["device"] == default_device().type else None
    except (KeyError, TypeError) as problem:
        raise LraError(f"{path} is not a measurement ({problem}); measure this cell again.") from problem


def _rates(arena: Arena, measures: Mapping[tuple[str, str], dict[str, Any] | None]) -> dict[str, float]:
    """Training FLOPs a second by attention, the median of its measurements; under ``""`` the rate of all others."""
    measured: dict[str, list[float]] = {}
    for (_, attention), measure in measures.items():
        if measure:
            measured.setdefault(attention, []).append(_rate(measure["flops_forward"], measure["train_ms_per_example"]))
    rates = {attention: statistics.median(values) for attention, values in measured.items()}
    return _with_others(rates) if rates else {"": _rate_of_exact_attention(arena)}


def _with_others(rates: Mapping[str, float]) -> dict[str, float]:
    return {**rates, "": statistics.median(rates.values())}


def _rate(flops_forward: int, milliseconds: float) -> float:
    return TRAINING * flops_forward / milliseconds * 1000


def _rate_of_exact_attention(arena: Arena) -> float:
    """Training FLOPs a second of exact attention on the arena's last task, timed now."""
    task = arena.tasks[-1]
    settings = replace(
        arena.measure_settings(next(iter(arena.attentions)), task), attention=AttentionSettings(YARDSTICK)
    )
    results = Measurement(describe(task, settings.data), settings).run()
    return _rate(results["flops_forward"], results["train_ms_per_example"])


def _cell(
    arena: Arena,
    measures: Mapping[tuple[str, str], dict[str, Any] | None],
    rates: Mapping[str, float],
    memory: int,
    experiment: Experiment,
    changes: str,
    folders: Sequence[Path],
) -> PlannedCell:
    task, rows = describe(experiment.task, arena.data(experiment.task)), _rows(arena, experiment.task)
    attention, train = experiment.attention.name, experiment.train
    measure = measures[experiment.task, attention]
    try:
        model = build_model(task, experiment.model, experiment.attention)
    except ValueError as problem:  # the method refuses its options
        raise LraError(f"{attention} on {experiment.task} cannot be built: {problem}.") from None
    forward = forward_flops(model, task)
    steps = affordable_steps(train, model, task)
    trained, evaluated = train.batch * steps, rows.dev * -(-steps // train.evaluate_every) + rows.test
    flops = float(forward * (TRAINING * trained + evaluated))
    if measure and not _measures_experiment(measure, experiment, task):
        measure = None
    if measure:
        training = measure["train_ms_per_example"] * trained / 1000
        evaluation = measure["inference_ms_per_example"] * evaluated / 1000
    else:
        rate = rates.get(attention, rates[""])
        training, evaluation = TRAINING * forward * trained / rate, forward * evaluated / rate
    return PlannedCell(
        task=experiment.task,
        attention=attention,
        changes=changes,
        runs=len(folders),
        done=sum((folder / paths.METRICS).exists() for folder in folders),
        steps=steps,
        flops=flops,
        seconds=min(training, train.seconds or training) + evaluation,
        measured=measure is not None,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        micro_batch=_micro_batch(measure, memory, train.batch) if measure else None,
    )


def _rows(arena: Arena, task: str) -> Rows:
    """Rows of each split; 0 if they are unknown before the source is read."""
    data = arena.data(task)
    given = data.get("rows") or data.get("expected_rows")
    return Rows(**given) if given else Rows(0, 0, 0)


def _measures_experiment(measure: Mapping[str, Any], experiment: Experiment, task: Task) -> bool:
    """Whether a measurement has the attention, model, length and precision of an experiment."""
    settings = measure["settings"]
    same_model = settings["attention"] == asdict(experiment.attention) and settings["model"] == asdict(experiment.model)
    same_step = (measure["length"], measure["precision"]) == (padded_length(task), experiment.train.precision)
    return same_model and same_step


def _micro_batch(measure: Mapping[str, Any], memory: int, batch: int) -> int:
    one = measure["memory_per_example_bytes"]
    fixed = measure["overhead_bytes"] + measure["peak_memory_bytes"] - measure["batch"] * one
    return int(max(0, min(batch, (memory - fixed) // one)))


def machine_memory() -> int:
    """Bytes of the GPU's memory; without a GPU, of main memory."""
    device = default_device()
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def disk(arena: Arena, cells: Iterable[PlannedCell]) -> dict[str, int]:
    """Bytes on disk at most: each task's shards, the weights of all runs, and the checkpoints of unfinished runs."""
    sizes = {}
    for name in arena.tasks:
        task, rows = describe(name, arena.data(name)), _rows(arena, name)
        token = 1 if task.vocabulary <= 256 else 2
        sizes[f"shards of {name}"] = (rows.train + rows.dev + rows.test) * task.towers * task.max_length * token
    weights = [(cell.runs, cell.runs - cell.done, 4 * cell.parameters) for cell in cells]
    sizes["weights of all runs"] = sum(runs * size for runs, _, size in weights)
    sizes["checkpoints, if all runs were under way at once"] = sum(left * COPIES * size for _, left, size in weights)
    return sizes


def _hours_left(cells: Iterable[PlannedCell]) -> float:
    """Hours for the unfinished runs of some cells, one after another."""
    return sum((cell.runs - cell.done) * cell.seconds for cell in cells) / 3600


def markdown(arena: Arena, cells: list[PlannedCell], memory: int, card: Card | None = None) -> str:
    """The plan as a Markdown page, for the card or else for this machine."""
    machine = card.title if card else "this machine"
    note = [f"Hours are from the rates of the paper's model on ListOps on {machine}.", ""] if card else []
    runs, done = sum(cell.runs for cell in cells), sum(cell.done for cell in cells)
    left, tuning = _hours_left(cells), _hours_left(cell for cell in cells if cell.changes == TUNING)
    flops = sum(cell.runs * cell.flops for cell in cells)
    lines = [
        f"# Plan of the arena at scale `{arena.scale}`",
        "",
        f"{runs} runs, {done} of them done. {flops / 1e18:.3g} EFLOP in all. The rest takes at most "
        f"{left:.1f} hours on {machine}, one run after another with no early stop"
        + (f"; {tuning:.1f} of these hours choose learning rates." if tuning else "."),
        "",
        "| task | attention | done | steps | PFLOP per run | hours per run | from | micro-batch |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for cell in cells:
        basis = "measured" if cell.measured else "FLOPs"
        fits = "?" if cell.micro_batch is None else cell.micro_batch or "none fits"
        attention = f"{cell.attention} ({cell.changes})" if cell.changes else cell.attention
        lines.append(
            f"| {cell.task} | {attention} | {cell.done}/{cell.runs} | {cell.steps} | {cell.flops / 1e15:.3g} | "
            f"{cell.seconds / 3600:.4g} | {basis} | {fits} |"
        )
    lines += [
        "",
        f"Micro-batch: examples that fit in {memory / 2**30:.1f} GiB at once, at most the batch. `?`: memory at this "
        "length is not measured; run `snakemake --cores all measure`. The gradients of several micro-batches make up "
        "the batch.",
        "",
        "| on disk at most | MiB |",
        "| --- | ---: |",
        *(f"| {name} | {size / 2**20:.0f} |" for name, size in disk(arena, cells).items()),
        "",
        "A task whose rows are unknown before its source is read counts with 0 rows.",
        "",
        *note,
    ]
    return "\n".join(lines)
