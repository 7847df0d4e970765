"""The commands that measure models, ``lra measure`` and ``lra approximate``, and the plots of measurements."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES, names, resolve
from lra.cli.console import at_least, lookup, run_command
from lra.config.arena import TEXTS, Arena, load
from lra.config.mapping import as_mapping, from_mapping
from lra.config.settings import ApproximateSettings, MeasureSettings
from lra.fingerprint import fingerprint

EXACT = "softmax"
"""The attention whose run gives the trained weights for ``lra approximate``."""
YARDSTICK = "softmax_nodropout"
"""The attention with whose times all others are compared."""


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands to the subparsers; returns those that read config.yaml or resolved settings."""
    measure = commands.add_parser(
        "measure", help="measure time, memory and FLOPs of training at the tasks' true lengths"
    )
    measure.add_argument("--attention", "--attn", required=True, help="its name in config.yaml")
    measure.add_argument(
        "--tasks",
        "--task",
        nargs="+",
        metavar="TASK",
        help="names of tasks, with or without the paper's `lra-` (default: `tasks` of config.yaml)",
    )
    measure.add_argument(
        "--results",
        type=Path,
        default=paths.RESULTS,
        help=f"folder of the files measures/TASK/ATTENTION/measure.json to write (default: {paths.RESULTS})",
    )
    measure.add_argument("--check", action="store_true", help="also try the largest batch that should fit")
    measure.add_argument(
        "--stale", action="store_true", help="skip tasks that the same code has measured with the same settings"
    )
    measure.add_argument("--code", help=argparse.SUPPRESS)
    measure.set_defaults(run=run_measure)

    approximate = commands.add_parser("approximate", help="measure how far an attention's output is from the exact one")
    approximate.add_argument("--attention", "--attn", required=True, help="its name in config.yaml")
    approximate.add_argument("--data", type=Path, help=f"folder of the shards (default: data/SCALE/{TEXTS})")
    approximate.add_argument(
        "--run",
        dest="folder",
        type=Path,
        help="folder of a run with exact attention, for trained weights (default: random weights only)",
    )
    approximate.add_argument("--out", type=Path, help="default: results/approximation/SCALE/ATTENTION.csv")
    approximate.set_defaults(run=run_approximate)

    plot_bench = commands.add_parser("plot-bench", help="draw the results of `lra bench`")
    plot_bench.add_argument(
        "table", type=Path, nargs="?", default=paths.BENCH, help=f"table of `lra bench` (default: {paths.BENCH})"
    )
    plot_bench.add_argument(
        "--out",
        type=Path,
        default=paths.PLOTS / "bench",
        help="files to write, without their endings (default: results/plots/bench)",
    )
    plot_bench.set_defaults(run=run_plot_bench)

    plot_approximation = commands.add_parser("plot-approximation", help="draw the results of `lra approximate`")
    plot_approximation.add_argument(
        "tables", metavar="TABLE", type=Path, nargs="+", help="tables of `lra approximate`, one for each attention"
    )
    plot_approximation.add_argument(
        "--out",
        type=Path,
        default=paths.PLOTS / "approximation",
        help="files to write, without their endings (default: results/plots/approximation)",
    )
    plot_approximation.set_defaults(run=run_plot_approximation)

    for command in (measure, approximate):
        command.add_argument(
            "--threads", type=at_least(1), default=os.cpu_count() or 1, help="CPU threads (default: one for each core)"
        )
    return [measure, approximate]


