"""The command line: what a rule runs, a person can run.

Each command imports what it needs when it runs, so that ``lra --help`` needs nothing.
"""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES
from lra.cli import archive, clean, hands_on, results
from lra.cli import cost as costs
from lra.cli import preview as ahead
from lra.cli.console import Parser, as_json, at_least, guarded, named
from lra.cli.evaluate import evaluate_run, run_evaluate
from lra.config.arena import EXTRACTED, load
from lra.config.mapping import from_mapping
from lra.config.pretraining import pretraining
from lra.config.settings import Experiment
from lra.errors import LraError
from lra.files import atomic_write
from lra.results.choice import tuned_changes

EXIT_CODES = """
exit codes:
  0    done
  1    a mistake or a failure, told in one sentence; `lra check`: a contract is broken
  2    the command line is misspelt
  75   stopped by a signal; the same command goes on from there
  130  interrupted from the keyboard

`lra COMMAND --help` tells the options of one command, README.md what to begin with.
"""
STOPPED = 75
UNPACKED = {"lra_release": 4 << 30, "pathfinder_tfds": 1 << 30}
"""Bytes of disk that what is extracted needs besides the archive, at most."""
CORES = os.cpu_count() or 1
TRUST = "score a run whose attention is no method of the registry, by running the file that the run names"
TASK = "its name in config.yaml, such as listops"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Torch makes objects by the hundred thousand that stay; looking for garbage every 700 is a sixth of its import.
    gc.set_threshold(10_000)
    # No command opens a window, and a notebook's shell may name a backend that is not installed here.
    os.environ["MPLBACKEND"] = "agg"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # such as a path in a terminal of another encoding
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return guarded(lambda: options.run(options))


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="lra",
        description="The Long Range Arena you can rerun, one step at a time; `snakemake` runs all of them in order.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    download = commands.add_parser("download", help="fetch one artefact from the first source that works")
    download.add_argument("artefact", help="its name under `sources` in config.yaml")
    download.add_argument("--sources", type=as_json(list), help="JSON list of sources instead of those in config.yaml")
    download.add_argument("--out", type=Path, help="where to put it (default: data/sources/ARTEFACT)")
    download.set_defaults(run=run_download)

    extract = commands.add_parser("extract", help="unpack what the tasks need of an archive of the Long Range Arena")
    extract.add_argument("artefact", metavar="ARTEFACT", choices=sorted(EXTRACTED), help=" or ".join(sorted(EXTRACTED)))
    extract.add_argument("archive", type=Path, help="the archive, or a folder that it was unpacked to")
    extract.add_argument(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="listops, retrieval or pathfinder32, -64, -128, -256 (default: listops retrieval pathfinder32, of "
        "pathfinder_tfds pathfinder32)",
    )
    extract.add_argument("--out", type=Path, help="folder to make (default: data/extracted/ARTEFACT)")
    extract.add_argument(
        "--verified", action="store_true", help="the archive's checksum was compared, so its end need not be read"
    )
    extract.set_defaults(run=run_extract)

    prepare = commands.add_parser("prepare", help="turn a task's source into Parquet shards")
    prepare.add_argument("task", help=TASK)
    prepare.add_argument("--source", type=Path, help="file or folder of the artefact that the task reads")
    prepare.add_argument("--out", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    prepare.add_argument("--workers", type=at_least(1), default=CORES, help="processes (default: all cores)")
    prepare.set_defaults(run=run_prepare)

    sheet = commands.add_parser(
        "contact-sheet", help="draw prepared images of pathfinder or pathx and their labels on one sheet"
    )
    sheet.add_argument("data", type=Path, help="folder of pathfinder's shards")
    sheet.add_argument("--out", type=Path, default=paths.CONTACT_SHEET, help=f"default: {paths.CONTACT_SHEET}")
    sheet.add_argument(
        "--images", type=at_least(1), default=48, help="how many, from the start of the training split (default: 48)"
    )
    sheet.set_defaults(run=run_contact_sheet)

    train = commands.add_parser("train", help="train and test one attention on one task")
    pretrain = commands.add_parser("pretrain", help="train one attention to predict hidden tokens of one task")
    add_training(train)
    add_training(pretrain)
    train.add_argument(
        "--pretrained",
        type=Path,
        metavar="FOLDER",
        help="where config.yaml has it start from a pretraining: its folder (default: pretrain first, unless "
        "results/store has it)",
    )
    train.add_argument(
        "--mode", choices=("train", "eval"), default="train", help="eval: score a trained run in results/runs again"
    )
    train.add_argument("--trust", action="store_true", help=TRUST)
    train.set_defaults(run=run_train)
    pretrain.set_defaults(run=run_train, mode="pretrain", pretrained=None)

    evaluate = commands.add_parser("evaluate", help="score a trained run's best weights once more")
    evaluate.add_argument("folder", type=Path, help="folder of the run")
    evaluate.add_argument("--data", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    evaluate.add_argument("--split", choices=("dev", "test"), default="test", help="dev or test (default: test)")
    evaluate.add_argument(
        "--draws", type=at_least(0), default=0, metavar="N", help="score N other sets of random numbers as well"
    )
    evaluate.add_argument("--trust", action="store_true", help=TRUST)
    evaluate.set_defaults(run=run_evaluate)

    resolved = [*costs.add_commands(commands), *ahead.add_commands(commands)]
    hands_on.add_commands(commands)
    results.add_commands(commands)
    clean.add_command(commands)
    archive.add_commands(commands)

    completion = commands.add_parser("completion", help="print what makes a shell complete commands, names and paths")
    completion.add_argument("shell", choices=("bash", "zsh"), help='bash or zsh: `eval "$(lra completion bash)"`')
    completion.set_defaults(run=run_completion)

    for command in (download, prepare, train, pretrain, *resolved):
        command.add_argument("--config", type=Path, default=Path("config.yaml"), help="default: config.yaml")
    for command in (prepare, train, pretrain, *resolved):
        command.add_argument("--settings", type=as_json(dict), help="resolved settings as JSON instead of config.yaml")
    for listed in commands._choices_actions:
        told = listed.help or ""
        commands.choices[listed.dest].description = f"{told[:1].upper()}{told[1:]}."
    return top


def add_training(command: argparse.ArgumentParser) -> None:
    """Add what `lra train` and `lra pretrain` both take."""
    command.add_argument("--attention", "--attn", help="its name in config.yaml, or the paper's spelling")
    command.add_argument("--task", help=f"{TASK}, with or without the paper's `lra-`")
    command.add_argument(
        "--seed", type=at_least(0, most=2**64 - 1), default=1, help="of all that is random (default: 1)"
    )
    command.add_argument("--data", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    command.add_argument(
        "--out", type=Path, help="folder of the run (default: results/tries/SCALE/TASK/ATTENTION/seed-N)"
    )
    command.add_argument("--threads", type=at_least(1), default=CORES, help="CPU threads (default: all cores)")
    command.add_argument(
        "--max-steps", type=at_least(1), help="end after so many steps (default: those of config.yaml)"
    )
    command.add_argument(
        "--checkpoint-seconds", type=float, default=300, help="time between checkpoints (default: 300)"
    )
    command.add_argument("--code", help=argparse.SUPPRESS)


def run_download(options: argparse.Namespace) -> None:
    from lra.data.download import Source, fetch

    artefact = options.artefact
    sources = options.sources
    if sources is None:
        sources = named(artefact, load(options.config).sources, "source")
    where = f"sources.{artefact}"
    fetch(
        artefact,
        [from_mapping(Source, source, where) for source in sources],
        options.out or paths.source(artefact),
        paths.LOCK,
        spare=UNPACKED.get(artefact, 0),
    )


def run_extract(options: argparse.Namespace) -> None:
    from lra.data.prepare import checksum
    from lra.data.release import extract_lra_release, extract_pathfinder_tfds

    if options.verified:
        checksum(options.archive)  # which may be a link to files that have changed since
    out = options.out or paths.extracted(options.artefact)
    if options.artefact == "lra_release":
        parts = options.tasks or ["listops", "retrieval", "pathfinder32"]
        extract_lra_release(options.archive, out, parts, verified=options.verified)
    else:
        extract_pathfinder_tfds(options.archive, out, options.tasks or ["pathfinder32"])


def run_prepare(options: argparse.Namespace) -> None:
    from lra.data.prepare import prepare

    settings, out, source = options.settings, options.out, options.source
    if settings is None or out is None:
        arena = load(options.config)
        named(options.task, arena.settings["tasks"], "task")
        settings = settings or arena.data(options.task)
        out = out or paths.shards(arena.scale, options.task)
        source = source or arena.source(options.task)
    shards = prepare(options.task, settings, source, out, options.workers)
    rows = ", ".join(f"{split} {content['rows']}" for split, content in shards.splits.items())
    print(f"{out}: {rows}", file=sys.stderr)


def run_contact_sheet(options: argparse.Namespace) -> None:
    import math

    import numpy as np
    import pyarrow.parquet as pq

    from lra.data.shards import read_shards
    from lra.tasks.pathfinder_drawing import contact_sheet

    shards = read_shards(options.data)
    if shards.task.name not in ("pathfinder", "pathx"):
        raise LraError(f"{options.data} holds {shards.task.name}; a contact sheet is drawn of pathfinder or pathx.")
    rows = pq.read_table(shards.files("train")[0], columns=["tokens", "label"])[: options.images]
    side = math.isqrt(shards.task.max_length)
    pixels = np.array(rows["tokens"].to_pylist(), np.uint8).reshape(-1, side, side)
    with atomic_write(options.out) as temporary:
        contact_sheet(pixels, rows["label"].to_numpy(), temporary)


def run_train(options: argparse.Namespace) -> int:
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
    _refuse_wrong_place(out, experiment, options.max_steps)
    module = costs.attention_module(attention.name, attention.module)
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


def _refuse_wrong_place(out: Path, experiment: Experiment, max_steps: int | None) -> None:
    """In results/runs a folder's path says what it is for, and no run there is cut short: all of them are averaged."""
    if not out.resolve().is_relative_to(paths.RUNS.resolve()):
        return
    belongs = (experiment.task, experiment.attention.name, f"seed-{experiment.seed}")
    if out.resolve().parts[-3:] != belongs:
        raise LraError(f"{out} is not the place of {'/'.join(belongs)}; leave --out out, or give a folder elsewhere.")
    if max_steps is not None:
        raise LraError(f"{out} is for a full run, not one of {max_steps} steps; leave --max-steps or --out out.")


def _experiment(options: argparse.Namespace) -> tuple[Experiment, str]:
    """The experiment that the options describe, and its scale's name for default folders."""
    if options.settings is not None:
        return from_mapping(Experiment, options.settings | {"seed": options.seed}, "--settings"), "custom"
    if not options.attention or not options.task:
        raise LraError("lra train needs --attention and --task, e.g. `lra train --attention softmax --task listops`.")
    arena = load(options.config)
    task, attention = options.task.removeprefix("lra-"), ALIASES.get(options.attention, options.attention)
    named(task, arena.settings["tasks"], "task")
    named(attention, arena.attentions, "attention")
    first, *others = tuned_changes(arena, attention, task)
    if others:
        raise LraError(
            f"no learning rate is chosen yet for {attention} on {task}; `snakemake --cores 1 "
            f"{paths.choice(arena.scale, task, attention)}` does, or take `tune` out of scales.{arena.scale}."
        )
    return arena.experiment(attention, task, options.seed, **first), arena.scale


def _pretraining(experiment: Experiment) -> Experiment:
    """The pretraining of an experiment, or the experiment where it is one."""
    if experiment.pretrain is None and experiment.mask is None:
        raise LraError(
            f"{experiment.attention.name} on {experiment.task} is not pretrained; say `pretrain: true` in config.yaml."
        )
    return pretraining(experiment) if experiment.pretrain else experiment


def run_completion(options: argparse.Namespace) -> None:
    from lra.cli.completion import script

    print(script(parser(), options.shell))


def _summary(metrics: dict[str, Any]) -> str:
    cell = f"{metrics['task']} {metrics['attention']} seed {metrics['seed']}"
    if metrics["status"] != "ok":
        return f"{cell}: {metrics['status']}, {metrics['reason']}"
    if metrics["test_accuracy"] is None:
        told = f"{metrics['dev_accuracy']:.4f} of the hidden tokens of dev predicted"
        return f"{cell}: {told}, {metrics['steps']} steps in {metrics['train_seconds']:.1f} s"
    return (
        f"{cell}: test accuracy {metrics['test_accuracy']:.4f} (majority {metrics['majority_accuracy']:.4f}), "
        f"{metrics['steps']} steps in {metrics['train_seconds']:.1f} s"
    )
