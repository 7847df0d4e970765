"""docs/reference.md is made from reference/, and calls compatible what the interval holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lra.sharing import reference_page
from lra.sharing.publications import Provenance, Publication, read_reference
from lra.sharing.reference_page import compatible, page

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_folder() -> None:
    """Run `lra reference` where this fails: a number on the page must be one of a file."""
    assert (ROOT / "docs/reference.md").read_text() == page(read_reference(ROOT / "reference"))


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


def published(task: str, source: str, seed: int, correct: np.ndarray[Any, Any]) -> Publication:
    import base64

    provenance = Provenance("a" * 40, False, "b" * 64, "A. Name", "2026", False)
    metrics = {
        "task": task, "attention": "vmean", "seed": seed, "test_rows": len(correct), "data": "d" * 64,
        "data_settings": {"source": source, "dev": "train"}, "test_accuracy": float(correct.mean()),
        "machine": {"device": "a card", "torch": "2"}, "train_seconds": 1.0,
    }  # fmt: skip
    answers = base64.b64encode(np.packbits(correct).tobytes()).decode()
    return Publication(1, "paper", metrics, ("x",), answers, provenance)


def test_cells_of_the_paper_s_scale() -> None:
    random = np.random.default_rng(1)
    runs = [published("listops", "generate", seed, random.random(2000) < 0.288) for seed in (1, 2, 3)]
    runs += [replace(published("text", "imdb", 1, random.random(25000) < 0.6))]
    text = page(runs)
    row = next(line for line in text.splitlines() if line.startswith("| V-Mean | 28.78"))
    assert row.endswith("| 3 | yes | test examples |")
    row = next(line for line in text.splitlines() if line.startswith("| V-Mean | 65.29"))
    assert row.endswith("| 1 | too few seeds | dev split |")
    assert text.count("not run |") == 78
    assert reference_page.TEST_ROWS["listops"] == 2000
