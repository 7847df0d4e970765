"""The commands that train: ``lra train`` and ``lra pretrain``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES
from lra.cli.console import at_least, lookup
from lra.cli.cost import attention_module
from lra.cli.evaluate import TRUST, evaluate_run
from lra.config.arena import load
from lra.config.mapping import from_mapping
from lra.config.pretraining import pretraining
from lra.config.settings import Experiment
from lra.errors import LraError
from lra.results.choice import tuned_changes

STOPPED = 75
"""Exit code if a signal stopped the run."""


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands to the subparsers; returns them, because both read config.yaml or resolved settings."""
    train = commands.add_parser("train", help="train and test one attention on one task")
    pretrain = commands.add_parser("pretrain", help="train one attention to predict hidden tokens of one task")
    add_training(train)
    add_training(pretrain)
    train.add_argument(
        "--pretrained",
        type=Path,
        metavar="FOLDER",
        help="folder of the pretraining, if config.yaml asks for one (default: that of results/store, made first if it "
        "is not there)",
    )
    train.add_argument(
        "--mode", choices=("train", "eval"), default="train", help="eval: score a trained run in results/runs again"
    )
    train.add_argument("--trust", action="store_true", help=TRUST)
    train.set_defaults(run=run_train)
    pretrain.set_defaults(run=run_train, mode="pretrain", pretrained=None)
    return [train, pretrain]


def add_training(command: argparse.ArgumentParser) -> None:
    """Add the options that `lra train` and `lra pretrain` share."""
    command.add_argument("--attention", "--attn", help="its name in config.yaml, or the paper's spelling")
    command.add_argument("--task", help="its name in config.yaml, such as listops, with or without the paper's `lra-`")
    command.add_argument(
        "--seed", type=at_least(0, most=2**64 - 1), default=1, help="seed of all random choices (default: 1)"
    )
    command.add_argument("--data", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    command.add_argument(
        "--out", type=Path, help="folder of the run (default: results/tries/SCALE/TASK/ATTENTION/seed-N)"
    )
    command.add_argument(
        "--threads", type=at_least(1), default=os.cpu_count() or 1, help="CPU threads (default: one for each core)"
    )
    command.add_argument(
        "--max-steps", type=at_least(1), help="end after so many steps (default: the number in config.yaml)"
    )
    command.add_argument(
        "--checkpoint-seconds", type=float, default=300, help="seconds between checkpoints (default: 300)"
    )
    command.add_argument("--code", help=argparse.SUPPRESS)


def run_train(options: argparse.Namespace) -> int:
    """Train, pretrain, or with ``--mode eval`` score a run; returns the exit code."""
    from lra.fingerprint import fingerprint
    from lra.training.progress import Interrupted
    from lra.training.store import train_stored

    experiment, scale = _experiment(options)
    attention, task, seed = experiment.attention, experiment.task, str(experiment.seed)
    if options.mode == "pretrain":
        experiment, seed = _pretraining(experiment), f"{seed}-pretraining"
    folder = paths.run if options.mode == "eval" else paths.tried_run
    out = options.out or folder(scale, task, attention.name, seed)
    data = options.data or paths.shards(scale, task)
    if options.mode == "eval":
        return evaluate_run(out, data, "test", 0, options.trust)
    if options.pretrained is not None and experiment.pretrain is None:
        raise LraError(
            f"--pretrained: {attention.name} on {task} starts from random weights; say `pretrain: true` in config.yaml."
        )
    _refuse_wrong_folder(out, experiment, options.max_steps)
    module = attention_module(attention.name, attention.module)
    try:
        metrics = train_stored(
            experiment,
            data,
            out,
            code=options.code or fingerprint("lra.training.run", module),
            threads=options.threads,
            checkpoint_seconds=options.checkpoint_seconds,
            max_steps=options.max_steps,
            replace=options.out is None,
            pretrained=options.pretrained,
        )
    except Interrupted:
        print("stopped; run the same command again to go on from here", file=sys.stderr)
        return STOPPED
    print(_summary(metrics))
    return 0


def _refuse_wrong_folder(out: Path, experiment: Experiment, max_steps: int | None) -> None:
    """Refuse a folder of results/runs whose path names another run, or in which the run would be cut short.

    The tables average all runs of these folders.
    """
    if not out.resolve().is_relative_to(paths.RUNS.resolve()):
        return
    place = (experiment.task, experiment.attention.name, f"seed-{experiment.seed}")
    if out.resolve().parts[-3:] != place:
        raise LraError(f"{out} is not the place of {'/'.join(place)}; omit --out, or give a folder elsewhere.")
    if max_steps is not None:
        raise LraError(f"{out} is for a full run, not one of {max_steps} steps; omit --max-steps or --out.")


def _experiment(options: argparse.Namespace) -> tuple[Experiment, str]:
    """The experiment that the options describe, and the name of its scale for default folders."""
    if options.settings is not None:
        return from_mapping(Experiment, options.settings | {"seed": options.seed}, "--settings"), "custom"
    if not options.attention or not options.task:
        raise LraError("lra train needs --attention and --task, e.g. `lra train --attention softmax --task listops`.")
    arena = load(*options.config)
    task, attention = options.task.removeprefix("lra-"), ALIASES.get(options.attention, options.attention)
    lookup(task, arena.settings["tasks"], "task")
    lookup(attention, arena.attentions, "attention")
    first, *others = tuned_changes(arena, attention, task)
    if others:
        raise LraError(
            f"no learning rate is chosen yet for {attention} on {task}; `snakemake --cores 1 "
            f"{paths.choice(arena.scale, task, attention)}` does, or take `tune` out of scales.{arena.scale}."
        )
    return arena.experiment(attention, task, options.seed, **first), arena.scale


def _pretraining(experiment: Experiment) -> Experiment:
    """The pretraining of an experiment; an experiment that is a pretraining is returned as it is."""
    if experiment.pretrain is None and experiment.mask is None:
        raise LraError(
            f"{experiment.attention.name} on {experiment.task} is not pretrained; say `pretrain: true` in config.yaml."
        )
    return pretraining(experiment) if experiment.pretrain else experiment


def _summary(metrics: dict[str, Any]) -> str:
    """A run in one line, from its ``metrics.json``."""
    cell = f"{metrics['task']} {metrics['attention']} seed {metrics['seed']}"
    if metrics["status"] != "ok":
        return f"{cell}: {metrics['status']}, {metrics['reason']}"
    if metrics["test_accuracy"] is None:
        predicted = f"{metrics['dev_accuracy']:.4f} of the hidden tokens of dev predicted"
        return f"{cell}: {predicted}, {metrics['steps']} steps in {metrics['train_seconds']:.1f} s"
    return (
        f"{cell}: test accuracy {metrics['test_accuracy']:.4f} (majority {metrics['majority_accuracy']:.4f}), "
        f"{metrics['steps']} steps in {metrics['train_seconds']:.1f} s"
    )
