"""docs/reference.md and its figure are made from reference/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lra.sharing.publications import Provenance, Publication, read_reference
from lra.sharing.reference_page import FIGURE, page, write_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_folder() -> None:
    """Run `lra reference` where this fails: a number on the page must be one of a file."""
    assert (ROOT / "docs/reference.md").read_text() == page(read_reference(ROOT / "reference"))


def test_the_figure_is_that_of_the_folder(tmp_path: Path) -> None:
    assert write_page(ROOT / "reference", tmp_path / "reference.md") == len(read_reference(ROOT / "reference"))
    assert (ROOT / "docs" / FIGURE).read_text() == (tmp_path / FIGURE).read_text()


def published(task: str, source: str, seed: int, correct: np.ndarray[Any, Any]) -> Publication:
    import base64

    provenance = Provenance("a" * 40, False, "b" * 64, "A. Name", "2026", False)
    metrics = {
        "task": task, "attention": "vmean", "seed": seed, "test_rows": len(correct), "data": "d" * 64,
        "data_settings": {"source": source, "dev": "train"}, "test_accuracy": float(correct.mean()),
        "machine": {"device": "a card", "torch": "2"}, "train_seconds": 1.0, "settings": {"train": {"steps": 20000}},
    }  # fmt: skip
    answers = base64.b64encode(np.packbits(correct).tobytes()).decode()
    return Publication(1, "paper", metrics, ("x",), answers, provenance)


def test_cells_of_the_paper_s_scale() -> None:
    random = np.random.default_rng(1)
    runs = [published("listops", "generate", seed, random.random(2000) < 0.288) for seed in (1, 2, 3)]
    runs += [published("text", "imdb", 1, random.random(25000) < 0.6)]
    text = page(runs)
    row = next(line for line in text.splitlines() if line.startswith("| V-Mean | 28.78"))
    assert row.endswith("| 3 | yes | test examples |")
    row = next(line for line in text.splitlines() if line.startswith("| V-Mean | 65.29"))
    assert row.endswith("| 1 | too few seeds | dev split, train.steps 20000 (50000) |")
    assert text.count("not run |") == 78 + 16


def test_path_x_has_what_others_published_and_cells_of_ours() -> None:
    text = page([]).partition("## Path-X, scale paper")[2]
    assert "| Transformer | fails | Tay et al. 2021 (arXiv 2011.04006), table 1 |" in text
    assert "| S5 | 98.58 | Smith et al. 2022 (arXiv 2208.04933) |" in text
    assert "| BigBird | fails | not run |  |" in text and "| Skeinformer |  | not run |  |" in text
    run = published("pathx", "generate", 1, np.arange(100) < 61)
    text = page([run]).partition("### Ours")[2]
    assert "| V-Mean |  | 61.00 (51.20 to 69.98) | 1 |" in text and text.count("V-Mean |") == 1
