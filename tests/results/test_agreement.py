"""Compatible is what the prediction interval holds, and what differs from the paper is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from lra.results import published
from lra.results.agreement import (
    compatible,
    other_test_rows,
    protocol_differences,
    published_half_width,
)

ROOT = Path(__file__).parents[2]


def test_the_interval_on_the_paper_s_test_set() -> None:
    """The paper's 38.15 with ours around 37: t(2) s sqrt(1/3 + 1/3) = 4.30 * 1 * 0.816 = 3.51 points."""
    assert compatible([0.36, 0.37, 0.38], 0.37 + 0.0350, 2000, 0) == "yes"
    assert compatible([0.36, 0.37, 0.38], 0.37 + 0.0353, 2000, 0) == "no"
    assert compatible([0.37], 0.37, 2000, 0) == "too few seeds"
    assert compatible([0.37, 0.37], 0.37004, 2000, 0) == "yes", "the paper rounds"
    assert compatible([0.37, 0.37], 0.3702, 2000, 0) == "no"


def test_the_interval_on_another_test_set() -> None:
    """Without spread over seeds: 1.96 sqrt(p q (1/n + 1/n')) = 1.96 * sqrt(0.25 * 2 / 2000) = 3.10 points."""
    assert compatible([0.5, 0.5], 0.5309, 2000, 2000) == "yes"
    assert compatible([0.5, 0.5], 0.5312, 2000, 2000) == "no"


@pytest.mark.parametrize("their_rows", [0, 1000])
def test_the_interval_holds_19_of_20(their_rows: int) -> None:
    """Three seeds of ours and a mean of three of the paper's, of one method: simulated."""
    random = np.random.default_rng(0)
    rows, trials, held = 1000, 2000, 0
    for _ in range(trials):
        ability = 0.6 + 0.02 * random.normal(size=6)
        ours = ability[:3] + (random.normal() * np.sqrt(0.24 / rows) if their_rows else 0)
        theirs = ability[3:].mean() + (random.normal() * np.sqrt(0.24 / their_rows) if their_rows else 0)
        held += compatible(ours.tolist(), float(theirs), rows, their_rows) == "yes"
    assert stats.binomtest(held, trials, 0.95).proportion_ci(0.999).high > 0.94, held / trials


def test_as_many_seeds_as_the_other_has_stand_for_the_papers_three() -> None:
    """t(2) s sqrt(1/1 + 1/3) = 4.30 * 1 * 1.155 = 4.97 points."""
    assert compatible([0.36, 0.37, 0.38], 0.37 + 0.0496, 2000, 0, 1) == "yes"
    assert compatible([0.36, 0.37, 0.38], 0.37 + 0.0498, 2000, 0, 1) == "no"


def test_the_interval_of_a_published_value() -> None:
    """Of test examples alone 1.96 sqrt(p q / n); seeds of ours, three of theirs, widen it."""
    assert published_half_width(0.5, [], 10000) == pytest.approx(0.0098, abs=1e-4)
    assert published_half_width(0.5, [0.4, 0.4], 10000) == pytest.approx(0.0098, abs=1e-4)
    assert published_half_width(0.5, [0.36, 0.37, 0.38], 10**9) == pytest.approx(4.303 * 0.01 / 3**0.5, rel=1e-3)


def metrics(task: str, source: str, rows: int, **settings: Any) -> dict[str, Any]:
    return {"task": task, "test_rows": rows, "data_settings": {"source": source, "dev": "train"}, "settings": settings}


@pytest.mark.parametrize(
    ("task", "source", "rows", "others"),
    [
        ("listops", "lra_release", 2000, 0),
        ("listops", "generate", 2000, 2000),
        ("listops", "lra_release", 1999, 2000),
        ("pathfinder", "lra_release", 20000, 20000),
        ("text", "imdb", 25000, 0),
    ],
)
def test_whose_test_examples_are_the_papers(task: str, source: str, rows: int, others: int) -> None:
    assert other_test_rows(metrics(task, source, rows)) == others


def test_what_differs_is_named_with_the_papers_value() -> None:
    short = metrics("text", "imdb", 25000, train={"steps": 4, "batch": 128}, model={"dropout": 0.0}, attention={})
    assert protocol_differences(short) == "dev split, train.steps 4 (50000), model.dropout 0 (0.1)"
    short["settings"]["pretrain"] = {"mask": 0.1}
    assert protocol_differences(short).startswith("dev split, pretrained, train.steps")


def test_the_papers_protocol_is_that_of_the_scale_paper() -> None:
    scale = yaml.safe_load((ROOT / "config.yaml").read_text())["scales"]["paper"]
    for task in published.tasks():
        block = scale["tasks"][task]
        ours = {"features": scale["features"], **scale["model"], **block["train"]}
        assert {name: ours[name] for name in published.protocol(task)} == published.protocol(task)
        assert block["data"]["expected_rows"]["test"] == published.test_rows(task)
