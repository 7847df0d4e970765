"""``lra evaluate``: a finished run's best weights, scored once more."""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lra.tasks.contract import Split


def run_evaluate(options: argparse.Namespace) -> int:
    """The command, of its parsed options."""
    return evaluate_run(options.folder, options.data, options.split, options.draws, options.trust)


def evaluate_run(folder: Path, data: Path | None, split: Split, draws: int, trust: bool) -> int:
    """Score a run's best weights on a split and print it; with ``draws``, also how much its random numbers matter."""
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
