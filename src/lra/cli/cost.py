"""The commands that measure: ``lra bench``, ``lra measure``, ``lra approximate``, and the plots of what they find."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES, names, resolve
from lra.cli.console import as_json, at_least, guarded, named
from lra.config.arena import TEXTS, Arena, load
from lra.config.mapping import as_mapping, from_mapping
from lra.config.settings import ApproximateSettings, AttentionSettings, MeasureSettings
from lra.fingerprint import fingerprint

EXACT = "softmax"
"""The attention whose run gives the trained weights."""
LENGTHS = [512, 1024, 2048, 4096, 8192]


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands to the subparsers; returns those that read config.yaml or resolved settings."""
    bench = commands.add_parser("bench", help="time every attention's core against exact attention")
    bench.add_argument(
        "--attentions",
        nargs="+",
        metavar="NAME",
        help="which, your own in config.yaml too, or file.py:Class (default: all)",
    )
    bench.add_argument(
        "--lengths", nargs="+", metavar="N", type=at_least(1), default=LENGTHS, help="default: 512 to 8192"
    )
    bench.add_argument(
        "--features", type=at_least(1), help="the methods' budget d (default: that of `measure` in config.yaml, or 256)"
    )
    bench.add_argument("--repeats", type=at_least(1), default=7, help="timed pairs (default: 7)")
    bench.add_argument(
        "--settings", type=as_json(list), help="JSON list of attentions instead, with all their settings"
    )
    bench.add_argument(
        "--config",
        type=Path,
        default=Path("config.yaml"),
        help="where options are, and names of your own (config.yaml)",
    )
    bench.add_argument("--out", type=Path, default=paths.TRIED_BENCH, help=f"default: {paths.TRIED_BENCH}")
    bench.set_defaults(run=run_bench)

    measure = commands.add_parser("measure", help="time, memory and FLOPs of training at a task's full length")
    measure.add_argument("--attention", "--attn", required=True, help="its name in config.yaml")
    measure.add_argument("--task", required=True, help="its name, with or without the paper's `lra-`")
    measure.add_argument("--out", type=Path, help="default: results/measures/TASK/ATTENTION/measure.json")
    measure.add_argument("--check", action="store_true", help="also try the largest batch that should fit")
    measure.add_argument("--code", help=argparse.SUPPRESS)
    measure.set_defaults(run=run_measure)

    approximate = commands.add_parser("approximate", help="how far an attention's output is from the exact one")
    approximate.add_argument("--attention", "--attn", required=True, help="its name in config.yaml")
    approximate.add_argument("--data", type=Path, help=f"folder of the shards (default: data/SCALE/{TEXTS})")
    approximate.add_argument("--run", dest="folder", type=Path, help="run with exact attention (default: none)")
    approximate.add_argument("--out", type=Path, help="default: results/approximation/SCALE/ATTENTION.csv")
    approximate.set_defaults(run=run_approximate)

    plot_bench = commands.add_parser("plot-bench", help="draw what `lra bench` found")
    plot_bench.add_argument(
        "table", type=Path, nargs="?", default=paths.BENCH, help=f"its table (default: {paths.BENCH})"
    )
    plot_bench.add_argument(
        "--out", type=Path, default=paths.PLOTS / "bench", help="without ending (default: results/plots/bench)"
    )
    plot_bench.set_defaults(run=run_plot_bench)

    plot_approximation = commands.add_parser("plot-approximation", help="draw what `lra approximate` found")
    plot_approximation.add_argument(
        "tables", metavar="TABLE", type=Path, nargs="+", help="its tables, one an attention"
    )
    plot_approximation.add_argument(
        "--out",
        type=Path,
        default=paths.PLOTS / "approximation",
        help="without ending (default: results/plots/approximation)",
    )
    plot_approximation.set_defaults(run=run_plot_approximation)

    for command in (bench, measure, approximate):
        command.add_argument(
            "--threads", type=at_least(1), default=os.cpu_count() or 1, help="CPU threads (default: all cores)"
        )
    return [measure, approximate]


def run_bench(options: argparse.Namespace) -> None:
    from lra.cost.attention_core import benchmark, report, write_rows

    if options.settings is not None:
        chosen = options.settings
    else:
        chosen = attentions_to_bench(options.config, options.attentions, options.features)
    attentions = [from_mapping(AttentionSettings, one, "--settings") for one in chosen]
    rows = []
    for row in benchmark(attentions, options.lengths, repeats=options.repeats, threads=options.threads):
        report(row)
        rows.append(row)
    write_rows(rows, options.out)


