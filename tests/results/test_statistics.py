import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from lra.results.statistics import (
    SeedVariance,
    among_best,
    compare,
    compare_with_constant,
    holm,
    mean_accuracy,
    pool,
    verdict,
)


def runs(rng, seeds, examples, seed_noise=0.0, shift=0.0, difficulty=None):
    """Correctness of `seeds` runs, (seeds, examples), from a logistic-like model with crossed seeds and examples."""
    difficulty = rng.normal(0.5, 1.5, examples) if difficulty is None else difficulty
    taste = rng.normal(0, 0.7, examples)  # what this method finds easier or harder than others do
    seed = rng.normal(0, seed_noise, (seeds, 1))
    return difficulty + taste + seed + shift + rng.normal(0, 0.7, (seeds, examples)) > 0


def share(accuracy, examples=400):
    """Answers of which a share is right, (examples,)."""
    return np.arange(examples) < round(accuracy * examples)


def scored(*accuracies, examples=400):
    """Runs of these accuracies, (seeds, examples), whose errors have nothing in common."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(share(accuracy, examples)) for accuracy in accuracies])


def test_one_run_has_the_binomial_interval_of_wilson():
    """Without it a single seed would be shown as a number without any uncertainty."""
    interval = mean_accuracy(scored(0.7))
    low, high = proportion_confint(280, 400, method="wilson")
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.7, low, high))


def test_the_interval_of_several_runs_covers_seeds_and_examples():
    """An interval over seeds alone is far too narrow where they agree, and one over examples where they do not."""
    agreeing = mean_accuracy(np.stack([share(0.7)] * 3))
    low, high = stats.t.interval(0.95, 399, 0.7, share(0.7).std(ddof=1) / 20)
    assert (agreeing.low, agreeing.high) == pytest.approx((low, high))
    apart = mean_accuracy(scored(0.5, 0.7, 0.9, examples=100_000))
    low, high = stats.t.interval(0.95, 2, 0.7, stats.sem([0.5, 0.7, 0.9]))
    assert (apart.low, apart.high) == pytest.approx((max(low, 0), min(high, 1)), abs=0.01)


def test_an_interval_ends_where_accuracies_do():
    interval = mean_accuracy(scored(0.1, 0.9))
    assert (interval.low, interval.high) == (0, 1)


def test_one_run_on_both_sides_varies_with_examples_alone_and_says_so():
    rng = np.random.default_rng(0)
    a, b = runs(rng, 1, 300), runs(rng, 1, 300)
    found = compare(a, b)
    paired = stats.ttest_rel(a[0].astype(float), b[0].astype(float))
    assert found.noise == "examples"
    assert (found.p, found.mean) == pytest.approx((paired.pvalue, a.mean() - b.mean()))
    interval = paired.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_several_seeds_against_one_is_a_test_over_examples():
    rng = np.random.default_rng(0)
    a, b = runs(rng, 1, 300), runs(rng, 1, 300)
    comparison = compare(np.repeat(a, 3, axis=0), b)
    assert comparison.noise == "examples"
    assert comparison.p == pytest.approx(stats.ttest_rel(a[0].astype(float), b[0].astype(float)).pvalue)


def test_an_interval_excludes_zero_exactly_where_p_is_below_a_twentieth():
    rng = np.random.default_rng(5)
    found = [compare(runs(rng, 3, 200, 0.2), runs(rng, 3, 200, 0.2)) for _ in range(60)]
    assert {(c.p < 0.05) for c in found} == {True, False}
    assert all((c.p < 0.05) == (c.low > 0 or c.high < 0) for c in found)


def test_comparable_variances_are_pooled():
    answers = [scored(0.60, 0.61, 0.62), scored(0.50, 0.52, 0.54), scored(0.55, 0.57, 0.56)]
    pooled = pool(answers)
    assert pooled.comparable
    assert (pooled.value, pooled.freedom) == pytest.approx((np.mean([1e-4, 4e-4, 1e-4]), 6))
    found = compare(*answers[:2], pooled)
    assert found.noise == "pooled seeds and examples"
    assert found.p != pytest.approx(compare(*answers[:2]).p)


def test_without_noise_of_examples_a_pooled_test_is_students_with_the_pooled_variance():
    answers = [scored(*a, examples=200_000) for a in ((0.60, 0.61, 0.62), (0.50, 0.52, 0.54), (0.55, 0.57, 0.56))]
    pooled = pool(answers)
    expected = 2 * stats.t.sf(0.09 / (2e-4 * 2 / 3) ** 0.5, 6)
    assert compare(answers[0], answers[1], pooled).p == pytest.approx(expected, rel=0.2)


def test_a_task_that_some_runs_learn_and_others_do_not_has_no_common_variance():
    """One variance for all would call the few stable methods unstable and the unstable ones stable."""
    bimodal = [scored(0.5, 0.97, 0.5), scored(0.97, 0.5, 0.96)]
    steady = [scored(0.60, 0.61, 0.62), scored(0.58, 0.59, 0.58)]
    pooled = pool(bimodal + steady)
    assert not pooled.comparable
    own = bimodal[0].mean(axis=1).var(ddof=1)
    assert pooled.for_method(bimodal[0]) == pytest.approx((own, 2))
    assert pooled.for_method(steady[0]) == pytest.approx((pooled.value, pooled.freedom))
    found = compare(steady[0], steady[1], pooled)
    assert found.noise == "seeds and examples"
    assert found.p > compare(steady[0], steady[1]).p
    assert compare(bimodal[0], steady[0], pooled).p > 0.05


def test_methods_without_any_spread_are_left_out_of_the_pool():
    """One that always answers the same class would make every task's variances incomparable."""
    constant = np.stack([share(0.5)] * 3)
    pooled = pool([constant, scored(0.60, 0.61, 0.62), scored(0.50, 0.51, 0.52)])
    assert (pooled.freedom, pooled.comparable) == (4, True)
    assert pool([constant, scored(0.6)]) is None
    assert pool([constant, scored(0.5, 0.6)]).comparable is False