def run_measure(options: argparse.Namespace) -> int:
    """Measure each task in a process of its own, so that lack of memory is a result too; returns the exit code."""
    # Imported before the first process starts: all inherit these modules, whose import takes longer than one task.
    # The first optimiser would import torch._dynamo.
    import torch._dynamo  # noqa: F401

    from lra.cost.training_step import measure, restore, write
    from lra.devices import own_gpu

    attention = ALIASES.get(options.attention, options.attention)
    blocks = options.settings
    if blocks is None:
        arena = _arena_with(options.config, attention)
        tasks = [task.removeprefix("lra-") for task in options.tasks or arena.tasks]
        settings = {task: arena.measure_settings(attention, task) for task in tasks}
    else:
        settings = {task: from_mapping(MeasureSettings, one, f"--settings: {task}") for task, one in blocks.items()}
    for task, resolved in settings.items():
        resolved = replace(resolved, check=resolved.check or options.check)
        code = options.code or measure_fingerprint(attention, resolved.attention.module)
        out = paths.measurement(task, attention, options.results)
        if options.stale and restore(out, resolved, code):
            print(f"{task} {attention}: measured already, {out}")
            continue

        def measured(task: str = task, resolved: MeasureSettings = resolved, code: str = code, out: Path = out) -> None:
            with own_gpu():
                print(summary(measure(task, resolved, out, code=code, threads=options.threads)))

        exit_code = in_child(measured)
        if exit_code > 0 or -exit_code in (signal.SIGTERM, signal.SIGINT):
            return abs(exit_code)
        if exit_code < 0:
            name = signal.Signals(-exit_code).name
            status, reason = "oom" if name == "SIGKILL" else "failed", f"the process was ended by {name}"
            ended = partial(write, task, resolved, out, status, reason, code, options.threads, {})
            # In a child, not here: the children of a process that has used a GPU cannot use it.
            in_child(lambda ended=ended: print(summary(ended())))  # type: ignore[misc]
    return 0


def measure_fingerprint(attention: str, path: str | None) -> str:
    """Fingerprint of the code that decides a measurement, that of exact attention included: both are timed in turn."""
    exact = resolve(YARDSTICK).path.partition(":")[0]
    return fingerprint("lra.cost.training_step", attention_module(attention, path), exact)


def attention_module(attention: str, path: str | None) -> str:
    """The module or file of an attention's class.

    Args:
        attention: name of a method, or ``file.py:Class``.
        path: ``module`` of the attention's settings, which comes first; None if they have none.

    Raises:
        LraError: there is no such method.
    """
    if path is None and ":" not in attention:
        lookup(attention, dict.fromkeys((*names(), *ALIASES)), "attention")
    return (path or resolve(attention).path).partition(":")[0]


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a process of its own; returns its exit code, or minus the signal that ended it."""
    # Forked, not spawned: the child then holds the imported modules and nothing else when its memory is read.
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(run_command(work)), daemon=True)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def summary(row: Mapping[str, Any]) -> str:
    """A measurement in one line."""
    cell = f"{row['task']} {row['attention']}"
    if row["status"] != "ok":
        return f"{cell}: {row['status']}, {row['reason']}"
    interval = "interval unknown"
    if row["ratio_low"] is not None:
        interval = f"{row['ratio_low']:.3g} to {row['ratio_high']:.3g}"
    return (
        f"{cell}: {row['train_ms_per_example']:.1f} ms per example in steps of {row['batch']} ({row['precision']}), "
        f"{row['ratio']:.3g} of exact attention ({interval}), {row['memory_per_example_bytes'] / 2**20:.1f} MiB per "
        f"example, at most {row['largest_batch']} fit"
    )


def run_approximate(options: argparse.Namespace) -> None:
    """Measure the errors, write the table, and print its rows."""
    from lra.cost.approximation_error import approximate
    from lra.devices import own_gpu

    attention = ALIASES.get(options.attention, options.attention)
    settings, data, out = options.settings, options.data, options.out
    if settings is None or data is None or out is None:
        arena = _arena_with(options.config, attention)
        settings = settings or as_mapping(arena.approximate_settings(attention))
        data = data or paths.shards(arena.scale, TEXTS)
        out = out or paths.approximation(arena.scale, attention)
    resolved = from_mapping(ApproximateSettings, settings, "--settings")
    with own_gpu():
        for row in approximate(resolved, data, options.folder, out, threads=options.threads):
            error = row.reason or f"{row.mean:.4f}"
            print(f"{row.attention} {row.weights} n={row.length} d={row.features}: {error}")


def _arena_with(config: Sequence[str], attention: str) -> Arena:
    """The configured arena, which must list the attention."""
    arena = load(*config)
    lookup(attention, arena.attentions, "attention")
    return arena


def run_plot_bench(options: argparse.Namespace) -> None:
    """Draw the times and the memory of attention cores."""
    from lra.results.plots import scaling

    scaling.draw(options.table, options.out)


def run_plot_approximation(options: argparse.Namespace) -> None:
    """Draw the approximation errors."""
    from lra.results.plots import approximation

    approximation.draw(options.tables, options.out)
