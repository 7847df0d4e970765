"""What pooling the seed variance does to false claims and to power, by simulation of whole tasks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lra.results.statistics import compare, holm, pool

pytestmark = [pytest.mark.slow, pytest.mark.long]

METHODS, SEEDS, EXAMPLES = 16, 3, 2000


def task(rng, deviations, shift=0.0, taste=0.2):
    """Answers of all methods, (seeds, examples) each; the second is better by ``shift``, in accuracy as deviations."""
    difficulty = rng.normal(0, 1.2, EXAMPLES)
    own = np.hypot(taste, 0.4)
    slope = stats.norm.pdf(0, scale=np.hypot(1.2, own))  # change of the accuracy around 50 %
    answers = []
    for i, deviation in enumerate(deviations):
        seed = rng.normal(0, deviation / slope, (SEEDS, 1)) + (shift / slope if i == 1 else 0)
        answers.append(difficulty + rng.normal(0, taste, EXAMPLES) + seed + rng.normal(0, 0.4, (SEEDS, EXAMPLES)) > 0)
    return answers


def bimodal(rng):
    """A task that a run learns, or not, with even chances, whatever its method."""
    ease = rng.random(EXAMPLES)
    return [
        ease + rng.normal(0, 0.05, (SEEDS, EXAMPLES)) < rng.choice([0.5, 0.97], (SEEDS, 1)) + rng.normal(0, 0.01)
        for _ in range(METHODS)
    ]


def claims(make, trials):
    """Shares of tasks with a false claim, and with the true one, with pooled and with each method's own variance."""
    counts = np.zeros((2, 2))
    for trial in range(trials):
        answers = make(np.random.default_rng(trial))
        for i, pooled in enumerate((pool(answers), None)):
            adjusted = holm([compare(correct, answers[0], pooled).p for correct in answers[1:]])
            counts[i] += min(adjusted[1:]) < 0.05, adjusted[0] < 0.05
    return counts / trials


def test_three_points_are_found_far_more_often_and_false_claims_stay_rare():
    """Seeds that vary by one point: without pooling three runs a method hardly ever show a difference of three."""
    (false, found), (_, without) = claims(lambda rng: task(rng, [0.01] * METHODS, 0.03, taste=0.1), 200)
    assert false <= 0.08  # 0.05 and two standard errors
    assert found > 0.4 and found > without + 0.2


@pytest.mark.parametrize("deviation", [0.002, 0.01, 0.04])
def test_equal_methods_are_rarely_called_different(deviation):
    false, true = claims(lambda rng: task(rng, [deviation] * METHODS), 150)[0]
    assert max(false, true) <= 0.09


def test_a_baseline_that_varies_three_times_as_much_misleads_seldom():
    """Three seeds cannot always show that variances differ, so that false claims are more than one in twenty."""
    false = claims(lambda rng: task(rng, [0.03, *[0.01] * (METHODS - 1)]), 150)[0, 0]
    assert false <= 0.2


def test_on_a_task_that_only_some_runs_learn_nothing_is_claimed():
    """Three runs that happen to agree would, with their own variance, be told from three others by mistake."""
    (false, _), (without, _) = claims(bimodal, 100)
    assert false <= 0.05 < without
