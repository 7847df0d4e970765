"""The commands that measure: ``lra bench``, ``lra measure``, ``lra approximate``, and the plots of what they find."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from lra import paths
from lra.attention.registry import ALIASES, names, resolve
from lra.cli.console import as_json, at_least, guarded, named
from lra.config.arena import TEXTS, Arena, load
from lra.config.mapping import as_mapping, from_mapping
from lra.config.settings import ApproximateSettings, AttentionSettings, MeasureSettings
from lra.files import checksum
from lra.fingerprint import fingerprint

EXACT = "softmax"
"""The attention whose run gives the trained weights."""
YARDSTICK = "softmax_nodropout"
"""The attention whose times all are compared with."""
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
    bench.add_argument("--codes", type=as_json(list), help=argparse.SUPPRESS)
    bench.add_argument(
        "--stale",
        action="store_true",
        help="keep the rows of attentions that the same code has timed with the same settings",
    )
    bench.add_argument("--out", type=Path, default=paths.TRIED_BENCH, help=f"default: {paths.TRIED_BENCH}")
    bench.set_defaults(run=run_bench)

    measure = commands.add_parser("measure", help="time, memory and FLOPs of training at the tasks' true lengths")
    measure.add_argument("--attention", "--attn", required=True, help="its name in config.yaml")
    measure.add_argument(
        "--tasks",
        "--task",
        nargs="+",
        metavar="TASK",
        help="their names, with or without the paper's `lra-` (default: those of config.yaml)",
    )
    measure.add_argument(
        "--results",
        type=Path,
        default=paths.RESULTS,
        help=f"folder in which measures/TASK/ATTENTION/measure.json are written (default: {paths.RESULTS})",
    )
    measure.add_argument("--check", action="store_true", help="also try the largest batch that should fit")
    measure.add_argument(
        "--stale", action="store_true", help="leave out tasks that the same code has measured with the same settings"
    )
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
    """Time the attentions in one process, which loads torch once; each is written as soon as it is timed."""
    from lra.cost.attention_core import benchmark, read_rows, report, write_rows

    given = options.settings
    if given is None:
        given = attentions_to_bench(options.config, options.attentions, options.features)
    attentions = [from_mapping(AttentionSettings, one, "--settings") for one in given]
    codes = options.codes or [bench_fingerprint(one) for one in attentions]
    keys = {
        one.name: checksum(
            {"attention": as_mapping(one), "lengths": options.lengths, "repeats": options.repeats, "code": code}
        )
        for one, code in zip(attentions, codes, strict=True)
    }
    kept = options.out.with_suffix(".kept.csv")  # Snakemake deletes its output before it times again
    earlier = read_rows(kept) | read_rows(options.out) if options.stale else {}
    table: dict[str, Sequence[Sequence[object]]] = {name: earlier[key] for name, key in keys.items() if key in earlier}
    for name in table:
        print(f"{name}: timed already, {options.out}")

    def write() -> None:
        for path in (kept, options.out) if options.stale else (options.out,):
            write_rows((row for name in keys for row in table.get(name, ())), path)

    stale = [one for one in attentions if one.name not in table]
    timed = benchmark(stale, options.lengths, repeats=options.repeats, threads=options.threads)
    for name, group in itertools.groupby(timed, key=attrgetter("attention")):
        rows = []
        for row in group:
            report(row)
            rows.append(astuple(replace(row, key=keys[name])))
        table[name] = rows
        write()
    write()


def bench_fingerprint(attention: AttentionSettings) -> str:
    """Fingerprint of the code that decides how long an attention's core takes."""
    return fingerprint("lra.cost.attention_core", attention_module(attention.name, attention.module))


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
        settings = as_mapping(arena.measured_attention(name)) if arena and name in configured else {"name": name}
        found.append(settings | ({"features": features} if features else {}))
    return found


def run_measure(options: argparse.Namespace) -> int:
    """Measure each task in a process of its own: one that the system kills for its memory is a result too."""
    # Before the first process: all inherit what is imported here, which takes longer than measuring one task. An
    # optimiser imports torch._dynamo when it is made.
    import torch._dynamo  # noqa: F401

    from lra.cost.training_step import measure, restore, write
    from lra.devices import own_gpu

    attention = ALIASES.get(options.attention, options.attention)
    given = options.settings
    if given is None:
        arena, attention = _found(options.config, attention)
        tasks = [task.removeprefix("lra-") for task in options.tasks or arena.tasks]
        settings = {task: arena.measure_settings(attention, task) for task in tasks}
    else:
        settings = {task: from_mapping(MeasureSettings, one, f"--settings: {task}") for task, one in given.items()}
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
            # Not here: what has used a GPU can have no children that do.
            in_child(lambda ended=ended: print(summary(ended())))  # type: ignore[misc]
    return 0


def measure_fingerprint(attention: str, path: str | None) -> str:
    """Fingerprint of the code that decides a measurement: exact attention is measured beside every method."""
    exact = resolve(YARDSTICK).path.partition(":")[0]
    return fingerprint("lra.cost.training_step", attention_module(attention, path), exact)


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
    # Forked, not spawned: the parent holds nothing but modules, and so does the child whose memory is read.
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
    interval = f"{row['ratio_low']:.3g} to {row['ratio_high']:.3g}"
    return (
        f"{cell}: {row['train_ms_per_example']:.1f} ms an example in steps of {row['batch']} ({row['precision']}), "
        f"{row['ratio']:.3g} of exact attention ({interval}), {row['memory_per_example_bytes'] / 2**20:.1f} MiB an "
        f"example, at most {row['largest_batch']} fit"
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
