"""Random ListOps trees: nested MIN, MAX, MED (median) and SM (sum modulo 10) over digits, and their values.

Nangia and Bowman 2018 (arXiv 1804.06028) invented the task; Tay et al. 2021 (arXiv 2011.04006) made the long version.
The trees of a chunk grow together, one depth at a time, and a tree that gets too long stops growing, so that numpy does
the work.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.contract import list_array, record_batch
from lra.tasks.settings.listops import Generator

TOKENS = ("<pad>", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
"""The token of each id. Parentheses, which only delimit the text form, have none; without brackets "]" goes unused."""

DIGIT, OPERATOR, CLOSE = TOKENS.index("0"), TOKENS.index("[MIN"), TOKENS.index("]")
MIN, MAX, MED, SM = range(4)

DRAWS = 8192
"""Trees drawn in a chunk; another number gives other trees for the same seed."""

BARREN_CHUNKS = 100
"""After so many consecutive chunks without a new tree, the distribution has too few trees."""

Ints = npt.NDArray[np.integer]
Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


def generate(generator: Generator, seed: int, brackets: bool) -> Iterator[pa.RecordBatch]:
    """Distinct trees without end: ``tokens`` in prefix order and ``label``, the tree's value.

    Args:
        generator: the distribution.
        seed: the same seed gives the same trees in the same order.
        brackets: whether "]" closes an operator's children. Without, different trees can read the same; the first is
            kept.

    Raises:
        LraError: the distribution has too few trees.
    """
    seen: set[bytes] = set()
    barren = 0
    for chunk in itertools.count():
        rng = np.random.default_rng(np.random.SeedSequence([seed, chunk]))
        tokens, lengths, values = _write(_grow(generator, rng), rng, brackets)
        new = _distinct(tokens, lengths, seen)
        barren = 0 if new.any() else barren + 1
        if barren == BARREN_CHUNKS:
            raise LraError(
                f"listops generator: only {len(seen)} different trees came out of {(chunk + 1) * DRAWS} draws; ask for "
                "fewer rows, or widen min_length ... max_length, max_depth or max_children."
            )
        if new.any():
            yield record_batch(values, list_array(tokens, lengths)).filter(pa.array(new))


def _distinct(tokens: Bytes, lengths: Ints, seen: set[bytes]) -> Bools:
    """Which trees are not in ``seen``, where they are then added."""
    new = np.zeros(len(lengths), dtype=bool)
    text = tokens.tobytes()
    end = 0
    for row, length in enumerate(lengths.tolist()):
        start, end = end, end + length
        digest = hashlib.blake2b(text[start:end], digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            new[row] = True
    return new


def _grow(generator: Generator, rng: np.random.Generator) -> list[Ints]:
    """The shapes of a chunk's trees: for each depth the number of children of every node, 0 for a digit."""
    owner = np.arange(DRAWS)  # (nodes of this depth,): the tree of each
    length = np.zeros(DRAWS, dtype=np.int64)
    levels: list[tuple[Ints, Ints]] = []
    for depth in range(1, generator.max_depth + 1):
        children = np.zeros(len(owner), dtype=np.int64)
        if depth < generator.max_depth:
            operators = np.flatnonzero(rng.random(len(owner), dtype=np.float32) >= generator.digit_probability)
            children[operators] = rng.integers(2, generator.max_children + 1, len(operators))
        length += np.bincount(owner, minlength=DRAWS) + np.bincount(owner[children > 0], minlength=DRAWS)
        coming = np.bincount(owner, weights=children, minlength=DRAWS)
        too_long = length + coming >= generator.max_length
        children[too_long[owner]] = 0
        length[too_long] = generator.max_length
        levels.append((owner, children))
        owner = np.repeat(owner, children)
    kept = (generator.min_length < length) & (length < generator.max_length)
    shapes = [children[kept[owner]] for owner, children in levels]
    return [children for children in shapes if len(children)]


def _write(shapes: list[Ints], rng: np.random.Generator, brackets: bool) -> tuple[Bytes, Ints, Bytes]:
    """Fill the shapes of :func:`_grow` with random digits and operators.

    Returns:
        The tokens of all trees one after another, their lengths (trees,), and their values (trees,).
    """
    if not shapes:
        return np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    operators = [np.flatnonzero(children) for children in shapes]
    counts = [children[here] for children, here in zip(shapes, operators, strict=True)]
    symbols = [rng.integers(10, size=len(children), dtype=np.uint8) + np.uint8(DIGIT) for children in shapes]

    # Bottom up: subtree lengths, values, and where the children of each operator begin among the nodes one deeper.
    lengths = [np.ones(len(children), dtype=np.int64) for children in shapes]
    values = [symbol - np.uint8(DIGIT) for symbol in symbols]
    ends_below = [np.zeros(1, dtype=np.int64) for _ in shapes]
    for depth in reversed(range(len(shapes) - 1)):
        here, count = operators[depth], counts[depth]
        operator = rng.integers(4, size=len(here), dtype=np.uint8)
        first = np.cumsum(count) - count
        ends_below[depth] = np.concatenate([[0], np.cumsum(lengths[depth + 1])])
        symbols[depth][here] = operator + np.uint8(OPERATOR)
        lengths[depth][here] += brackets + ends_below[depth][first + count] - ends_below[depth][first]
        values[depth][here] = _apply(operator, values[depth + 1], first, count)

    # Top down: where each subtree begins among the tokens.
    tokens = np.empty(int(lengths[0].sum()), dtype=np.uint8)
    position = np.cumsum(lengths[0]) - lengths[0]
    for depth, (here, count, symbol, length) in enumerate(zip(operators, counts, symbols, lengths, strict=True)):
        tokens[position] = symbol
        if brackets:
            tokens[position[here] + length[here] - 1] = CLOSE
        first = np.cumsum(count) - count
        position = np.repeat(position[here] + 1 - ends_below[depth][first], count) + ends_below[depth][:-1]
    return tokens, lengths[0], values[0]


def _apply(operator: Bytes, values: Bytes, first: Ints, count: Ints) -> Bytes:
    """The value of each operator over its run of ``count`` values from ``first`` on; the runs cover all values."""
    result = np.empty(len(operator), dtype=np.uint8)
    results = {
        MIN: np.minimum.reduceat(values, first),
        MAX: np.maximum.reduceat(values, first),
        SM: (np.add.reduceat(values, first, dtype=np.int64) % 10).astype(np.uint8),
    }
    for name, value in results.items():
        result[operator == name] = value[operator == name]
    median = operator == MED
    result[median] = _median(values, first[median], count[median])
    return result


def _median(values: Bytes, first: Ints, count: Ints) -> Bytes:
    """Median of each run; of an even number of values the mean of the middle two, rounded down."""
    column = np.arange(int(count.max(initial=1)))
    inside = column < count[:, None]  # (runs, longest run)
    runs = np.where(inside, values[np.where(inside, first[:, None] + column, 0)], np.uint8(10))
    runs.sort(axis=1)
    row = np.arange(len(runs))
    return (runs[row, (count - 1) // 2] + runs[row, count // 2]) // np.uint8(2)