def attentions_to_bench(config: Path, wanted: Sequence[str] | None, features: int | None) -> list[dict[str, Any]]:
    """``AttentionSettings`` as mappings: of config.yaml what stands there, of other methods and classes their own.

    Raises:
        LraError: there is no such method.
    """
    arena = load(config) if config.exists() else None
    configured = arena.attentions if arena else {}
    known = dict.fromkeys([*names(), *configured])
    found = []
    for name in (ALIASES.get(name, name) for name in wanted or known):
        if ":" not in name:
            named(name, known, "attention")
        settings = (
            as_mapping(arena.measure_settings(name).attention) if arena and name in configured else {"name": name}
        )
        found.append(settings | ({"features": features} if features else {}))
    return found


def run_measure(options: argparse.Namespace) -> int:
    """Measure in a child process, so that not even the system's killing it for its memory ends without a result."""
    attention, task = ALIASES.get(options.attention, options.attention), options.task.removeprefix("lra-")
    settings = options.settings
    if settings is None:
        arena, attention = _found(options.config, attention)
        settings = as_mapping(arena.measure_settings(attention, task))
    if options.check:
        settings = {**settings, "check": True}
    module = attention_module(attention, settings.get("attention", {}).get("module"))
    code = options.code or fingerprint("lra.cost.training_step", module)
    out = options.out or paths.measurement(task, attention)

    def measured(status: str = "", reason: str = "") -> None:
        from lra.cost.training_step import TASKS, measure, write
        from lra.devices import own_gpu

        resolved = from_mapping(MeasureSettings, settings, "--settings")
        if resolved.task is None:
            named(task, TASKS, "task")
        if status:
            row = write(task, resolved, out, status, reason, code, options.threads, {})
        else:
            with own_gpu():
                row = measure(task, resolved, out, code=code, threads=options.threads)
        print(summary(row))

    exit_code = in_child(measured)
    if exit_code >= 0 or -exit_code in (signal.SIGTERM, signal.SIGINT):
        return abs(exit_code)
    name = signal.Signals(-exit_code).name
    measured("oom" if name == "SIGKILL" else "failed", f"the process was ended by {name}")
    return 0


def attention_module(attention: str, path: str | None) -> str:
    """The module or file of an attention's class: that of its settings' ``module``, or else of the method of this name.

    Raises:
        LraError: there is no such method.
    """
    if path is None and ":" not in attention:
        named(attention, dict.fromkeys((*names(), *ALIASES)), "attention")
    return (path or resolve(attention).path).partition(":")[0]


def in_child(work: Callable[[], None]) -> int:
    """Call in a process of its own; returns its exit code, or minus the signal that ended it."""
    # Forked, not spawned: the parent holds nothing but the command line, and so does the child whose memory is read.
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(guarded(work)), daemon=True)
    child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def summary(row: Mapping[str, Any]) -> str:
    """A measurement in one line."""
    cell = f"{row['task']} {row['attention']}"
    if row["status"] != "ok":
        return f"{cell}: {row['status']}, {row['reason']}"
    times = row["train_ms"]
    return (
        f"{cell}: {row['train_ms_per_example']:.1f} ms an example (steps of {row['batch']}: {times['low']:.1f} to "
        f"{times['high']:.1f} ms), {row['memory_per_example_bytes'] / 2**20:.1f} MiB an example, "
        f"at most {row['largest_batch']} fit"
    )


def run_approximate(options: argparse.Namespace) -> None:
    from lra.cost.approximation_error import approximate
    from lra.devices import own_gpu

    attention = ALIASES.get(options.attention, options.attention)
    settings, data, out = options.settings, options.data, options.out
    if settings is None or data is None or out is None:
        arena, attention = _found(options.config, attention)
        settings = settings or as_mapping(arena.approximate_settings(attention))
        data = data or paths.shards(arena.scale, TEXTS)
        out = out or paths.approximation(arena.scale, attention)
    resolved = from_mapping(ApproximateSettings, settings, "--settings")
    with own_gpu():
        for row in approximate(resolved, data, options.folder, out, threads=options.threads):
            found = row.reason or f"{row.mean:.4f}"
            print(f"{row.attention} {row.weights} n={row.length} d={row.features}: {found}")


def _found(config: Path, attention: str) -> tuple[Arena, str]:
    arena = load(config)
    named(attention, arena.attentions, "attention")
    return arena, attention


def run_plot_bench(options: argparse.Namespace) -> None:
    from lra.results.plots import scaling

    scaling.draw(options.table, options.out)


def run_plot_approximation(options: argparse.Namespace) -> None:
    from lra.results.plots import approximation

    approximation.draw(options.tables, options.out)
