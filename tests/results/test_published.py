from __future__ import annotations

import csv

import pytest

from lra.attention.registry import METHODS
from lra.results import published
from lra.results.plots.style import BEYOND, STYLES

TASKS = ("text", "listops", "retrieval", "pathfinder", "image")


def test_every_method_of_the_paper_has_its_values():
    assert set(STYLES) <= set(METHODS)
    for attention in STYLES:
        assert published.title(attention) != attention
        for task in TASKS:
            assert 0 < published.accuracy(attention, task) < 1
            assert published.seconds_per_1000_steps(attention, task) > 0
            assert published.fitting_batch(attention, task) > 0


def test_every_row_beyond_the_paper_has_a_title_a_style_and_a_source():
    assert set(STYLES) | set(BEYOND) == set(METHODS)
    for attention in BEYOND:
        assert published.title(attention) != attention
        assert "arXiv" in published.source_elsewhere(attention)
        values = [
            published.accuracy_elsewhere(attention, task) or published.accuracy(attention, task) for task in TASKS
        ]
        assert all(0 < value < 1 for value in values)


def test_only_the_same_protocol_stands_beside_ours():
    """Skyformer has the paper's small models; the Arena's and others' are larger."""
    assert published.accuracy("skyformer", "listops") == pytest.approx(0.3869)
    assert published.accuracy_elsewhere("skyformer", "listops") is None
    assert published.accuracy("luna", "listops") is None
    assert published.accuracy_elsewhere("luna", "listops") == pytest.approx(0.3725)
    assert published.accuracy_elsewhere("softmax", "listops") is published.protocol_elsewhere("softmax") is None


def test_yardsticks_are_marked():
    marked = {attention for attention in METHODS if published.title(attention).endswith("(yardstick)")}
    assert marked == {"retention", "s4d"}


def test_averages_are_those_printed():
    with (published.FOLDER / "accuracy.csv").open() as stream:
        for row in csv.DictReader(stream):
            mean = sum(published.accuracy(row["attention"], task) for task in TASKS) / len(TASKS)
            assert 100 * mean == pytest.approx(float(row["average"]), abs=0.011)


def test_some_values_as_printed():
    assert published.accuracy("skeinformer", "text") == pytest.approx(0.6247)
    assert published.seconds_per_1000_steps("softmax", "listops") == pytest.approx(22.30 * 60)
    assert published.leading_flops("skeinformer") == "4 n d p"
    assert published.fitting_batch("skein_nonorm", "retrieval") == 4


def test_what_the_paper_lacks_is_none():
    assert published.title("mine") == "mine"
    assert published.accuracy("mine", "text") is published.accuracy("softmax", "toy") is None
    assert published.seconds_per_1000_steps("mine", "text") is published.fitting_batch("mine", "text") is None
    assert published.leading_flops("reformer") is published.leading_flops("mine") is None


def test_sources():
    assert published.source("skeinformer", "text") == published.PAPER
    assert published.source("mine", "text") is published.source("mine", "pathx") is None
    assert len(published.pathx()) == 18
    known = {row["attention"] for row in published._lines("pathx")} - {"", "sinkhorn"}
    assert known <= set(METHODS)
