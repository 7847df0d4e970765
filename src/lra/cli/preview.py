"""The commands to use before a large run: ``lra plan`` and ``lra rehearsal-data``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lra import paths
from lra.cli.console import at_least, lookup
from lra.config.arena import arena, load
from lra.cost.cards import CARDS
from lra.files import write_text


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands to the subparsers; returns those that read config.yaml or resolved settings."""
    plan = commands.add_parser(
        "plan", help="estimate the hours, memory and disk of all runs, and count the finished ones"
    )
    plan.add_argument(
        "--results", type=Path, default=paths.RESULTS, help="folder of runs and measurements (default: results)"
    )
    plan.add_argument("--out", type=Path, default=paths.PLAN, help=f"page to write (default: {paths.PLAN})")
    plan.add_argument(
        "--card", choices=sorted(CARDS), help="plan for this GPU, from rates that were measured on one (default: here)"
    )
    plan.set_defaults(run=run_plan)

    rehearsal = commands.add_parser("rehearsal-data", help="make shards of random tokens of a task's true length")
    rehearsal.add_argument("task", help="its name in config.yaml, such as listops")
    rehearsal.add_argument("--rows", type=at_least(1), default=64, help="training rows (default: 64)")
    rehearsal.add_argument("--out", type=Path, help="folder of the shards (default: data/rehearsal/SCALE/TASK)")
    rehearsal.set_defaults(run=run_rehearsal_data)
    return [plan, rehearsal]


def run_plan(options: argparse.Namespace) -> None:
    """Write the plan and print it."""
    from lra.cost.estimate import machine_memory, markdown, plan
    from lra.devices import own_gpu

    planned = arena(options.settings) if options.settings else load(*options.config)
    if card := CARDS.get(options.card):
        cells = plan(planned, options.results, card.memory, card)
        page = markdown(planned, cells, card.memory, card)
    else:
        with own_gpu():
            memory = machine_memory()
            page = markdown(planned, plan(planned, options.results, memory), memory)
    write_text(options.out, page)
    print(page)


def run_rehearsal_data(options: argparse.Namespace) -> None:
    """Write shards of random rows, enough for a training step and an evaluation."""
    from lra.data.replacing import refuse_other_data
    from lra.data.synthetic import describe, random_shards
    from lra.tasks.contract import Rows

    settings, out = options.settings, options.out
    if settings is None or out is None:
        configured = load(*options.config)
        lookup(options.task, configured.settings["tasks"], "task")
        settings = settings or configured.data(options.task)
        out = out or paths.rehearsal_shards(configured.scale, options.task)
    refuse_other_data(out, options.task, for_random=True)
    random_shards(describe(options.task, settings), Rows(options.rows, 8, 8), out)
