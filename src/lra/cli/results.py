"""The commands that turn finished runs into results: table, figures and report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lra import paths
from lra.cli.console import add_config
from lra.config.arena import Arena, load
from lra.errors import LraError, nearest
from lra.results.captions import CAPTIONS, FIGURES

MORE = ("published", "sweep")
"""Figures that ``lra plots`` draws only if they are named."""


def add_commands(commands: Any) -> None:
    """Add ``choose``, ``collect``, ``tables``, ``plots`` and ``report`` to the parsers of :mod:`lra.cli.main`."""
    choose = commands.add_parser("choose", help="choose a learning rate by the dev accuracy of short runs")
    choose.add_argument("--metrics", type=Path, nargs="+", required=True, help="metrics.json of every short run")
    choose.add_argument("--out", type=Path, required=True, help="file to write, choice.json")
    choose.set_defaults(run=run_choose)

    collect = commands.add_parser("collect", help="gather runs and measurements into one table")
    collect.add_argument("--scale", help="scale of the runs (default: `scale` of config.yaml)")
    collect.add_argument("--out", type=Path, default=paths.TABLE, help=f"table to write (default: {paths.TABLE})")
    collect.set_defaults(run=run_collect)

    tables = commands.add_parser("tables", help="format the table as CSV, Markdown, LaTeX and HTML")
    tables.add_argument("--out", type=Path, default=paths.TABLES, help=f"folder (default: {paths.TABLES})")
    tables.set_defaults(run=run_tables)

    plots = commands.add_parser("plots", help="draw the figures as PNG and SVG")
    plots.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"{', '.join(FIGURES)} (default: these), {', '.join(MORE)}"
    )
    plots.add_argument("--out", type=Path, default=paths.PLOTS, help=f"folder (default: {paths.PLOTS})")
    plots.set_defaults(run=run_plots)

    report = commands.add_parser("report", help="write findings, tables and figures as one HTML page")
    report.add_argument("--figures", type=Path, nargs="*", help="SVG files to show (default: those in results/plots)")
    report.add_argument("--out", type=Path, default=paths.REPORT, help=f"page to write (default: {paths.REPORT})")
    report.set_defaults(run=run_report)

    collect.add_argument(
        "--choices", type=Path, nargs="*", help="choice.json of every tuned cell (default: all; none with --metrics)"
    )
    for command in (collect, plots, report):
        command.add_argument(
            "--measures", type=Path, nargs="*", help="measure.json of every measured cell (default: all)"
        )
    for command in (collect, plots):
        command.add_argument(
            "--reference",
            type=Path,
            default=paths.REFERENCE,
            help=f"reference results, shown beside those of the scale paper (default: {paths.REFERENCE})",
        )
    for command in (tables, plots, report):
        command.add_argument(
            "--table", type=Path, default=paths.TABLE, help=f"table of `lra collect` (default: {paths.TABLE})"
        )
    for command in (collect, plots, report):
        command.add_argument(
            "--metrics", type=Path, nargs="+", help="metrics.json of every run (default: all finished runs)"
        )
        add_config(command, "defines the runs")


def run_choose(options: argparse.Namespace) -> None:
    """Choose the learning rate of a cell, write the choice, and print every try."""
    from lra.results.choosing import choose

    record = choose(options.metrics, options.out)
    for run in record["tries"]:
        result = run["reason"] if run["status"] != "ok" else f"dev accuracy {run['dev_accuracy']:.4f}"
        print(f"learning rate {run['learning_rate']}: {result}, {run['train_seconds'] or 0:.1f} s")
    print(
        f"{record['task']} {record['attention']}: {record['learning_rate']}, the best on dev of {len(record['tries'])}"
    )


def run_collect(options: argparse.Namespace) -> None:
    """Write the table."""
    from lra.results.table import collect

    scale = options.scale or load(*options.config).scale
    collect(
        _metrics(options),
        options.out,
        measures=_measures(options),
        choices=_choices(options),
        scale=scale,
        reference=options.reference,
    )


def run_tables(options: argparse.Namespace) -> None:
    """Write the table in each format."""
    from lra.results.tables import write_tables

    write_tables(options.table, options.out)


def run_plots(options: argparse.Namespace) -> None:
    """Draw the figures."""
    known = (*FIGURES, *MORE)
    for figure in options.figures:
        if figure not in known:
            raise LraError(f"unknown figure {figure!r}.{nearest(figure, known)} Known: {', '.join(known)}.")
    for figure in options.figures or FIGURES:
        prefix = options.out / figure
        match figure:
            case "accuracy_time":
                from lra.results.plots import accuracy_time

                accuracy_time.draw(options.table, prefix)
            case "accuracy_flops" | "accuracy_seconds":
                from lra.results.plots import equal_compute

                equal_compute.draw(
                    _metrics(options), _measures(options), prefix, "flops" if figure == "accuracy_flops" else "seconds"
                )
            case "loss_seconds" | "loss_steps":
                from lra.results.plots import loss

                loss.draw(_metrics(options), prefix, "seconds" if figure == "loss_seconds" else "step")
            case "published":
                from lra.results.plots import published

                table = options.table if options.table.is_file() else None
                published.draw(table, prefix, options.reference)
            case "sweep":
                from lra.results.plots import sweep

                sweep.draw(options.metrics or _swept(load(*options.config)), prefix)


def run_report(options: argparse.Namespace) -> None:
    """Write the report."""
    from lra.results.report import write_report

    figures = options.figures
    if figures is None:
        figures = [path for name in CAPTIONS if (path := paths.plot(name, "svg")).is_file()]
    write_report(options.table, _metrics(options), figures, options.out, _measures(options))


def metrics_files(arena: Arena) -> list[Path]:
    """Path of ``metrics.json`` of every run of the arena; the file may be missing."""
    return [
        paths.run(arena.scale, task, attention, seed) / paths.METRICS
        for task in arena.tasks
        for attention in arena.attentions
        for seed in arena.seeds
    ]


def sweep_files(arena: Arena) -> list[Path]:
    """Path of ``metrics.json`` of every run of the sweep; the file may be missing."""
    return [
        paths.swept_run(arena.scale, cell, seed) / paths.METRICS
        for cell in (arena.sweep.cells() if arena.sweep else [])
        for seed in arena.seeds
    ]


def measure_files(arena: Arena) -> list[Path]:
    """Path of ``measure.json`` of every cell of the arena; the file may be missing."""
    return [paths.measurement(task, attention) for task in arena.tasks for attention in arena.attentions]


def choice_files(arena: Arena) -> list[Path]:
    """Path of ``choice.json`` of every tuned cell of the arena; the file may be missing."""
    cells = [(task, attention) for task in arena.tasks for attention in arena.attentions if arena.tune]
    return [paths.choice(arena.scale, *cell) for cell in cells]


def _metrics(options: argparse.Namespace) -> list[Path]:
    """``--metrics``, or else the finished runs of config.yaml."""
    if options.metrics:
        return list(options.metrics)
    arena = load(*options.config)
    finished = [path for path in metrics_files(arena) if path.is_file()]
    if not finished:
        raise LraError(f"there is no finished run in results/runs/{arena.scale}; train first, or give --metrics.")
    return finished


def _measures(options: argparse.Namespace) -> list[Path]:
    """``--measures``, or else the existing measurements of config.yaml."""
    if options.measures is not None:
        return list(options.measures)
    return [path for path in measure_files(load(*options.config)) if path.is_file()]


def _choices(options: argparse.Namespace) -> list[Path]:
    """``--choices``, or else the existing choices of config.yaml; none if ``--metrics`` gives other runs."""
    if options.choices is not None or options.metrics:
        return list(options.choices or ())
    return [path for path in choice_files(load(*options.config)) if path.is_file()]


def _swept(arena: Arena) -> list[Path]:
    """The finished runs of the sweep."""
    finished = [path for path in sweep_files(arena) if path.is_file()]
    if not finished:
        raise LraError(
            f"there is no finished run in results/sweep/{arena.scale}; run `snakemake --cores all sweep` first."
        )
    return finished