def test_with_a_pooled_variance_a_single_run_has_one_too():
    pooled = SeedVariance(0.01, 20, True)
    assert mean_accuracy(scored(0.7), pooled).high > mean_accuracy(scored(0.7)).high + 0.1


def test_what_no_seed_changes_is_compared_as_it_is():
    majority = share(0.5)
    found = compare_with_constant(scored(0.6, 0.62, 0.64), majority)
    assert found.mean == pytest.approx(0.12)
    assert compare_with_constant(np.stack([majority] * 3), majority).p == 1


def test_the_best_is_every_method_that_cannot_be_told_from_it():
    answers = {"a": scored(0.80, 0.81, 0.82), "b": scored(0.79, 0.81, 0.80), "c": scored(0.3, 0.31, 0.32)}
    assert among_best(answers, pool(answers.values())) == {"a", "b"}
    assert among_best({"a": answers["a"]}) == {"a"}


def test_without_noise_of_seeds_it_is_the_paired_t_test_over_examples():
    rng = np.random.default_rng(1)
    a, b = rng.random(500) < 0.7, rng.random(500) < 0.6
    comparison = compare(np.stack([a] * 3), np.stack([b] * 3))
    assert comparison.noise == "seeds and examples"
    assert comparison.p == pytest.approx(stats.ttest_rel(a.astype(float), b.astype(float)).pvalue)


def test_without_noise_of_examples_it_is_welchs_t_test_over_seeds():
    examples = 1_000_000  # so many that their sampling adds next to nothing
    position = np.arange(examples) / examples

    def answers(*accuracies):
        return np.stack([(position + 0.37 * i) % 1 < accuracy for i, accuracy in enumerate(accuracies)])

    first, second = (0.70, 0.73, 0.75), (0.65, 0.66, 0.68, 0.61)
    expected = stats.ttest_ind(first, second, equal_var=False).pvalue
    assert compare(answers(*first), answers(*second)).p == pytest.approx(expected, rel=0.02)


