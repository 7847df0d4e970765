"""Generated ListOps trees against a naive evaluator and the known distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from lra.tasks.listops_trees import TOKENS, Generator, generate
from tasks.reading import refuses, rows

SMALL = Generator(min_length=5, max_length=64, max_depth=5, digit_probability=0.5, max_children=5)


def evaluate(words: Sequence[str]) -> int:
    """The value of an expression, worked out from its end, so that arguments come before their operator."""
    stack: list[int | None] = []
    for word in reversed(words):
        if word == "]":
            stack.append(None)
        elif word.isdigit():
            stack.append(int(word))
        else:
            values = []
            while (value := stack.pop()) is not None:
                values.append(value)
            middle = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
            results = {"[MIN": min(values), "[MAX": max(values), "[MED": int(sum(middle) / 2), "[SM": sum(values) % 10}
            stack.append(results[word])
    (result,) = stack
    assert result is not None
    return result


def shape(tokens: Sequence[int]) -> tuple[int, set[int]]:
    """Depth of a tree, and the numbers of children of its operators."""
    depth, counts, children = 0, set(), [0]
    for word in (TOKENS[token] for token in tokens):
        if word == "]":
            counts.add(children.pop())
            continue
        children[-1] += 1
        depth = max(depth, len(children))
        if word.startswith("["):
            children.append(0)
    assert children == [1], "one whole tree"
    return depth, counts


@pytest.mark.parametrize(
    "words, value",
    [("[MED 1 2 ]", 1), ("[MED 9 0 4 5 ]", 4), ("[MED 3 9 1 ]", 3), ("[SM 9 9 4 ]", 2), ("[MAX 1 [MIN 7 5 ] 3 ]", 5)],
)
def test_naive_evaluator(words: str, value: int) -> None:
    assert evaluate(words.split()) == value


@pytest.mark.parametrize(
    "generator",
    [
        SMALL,
        Generator(min_length=0, max_length=40, max_depth=2, digit_probability=0.5, max_children=10),
        Generator(min_length=20, max_length=300, max_depth=9, digit_probability=0.6, max_children=2),
        Generator(min_length=30, max_length=90, max_depth=3, digit_probability=0.0, max_children=7),
    ],
    ids=["small", "shallow", "binary", "operators above the last level"],
)
def test_trees_and_values(generator: Generator) -> None:
    batches = generate(generator, 3, brackets=True)
    trees = [row for _ in range(2) for row in rows([next(batches)])][:3000]
    for tokens, label in trees:
        assert generator.min_length < len(tokens) < generator.max_length
        depth, counts = shape(tokens)
        assert depth <= generator.max_depth
        assert counts <= set(range(2, generator.max_children + 1))
        assert evaluate([TOKENS[token] for token in tokens]) == label


def test_small_generator_reaches_every_shape() -> None:
    trees = rows([next(generate(SMALL, 0, brackets=True))])
    shapes = [shape(tokens) for tokens, _ in trees]
    assert max(depth for depth, _ in shapes) == SMALL.max_depth
    assert set.union(*(counts for _, counts in shapes)) == {2, 3, 4, 5}
    assert {token for tokens, _ in trees for token in tokens} == set(range(1, 16))


def test_distribution_at_the_arenas_parameters() -> None:
    """Lengths 501 ... 1999, 1035 on average; answers 0 and 9 about 17 % each, the others 7 to 9 %."""
    batches = generate(Generator(), 0, brackets=True)
    parts = [next(batches) for _ in range(6)]
    lengths = np.concatenate([part["tokens"].value_lengths().to_numpy() for part in parts])
    labels = np.concatenate([part["label"].to_numpy() for part in parts])
    assert len(lengths) / (6 * 8192) == pytest.approx(0.083, abs=0.004)
    assert lengths.min() == 501
    assert 1990 <= lengths.max() <= 1999
    assert lengths.mean() == pytest.approx(1035, abs=25)
    share = np.bincount(labels, minlength=10) / len(labels)
    assert share[[0, 9]] == pytest.approx([0.17, 0.17], abs=0.02)
    assert share[1:9] == pytest.approx([0.083] * 8, abs=0.02)


def test_long_trees_have_the_right_values() -> None:
    for tokens, label in rows([next(generate(Generator(), 1, brackets=True))])[:50]:
        assert shape(tokens)[0] <= 10
        assert evaluate([TOKENS[token] for token in tokens]) == label


def test_without_brackets_only_the_brackets_go() -> None:
    with_brackets = rows([next(generate(Generator(), 0, brackets=True))])
    without = rows([next(generate(Generator(), 0, brackets=False))])
    assert without == [([token for token in tokens if token != 15], label) for tokens, label in with_brackets]


def test_a_generator_without_trees() -> None:
    with refuses("no length lies between min_length 10 and max_length 11"):
        Generator(min_length=10, max_length=11)
