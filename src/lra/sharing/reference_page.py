"""docs/reference.md: what the paper published, what was run with this code, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from lra.files import write_text
from lra.results import published as paper
from lra.results.statistics import ALPHA, mean_accuracy
from lra.sharing.publications import REFERENCE, Publication, read_reference

PAGE = Path("docs", "reference.md")
TEST_ROWS = {"listops": 2000, "text": 25000, "retrieval": 17437, "pathfinder": 20000, "image": 10000}
"""Test examples of the paper."""
PAPER_SEEDS = 3
"""Runs that the paper's interval is reckoned with; it names no number and no deviation."""
ROUNDING = 5e-5
"""The paper's accuracies have two digits of a per cent."""
NOT_RUN = "not run"

HEAD = """# Reference results

<!-- Made by `lra reference` from the files in reference/; edit those, not this page. -->

Accuracy on test in per cent. Every number under *ours* was run with this code on the full schedule, and stands in
`reference/<scale>/<task>/<attention>/seed-<n>.json` with its answers, history and provenance. “{not_run}” means that
nobody has published a run.

*Ours* is the mean over seeds with its 95 % interval over seeds and test examples; of a single seed, over test examples
alone. The paper (arXiv 2112.05359, table 1) gives no deviation. *Compatible* says whether its number lies in the 95 %
prediction interval around ours, t · s · √(1/{seeds} + 1/S) for S seeds of the standard deviation s, if it is a mean of
{seeds} runs that vary as ours do. Where the test examples are others than the paper's, the binomial variance of both
test sets is added, and t has Satterthwaite's degrees of freedom. It takes two seeds.
[fidelity.md](fidelity.md) lists what differs from the released code throughout.
"""
TITLES = ("method", "published", "ours", "seeds", "compatible", "what differs")


def write_page(reference: Path = REFERENCE, out: Path = PAGE) -> int:
    """Write the page; returns how many runs are published.

    Raises:
        LraError: a publication is damaged, or the seeds of a cell do not belong together.
    """
    publications = read_reference(reference)
    write_text(out, page(publications))
    return len(publications)


def page(publications: Sequence[Publication]) -> str:
    """The page's text in Markdown."""
    cells: dict[tuple[str, str, str], list[Publication]] = {}
    for published in publications:
        cells.setdefault((published.scale, published.run.task, published.run.attention), []).append(published)
    parts = [HEAD.format(not_run=NOT_RUN, seeds=PAPER_SEEDS)]
    for scale in sorted({"paper", *(scale for scale, _, _ in cells)}, key=lambda scale: (scale != "paper", scale)):
        known = list(TEST_ROWS) if scale == "paper" else []
        for task in dict.fromkeys([*known, *sorted(task for where, task, _ in cells if where == scale)]):
            mine = {attention: cell for (where, on, attention), cell in cells.items() if (where, on) == (scale, task)}
            names = [*(paper.attentions() if scale == "paper" else []), *mine]
            rows = [_row(scale, task, name, mine.get(name, [])) for name in dict.fromkeys(names)]
            parts.append(f"## {paper.task_title(task)}, scale {scale}\n\n{_table(TITLES, rows)}")
    if cells:
        rows = [_provenance(published) for published in publications]
        titles = ("run", "accuracy", "by", "commit", "machine", "torch", "training", "data")
        parts.append(f"## Where they come from\n\n{_table(titles, rows)}")
    return "\n".join(parts)


def _row(scale: str, task: str, attention: str, cell: Sequence[Publication]) -> tuple[str, ...]:
    told = paper.accuracy(attention, task) if scale == "paper" else None
    before = (paper.title(attention), "" if told is None else f"{100 * told:.2f}")
    if not cell:
        return (*before, NOT_RUN, "", "", "")
    correct = np.stack([published.answers() for published in cell])
    mean = mean_accuracy(correct)
    ours = f"{100 * mean.mean:.2f} ({100 * mean.low:.2f} to {100 * mean.high:.2f})"
    data = cell[0].metrics["data_settings"]
    generated = data.get("source") == "generate"
    differs = ["test examples"] if generated and told is not None else []
    if task == "text" and data.get("dev") == "train":
        differs.append("dev split")
    agrees = ""
    if told is not None:
        agrees = compatible(correct.mean(axis=1).tolist(), told, correct.shape[1], TEST_ROWS[task] if generated else 0)
    return (*before, ours, str(len(cell)), agrees, ", ".join(differs))


def compatible(accuracies: Sequence[float], told: float, rows: int, their_rows: int) -> str:
    """Whether the paper's accuracy lies in the prediction interval around ours: ``yes``, ``no``, or too few seeds.

    Args:
        accuracies: ours, one a seed, between 0 and 1.
        told: the paper's.
        rows: our test examples.
        their_rows: the paper's test examples where they are others than ours, else 0.
    """
    seeds = len(accuracies)
    if seeds < 2:
        return "too few seeds"
    mean = float(np.mean(accuracies))
    of_seeds = float(np.var(accuracies, ddof=1)) * (1 / PAPER_SEEDS + 1 / seeds)
    of_rows = mean * (1 - mean) * (1 / rows + 1 / their_rows) if their_rows else 0.0
    variance = of_seeds + of_rows
    freedom = variance**2 / (of_seeds**2 / (seeds - 1)) if of_seeds else math.inf
    half = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * math.sqrt(variance)
    return "yes" if abs(told - mean) <= half + ROUNDING else "no"


def _provenance(published: Publication) -> tuple[str, ...]:
    metrics, origin = published.metrics, published.provenance
    machine = metrics["machine"]
    return (
        published.file.with_suffix("").as_posix(),
        f"{100 * metrics['test_accuracy']:.2f}",
        origin.by,
        origin.commit[:10],
        str(machine["device"]),
        str(machine["torch"]),
        f"{metrics['train_seconds']:.0f} s",
        f"{metrics['data_settings'].get('source', '')} {metrics['data'][:10]}".strip(),
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[" ".join(cell.replace("|", "\\|").replace("<", "&lt;").split()) for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *escaped]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
