"""``lra evaluate``: a finished run's best weights, scored once more."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra.cli.console import at_least

if TYPE_CHECKING:
    from lra.tasks.contract import Split

TRUST = "also score a run whose attention is not in the registry; this runs the file that the run names"
"""Help of the option ``--trust``."""


def add_command(commands: Any) -> None:
    """Add ``evaluate`` to the parsers of :mod:`lra.cli.main`."""
    evaluate = commands.add_parser("evaluate", help="score a trained run's best weights once more")
    evaluate.add_argument("folder", type=Path, help="folder of the run")
    evaluate.add_argument("--data", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    evaluate.add_argument("--split", choices=("dev", "test"), default="test", help="dev or test (default: test)")
    evaluate.add_argument(
        "--draws", type=at_least(0), default=0, metavar="N", help="score N other sets of random numbers as well"
    )
    evaluate.add_argument("--trust", action="store_true", help=TRUST)
    evaluate.set_defaults(run=run_evaluate)


def run_evaluate(options: argparse.Namespace) -> int:
    """Score the run that the options name."""
    return evaluate_run(options.folder, options.data, options.split, options.draws, options.trust)


def evaluate_run(folder: Path, data: Path | None, split: Split, draws: int, trust: bool) -> int:
    """Score a run's best weights on a split, and print the accuracy.

    With ``draws``, also print how far it varies over so many other sets of random numbers. Returns the exit code.
    """
    from lra.training.run import score_run

    metrics, [own, *others] = score_run(folder, data, split, draws=draws, trust=trust)
    cell = f"{metrics['task']} {metrics['attention']} seed {metrics['seed']}"
    print(f"{cell}: {split} accuracy {own.accuracy:.4f}")
    if others:
        accuracies = [score.accuracy for score in others]
        deviation = f", standard deviation {statistics.stdev(accuracies):.4f}" if len(accuracies) > 1 else ""
        print(
            f"with {draws} other sets of random numbers: mean {statistics.mean(accuracies):.4f}{deviation}, "
            f"from {min(accuracies):.4f} to {max(accuracies):.4f}"
        )
    elif draws:
        print(f"{metrics['attention']} draws no random numbers in evaluation: every draw gives this accuracy")
    return 0