def test_identical_methods_do_not_differ():
    a = np.stack([np.arange(10) % 2 == 0] * 3)
    assert compare(a, a).p == 1.0
    assert compare(a, a).mean == 0.0


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_a_single_example_decides_nothing(seeds):
    assert compare(np.ones((seeds, 1), dtype=bool), np.zeros((seeds, 1), dtype=bool)).p == 1.0


def test_it_is_the_analysis_of_variance_of_crossed_factors():
    rng = np.random.default_rng(3)
    a, b = runs(rng, 3, 12, 0.5), runs(rng, 4, 12, 0.5)
    of_seeds, remainders = [], []
    for answers in (a, b):
        seeds, examples = answers.shape
        over_seeds, over_examples = answers.mean(axis=1, keepdims=True), answers.mean(axis=0, keepdims=True)
        residuals = answers - over_seeds - over_examples + answers.mean()
        remainders.append((residuals**2).sum() / ((seeds - 1) * (examples - 1)) / seeds / examples)
        of_seeds.append(((over_seeds - answers.mean()) ** 2).sum() / (seeds - 1) / seeds)
    of_examples = (a.mean(axis=0) - b.mean(axis=0)).var(ddof=1) / 12
    variance = sum(of_seeds) + of_examples - sum(remainders)
    assert variance > of_examples > sum(remainders)
    freedom = variance**2 / (of_seeds[0] ** 2 / 2 + of_seeds[1] ** 2 / 3 + of_examples**2 / 11)
    expected = 2 * stats.t.sf(abs(a.mean() - b.mean()) / variance**0.5, freedom)
    assert compare(a, b).p == pytest.approx(expected)


def test_all_right_against_all_wrong_is_certain():
    assert compare(np.ones((2, 50), dtype=bool), np.zeros((2, 50), dtype=bool)).p == 0.0


@pytest.mark.parametrize("seed_noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_claims_stay_near_one_in_twenty(seeds, seed_noise):
    rng = np.random.default_rng(7)
    trials, claims = 400, 0
    for _ in range(trials):
        difficulty = rng.normal(0.5, 1.5, 400)
        a, b = (runs(rng, seeds, 400, seed_noise, difficulty=difficulty) for _ in "ab")
        claims += compare(a, b).p < 0.05
    assert claims / trials < 0.08  # 0.05 and two to three standard errors


def test_one_noise_alone_claims_too_much():
    """Why both are needed: a test over examples, or over seeds, of methods that do not differ."""
    rng = np.random.default_rng(8)
    examples_only = seeds_only = 0
    for _ in range(200):
        difficulty = rng.normal(0.5, 1.5, 400)
        a, b = (runs(rng, 3, 400, 0.3, difficulty=difficulty) for _ in "ab")
        examples_only += stats.ttest_rel(a.mean(0), b.mean(0)).pvalue < 0.05
        a, b = (runs(rng, 5, 400, 0.0, difficulty=difficulty) for _ in "ab")
        seeds_only += stats.ttest_ind(a.mean(1), b.mean(1), equal_var=False).pvalue < 0.05
    assert examples_only / 200 > 0.3
    assert seeds_only / 200 > 0.1


def test_a_real_difference_is_found():
    rng = np.random.default_rng(9)
    difficulty = rng.normal(0.5, 1.5, 2000)
    a, b = (runs(rng, 5, 2000, 0.02, shift, difficulty) for shift in (0.4, 0.0))
    assert compare(a, b).p < 1e-3
    assert compare(b, a).mean < 0


@pytest.mark.parametrize("p", [[0.01], [0.01, 0.04, 0.03], [0.5, 0.5, 0.9], [0.001, 0.2, 0.013, 0.013, 1.0], []])
def test_holm_agrees_with_statsmodels(p):
    expected = multipletests(p, method="holm")[1] if p else []
    assert holm(p) == pytest.approx(list(expected))


def test_verdict():
    assert verdict(0.1, 0.049) == "better"
    assert verdict(-0.1, 0.01) == "worse"
    assert verdict(0.1, 0.05) == "undecided"
