"""What the numbers of several runs allow one to say.

A run's accuracy varies for two reasons: another seed trains another model, and another draw of test examples scores it
differently. A claim that one attention beats another must survive both. A test over examples alone calls methods
different that are not, the more often the more seeds vary; a test over seeds alone does so where seeds vary little.
:func:`compare` accounts for both (``tests/results/test_statistics.py`` simulates all three).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

ALPHA = 0.05
ENOUGH_SEEDS = 3
"""Fewer runs an attention say too little of how it varies from seed to seed."""

Correct = npt.NDArray[np.bool_]
Noise = Literal["examples", "seeds and examples"]
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (n - 1), and the 95 % t-interval of the mean; None where one value is too few."""

    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


def summarise(values: Sequence[float]) -> Summary:
    """Describe the values of one cell's seeds."""
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return Summary(mean)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - ALPHA / 2, count - 1)) * std / math.sqrt(count)
    return Summary(mean, std, mean - half, mean + half)


@dataclass(frozen=True)
class Comparison:
    """Difference of two mean accuracies, its two-sided p-value, and the noise that the p-value accounts for."""

    difference: float
    p: float
    noise: Noise


def compare(correct: Correct, baseline: Correct) -> Comparison:
    """Compare two methods on the same test examples.

    With at least two seeds each, seeds and examples are two crossed random factors, as readers and cases are in
    multi-reader studies (Hillis, "A comparison of denominator degrees of freedom methods for multiple observer ROC
    analysis", 2007). The variance of the difference is that over seeds, plus that over examples of the seed-averaged
    difference, minus the seed-by-example remainder that both contain; the t-test's degrees of freedom are
    Satterthwaite's. Of a single seed it is unknown how seeds vary, so that the p-value is one over examples, and with a
    single seed on both sides that of the exact McNemar test.

    Args:
        correct: whether each run answered each example correctly, (seeds, examples).
        baseline: the same of the other method, (its seeds, examples).
    """
    difference = float(correct.mean() - baseline.mean())
    if len(correct) == len(baseline) == 1:
        return Comparison(difference, mcnemar(correct[0], baseline[0]), "examples")
    noise: Noise = "examples" if min(len(correct), len(baseline)) == 1 else "seeds and examples"
    return Comparison(difference, _crossed_test(correct, baseline), noise)


def mcnemar(correct: Correct, baseline: Correct) -> float:
    """Exact two-sided McNemar test of two runs, (examples,) each: are their disagreements a fair coin?"""
    won, lost = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def _crossed_test(correct: Correct, baseline: Correct) -> float:
    examples = correct.shape[1]
    if examples < 2:
        return 1.0  # from one example, nothing is known of how examples vary
    several = [runs for runs in (correct, baseline) if len(runs) > 1]
    of_seeds = [runs.mean(axis=1).var(ddof=1) / len(runs) for runs in several]
    over_examples = (correct.mean(axis=0) - baseline.mean(axis=0)).var(ddof=1) / examples
    remainder = sum(_remainder(runs) / len(runs) for runs in several) / examples
    variance = max(sum(of_seeds) + max(over_examples - remainder, 0.0), over_examples)
    difference = abs(float(correct.mean() - baseline.mean()))
    if variance == 0:
        return float(difference == 0)
    spread = sum(part**2 / (len(runs) - 1) for part, runs in zip(of_seeds, several, strict=True))
    freedom = variance**2 / (spread + over_examples**2 / (examples - 1))
    return float(2 * stats.t.sf(difference / math.sqrt(variance), freedom))


def _remainder(runs: Correct) -> float:
    """Variance of single answers beyond what their seed and their example explain: the mean square of the residuals."""
    within_examples = runs.var(axis=0, ddof=1).mean() - runs.mean(axis=1).var(ddof=1)
    return float(within_examples) * runs.shape[1] / (runs.shape[1] - 1)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below 0.05 at a family-wise error of at most 5 %, whatever depends on what."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def verdict(difference: float, p: float) -> Verdict:
    """What an (adjusted) p-value says of a difference."""
    if p >= ALPHA:
        return "undecided"
    return "better" if difference > 0 else "worse"
