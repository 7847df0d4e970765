"""Intervals and tests for accuracies of several runs.

A run's accuracy varies for two reasons: another seed trains another model, and another draw of test examples scores it
differently. A claim that one attention beats another must hold under both. A test over examples alone makes more false
claims the more the seeds vary. A test over seeds alone makes them if the seeds vary little. :func:`compare` accounts
for both.

Three seeds give a poor estimate of one method's variance. :func:`pool` therefore uses one variance for all methods of a
task, if Bartlett's test finds their variances comparable. If not, for example because only some runs learn the task,
each method keeps its own variance, raised to the pooled one if it is smaller: three runs that happen to agree do not
show that a method is stable. ``tests/results/test_power.py`` simulates the rate of false claims and the power.
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
"""An attention with fewer runs gets no verdict."""
COMPARABLE = 0.2
"""Smallest p-value of Bartlett's test of equal variances at which seed variances count as comparable."""

Correct = npt.NDArray[np.bool_]
"""Whether each run answered each test example correctly, (seeds, examples)."""
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
    """Difference of two mean accuracies, its two-sided p-value, and the noise that interval and p-value account for."""

    p: float
    noise: Noise


@dataclass(frozen=True)
class SeedVariance:
    """Seed variance of the accuracy, pooled over methods, with its degrees of freedom."""

    value: float
    freedom: int
    comparable: bool
    """Whether the methods' variances are comparable, so that the pooled one holds for each."""

    def for_method(self, runs: Correct) -> tuple[float, int]:
        """Seed variance to use for a method with these runs, (seeds, examples), and its degrees of freedom."""
        own, freedom = _own_variance(runs) if len(runs) > 1 else (0.0, 0)
        return (self.value, self.freedom) if self.comparable or own <= self.value else (own, freedom)


def pool(answers: Iterable[Correct]) -> SeedVariance | None:
    """Pool the seed variance over the methods of a task; None if no method has runs that differ.

    Bartlett's test decides whether the variances are comparable. With three runs per method it holds its level and
    detects a mixture of runs that learn and runs that do not. Levene's test rejects four times as often as it should,
    the Brown-Forsythe test never. A method whose runs all have the same accuracy, such as one that always predicts the
    same class, is left out, because it tells nothing about the other methods.

    Args:
        answers: for each method, whether each run answered each example correctly, (seeds, examples).
    """
    accuracies = [values for runs in answers if len(values := runs.mean(axis=1)) > 1 and np.ptp(values) > 0]
    if not accuracies:
        return None
    freedom = sum(len(values) - 1 for values in accuracies)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in accuracies)
    comparable = len(accuracies) > 1 and stats.bartlett(*accuracies).pvalue >= COMPARABLE
    return SeedVariance(squares / freedom, freedom, bool(comparable))


def mean_accuracy(correct: Correct, pooled: SeedVariance | None = None) -> Interval:
    """Mean accuracy of a method's runs, and its 95 % interval over seeds and examples, clipped to [0, 1].

    A single run without ``pooled`` gets Wilson's binomial interval.

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
    difference is the variance over seeds, plus the variance of the seed-averaged difference over examples, minus the
    seed-by-example residual that both contain. The t-test has Satterthwaite's degrees of freedom. If one method has a
    single run and ``pooled`` is None, the seed variance is unknown, and only the variance over examples counts.

    Args:
        correct: whether each run answered each example correctly, (seeds, examples).
        baseline: the same for the other method, (its seeds, examples).
        pooled: the seed variance of the task's methods.
    """
    runs = [correct, baseline]
    return _compare(correct.mean(axis=0) - baseline.mean(axis=0), runs, pooled)


def compare_with_constant(correct: Correct, constant: Correct, pooled: SeedVariance | None = None) -> Comparison:
    """Compare a method with fixed answers, such as the majority class.

    Args:
        correct: whether each run answered each example correctly, (seeds, examples).
        constant: whether each fixed answer is correct, (examples,).
        pooled: the seed variance of the task's methods.
    """
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
    """Variance, over seeds and examples, of the mean of ``scores`` (examples,), which are averages over ``runs``."""
    examples = len(scores)
    if examples < 2:
        return _Spread(math.inf, 1)  # one example gives no variance over examples
    several = [answers for answers in runs if len(answers) > 1]
    if pooled:
        seed_variances = [(answers, pooled.for_method(answers)) for answers in runs]
    else:
        seed_variances = [(answers, _own_variance(answers)) for answers in several]
    parts = [(variance / len(answers), freedom) for answers, (variance, freedom) in seed_variances]
    of_seeds = sum(part for part, _ in parts)
    if pooled and pooled.comparable:
        squares = of_seeds**2 / pooled.freedom  # every part has the same estimate
    else:
        squares = sum(part**2 / freedom for part, freedom in parts)
    of_examples = scores.var(ddof=1) / examples
    residual = sum(_residual_variance(answers) / len(answers) for answers in several) / examples
    variance = float(max(of_seeds + max(of_examples - residual, 0.0), of_examples))
    if variance == 0:
        return _Spread(0.0, 1)
    return _Spread(variance, float(variance**2 / (squares + of_examples**2 / (examples - 1))))


def _own_variance(runs: Correct) -> tuple[float, int]:
    """Seed variance of a method's own runs, (seeds, examples), and its degrees of freedom."""
    return float(runs.mean(axis=1).var(ddof=1)), len(runs) - 1


def _residual_variance(runs: Correct) -> float:
    """Variance of single answers that neither seed nor example explains: the mean square of the residuals."""
    within_examples = runs.var(axis=0, ddof=1).mean() - runs.mean(axis=1).var(ddof=1)
    return float(within_examples) * runs.shape[1] / (runs.shape[1] - 1)


def among_best(answers: Mapping[str, Correct], pooled: SeedVariance | None = None) -> set[str]:
    """The methods that are not distinguishable from the one with the highest mean.

    The level is Bonferroni-corrected for the number of other methods. The truly best method is therefore missing from
    at most 5 % of such sets, whichever method has the highest mean.
    """
    best = max(answers, key=lambda name: answers[name].mean())
    others = len(answers) - 1
    return {
        name
        for name, correct in answers.items()
        if name == best or compare(correct, answers[best], pooled).p * others >= ALPHA
    }


def holm(p: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's method, which controls the family-wise error rate under any dependence."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in adjusted]


def verdict(difference: float, p: float) -> Verdict:
    """The verdict on a difference by its (adjusted) p-value."""
    if p >= ALPHA:
        return "undecided"
    return "better" if difference > 0 else "worse"
