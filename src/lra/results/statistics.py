"""What the numbers of several runs allow one to say.

A run's accuracy varies for two reasons: another seed trains another model, and another draw of test examples scores it
differently. A claim that one attention beats another must survive both. A test over examples alone calls methods
different that are not, the more often the more seeds vary; a test over seeds alone does so where seeds vary little.
:func:`compare` accounts for both.

Three seeds say little about how one method varies, but the methods of a task together say more: :func:`pool` takes one
variance for all of them where their variances are comparable. Where they are not, as where some runs learn a task and
others do not, each method keeps its own variance, but none less than the pooled one: three runs that happen to agree
do not show that a method is stable. ``tests/results/test_power.py`` simulates what that does to false claims and to
power.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

ALPHA = 0.05
ENOUGH_SEEDS = 3
"""With fewer runs of an attention nothing is called better or worse."""
COMPARABLE = 0.2
"""Seed variances are comparable where Bartlett's test of equal variances gives at least this p-value."""

Correct = npt.NDArray[np.bool_]
Noise = Literal["examples", "seeds and examples", "pooled seeds and examples"]
Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison(Interval):
    """Difference of two mean accuracies, its two-sided p-value, and the noise that p-value and interval account for."""

    p: float
    noise: Noise


@dataclass(frozen=True)
class SeedVariance:
    """Variance of the accuracy from seed to seed pooled over methods, its degrees of freedom, whether it fits all."""

    value: float
    freedom: int
    comparable: bool

    def of(self, runs: Correct) -> tuple[float, int]:
        """Variance from seed to seed of a method's runs, (seeds, examples), and its degrees of freedom."""
        own, freedom = _own(runs) if len(runs) > 1 else (0.0, 0)
        return (self.value, self.freedom) if self.comparable or own <= self.value else (own, freedom)


def pool(answers: Iterable[Correct]) -> SeedVariance | None:
    """Pool the seed variance over the methods of a task; None where no method says how seeds vary.

    Whether the variances are comparable is tested by Bartlett's test: with three runs a method it holds its level and
    recognises a mixture of runs that learn and runs that do not, while Levene's rejects four times as often as it
    should and Brown and Forsythe's never does. A method whose runs all score the same, as one that always answers the
    same class, says nothing about the others and is left out.

    Args:
        answers: of each method whether each run answered each example correctly, (seeds, examples).
    """
    accuracies = [values for runs in answers if len(values := runs.mean(axis=1)) > 1 and np.ptp(values) > 0]
    if not accuracies:
        return None
    freedom = sum(len(values) - 1 for values in accuracies)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in accuracies)
    comparable = len(accuracies) > 1 and stats.bartlett(*accuracies).pvalue >= COMPARABLE
    return SeedVariance(squares / freedom, freedom, bool(comparable))


def mean_accuracy(correct: Correct, pooled: SeedVariance | None = None) -> Interval:
    """Mean accuracy of a method's runs, and its 95 % interval over seeds and examples, cut to 0 ... 1.

    A single run has Wilson's binomial interval, unless ``pooled`` says how seeds vary.

    Args:
        correct: whether each run answered each example correctly, (seeds, examples).
        pooled: the seed variance of the task's methods.
    """
    mean = float(correct.mean())
    if len(correct) == 1 and pooled is None:
        wilson = stats.binomtest(int(correct.sum()), correct.size).proportion_ci(1 - ALPHA, method="wilson")
        return Interval(mean, float(wilson.low), float(wilson.high))
    half = _spread(correct.mean(axis=0), [correct], pooled).half_width()
    return Interval(mean, max(mean - half, 0.0), min(mean + half, 1.0))


def compare(correct: Correct, baseline: Correct, pooled: SeedVariance | None = None) -> Comparison:
    """Compare two methods on the same test examples.

    Seeds and examples are two crossed random factors, as readers and cases are in multi-reader studies (Hillis, "A
    comparison of denominator degrees of freedom methods for multiple observer ROC analysis", 2007). The variance of the
    difference is that over seeds, plus that over examples of the seed-averaged difference, minus the seed-by-example
    remainder that both contain; the t-test's degrees of freedom are Satterthwaite's. Where a side has a single run and
    nothing is pooled, the variance from seed to seed is unknown, and only examples count.

    Args:
        correct: whether each run answered each example correctly, (seeds, examples).
        baseline: the same of the other method, (its seeds, examples).
        pooled: the seed variance of the task's methods.
    """
    runs = [correct, baseline]
    return _compare(correct.mean(axis=0) - baseline.mean(axis=0), runs, pooled)


