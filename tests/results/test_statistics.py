import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from lra.results.statistics import Summary, compare, holm, mcnemar, summarise, verdict


def runs(rng, seeds, examples, seed_noise=0.0, shift=0.0, difficulty=None):
    """Correctness of `seeds` runs, (seeds, examples), from a logistic-like model with crossed seeds and examples."""
    difficulty = rng.normal(0.5, 1.5, examples) if difficulty is None else difficulty
    taste = rng.normal(0, 0.7, examples)  # what this method finds easier or harder than others do
    seed = rng.normal(0, seed_noise, (seeds, 1))
    return difficulty + taste + seed + shift + rng.normal(0, 0.7, (seeds, examples)) > 0


@pytest.mark.parametrize("values", [[0.5, 0.6], [0.61, 0.6, 0.64], [0.1, 0.9, 0.4, 0.45, 0.3]])
def test_summary_agrees_with_scipy(values):
    summary = summarise(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (summary.mean, summary.std) == pytest.approx((np.mean(values), stats.tstd(values)))
    assert (summary.low, summary.high) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    assert summarise([0.7]) == Summary(0.7, std=None, low=None, high=None)


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_agrees_with_statsmodels(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.6
    counts = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert mcnemar(a, b) == pytest.approx(statsmodels_mcnemar(counts, exact=True).pvalue)


def test_mcnemar_of_equal_answers_finds_nothing():
    a = np.array([True, False, True])
    assert mcnemar(a, a) == 1.0


def test_one_seed_is_mcnemar_and_says_so():
    rng = np.random.default_rng(0)
    a, b = runs(rng, 1, 300), runs(rng, 1, 300)
    comparison = compare(a, b)
    assert comparison.p == mcnemar(a[0], b[0])
    assert comparison.difference == pytest.approx(a.mean() - b.mean())
    assert comparison.noise == "examples"


def test_several_seeds_against_one_is_a_test_over_examples():
    rng = np.random.default_rng(0)
    a, b = runs(rng, 1, 300), runs(rng, 1, 300)
    comparison = compare(np.repeat(a, 3, axis=0), b)
    assert comparison.noise == "examples"
    assert comparison.p == pytest.approx(stats.ttest_rel(a[0].astype(float), b[0].astype(float)).pvalue)


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
    assert compare(a, a).difference == 0.0


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
    assert compare(b, a).difference < 0


@pytest.mark.parametrize("p", [[0.01], [0.01, 0.04, 0.03], [0.5, 0.5, 0.9], [0.001, 0.2, 0.013, 0.013, 1.0], []])
def test_holm_agrees_with_statsmodels(p):
    expected = multipletests(p, method="holm")[1] if p else []
    assert holm(p) == pytest.approx(list(expected))


def test_verdict():
    assert verdict(0.1, 0.049) == "better"
    assert verdict(-0.1, 0.01) == "worse"
    assert verdict(0.1, 0.05) == "undecided"