def compare_with_constant(correct: Correct, constant: Correct, pooled: SeedVariance | None = None) -> Comparison:
    """Compare a method with answers that no seed changes, ``constant`` (examples,), such as the majority class."""
    return _compare(correct.mean(axis=0) - constant, [correct], pooled)


def _compare(difference: npt.NDArray[np.float64], runs: Sequence[Correct], pooled: SeedVariance | None) -> Comparison:
    spread = _spread(difference, runs, pooled)
    mean, half = float(difference.mean()), spread.half_width()
    noise: Noise = "seeds and examples" if pooled or min(map(len, runs)) > 1 else "examples"
    if pooled and pooled.comparable:
        noise = "pooled seeds and examples"
    return Comparison(mean, max(mean - half, -1.0), min(mean + half, 1.0), spread.p(mean), noise)


@dataclass(frozen=True)
class _Spread:
    """Variance of a mean, and the degrees of freedom of its t-distribution."""

    variance: float
    freedom: float

    def half_width(self) -> float:
        return float(stats.t.ppf(1 - ALPHA / 2, self.freedom)) * math.sqrt(self.variance)

    def p(self, mean: float) -> float:
        if self.variance == 0:
            return float(mean == 0)
        return float(2 * stats.t.sf(abs(mean) / math.sqrt(self.variance), self.freedom))


def _spread(scores: npt.NDArray[np.float64], runs: Sequence[Correct], pooled: SeedVariance | None) -> _Spread:
    """How much the mean of ``scores`` (examples,), averages over ``runs``, varies with seeds and examples."""
    examples = len(scores)
    if examples < 2:
        return _Spread(math.inf, 1)  # from one example, nothing is known of how examples vary
    several = [answers for answers in runs if len(answers) > 1]
    known = [(answers, pooled.of(answers)) for answers in runs] if pooled else [(a, _own(a)) for a in several]
    parts = [(variance / len(answers), freedom) for answers, (variance, freedom) in known]
    of_seeds = sum(part for part, _ in parts)
    if pooled and pooled.comparable:
        squares = of_seeds**2 / pooled.freedom  # one and the same estimate in every part
    else:
        squares = sum(part**2 / freedom for part, freedom in parts)
    of_examples = scores.var(ddof=1) / examples
    remainder = sum(_remainder(answers) / len(answers) for answers in several) / examples
    variance = float(max(of_seeds + max(of_examples - remainder, 0.0), of_examples))
    if variance == 0:
        return _Spread(0.0, 1)
    return _Spread(variance, float(variance**2 / (squares + of_examples**2 / (examples - 1))))


def _own(runs: Correct) -> tuple[float, int]:
    """Variance from seed to seed of a method's runs, (seeds, examples), and its degrees of freedom."""
    return float(runs.mean(axis=1).var(ddof=1)), len(runs) - 1


def _remainder(runs: Correct) -> float:
    """Variance of single answers beyond what their seed and their example explain: the mean square of the residuals."""
    within_examples = runs.var(axis=0, ddof=1).mean() - runs.mean(axis=1).var(ddof=1)
    return float(within_examples) * runs.shape[1] / (runs.shape[1] - 1)


def among_best(answers: Mapping[str, Correct], pooled: SeedVariance | None = None) -> set[str]:
    """The methods that cannot be told from the one with the highest mean.

    The level is Bonferroni's over all others, so that the truly best method is left out of at most 5 % of such sets:
    whichever has the highest mean, it is one of as many others.
    """
    best = max(answers, key=lambda name: answers[name].mean())
    others = len(answers) - 1
    return {
        name
        for name, correct in answers.items()
        if name == best or compare(correct, answers[best], pooled).p * others >= ALPHA
    }


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
