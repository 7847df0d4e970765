"""docs/reference.md: what the paper published, what was run with this code, and whether the two agree."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lra.files import write_text
from lra.paths import REFERENCE
from lra.results import published as paper
from lra.results.agreement import PAPER_SEEDS, compatible, other_test_rows, protocol_differences
from lra.results.beside import COMPARABLE_SCALE
from lra.results.plots import published as figure
from lra.results.statistics import mean_accuracy
from lra.sharing.publications import Publication, read_reference

PAGE = Path("docs", "reference.md")
FIGURE = Path("images", "reference.svg")
"""Beside the page."""
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
[fidelity.md](fidelity.md) lists what differs from the released code throughout; the last column names what differs
besides, with the paper's value in brackets.

![Published accuracies and ours, with their 95 % intervals, one panel a task](images/reference.svg)

In the figure the interval of a published value covers its test examples and, where two runs of ours or more say how
much seeds vary, the seeds of {seeds} such runs. A row without a second marker was not run.
"""
PATHX = """## Path-X, scale paper

The paper leaves the Arena's sixth task out. Others published it in protocols of their own, so nothing says whether
their numbers and ours agree. “{fails}” is the Arena's own word for no better than chance. The numbers are quoted
from the sources named, in part second-hand, and were not checked against runs.

{table}
### Ours

{ours}"""
TITLES = ("method", "published", "ours", "seeds", "compatible", "what differs")


def write_page(reference: Path = REFERENCE, out: Path = PAGE) -> int:
    """Write the page and its figure; returns how many runs are published.

    Raises:
        LraError: a publication is damaged, or the seeds of a cell do not belong together.
    """
    publications = read_reference(reference)
    write_text(out, page(publications))
    with tempfile.TemporaryDirectory() as temporary:
        figure.draw(None, drawn := Path(temporary, FIGURE.stem), reference)
        write_text(out.parent / FIGURE, drawn.with_suffix(".svg").read_text(encoding="utf-8"))
    return len(publications)


def page(publications: Sequence[Publication]) -> str:
    """The page's text in Markdown."""
    cells: dict[tuple[str, str, str], list[Publication]] = {}
    for published in publications:
        cells.setdefault((published.scale, published.run.task, published.run.attention), []).append(published)
    parts = [HEAD.format(not_run=NOT_RUN, seeds=PAPER_SEEDS)]
    scales = dict.fromkeys([COMPARABLE_SCALE, *sorted(scale for scale, _, _ in cells)])
    for scale in scales:
        known = [*paper.tasks(), paper.PATHX] if scale == COMPARABLE_SCALE else []
        for task in dict.fromkeys([*known, *sorted(task for where, task, _ in cells if where == scale)]):
            mine = {attention: cell for (where, on, attention), cell in cells.items() if (where, on) == (scale, task)}
            if (scale, task) == (COMPARABLE_SCALE, paper.PATHX):
                parts.append(_path_x(mine))
                continue
            names = [*(paper.attentions() if scale == COMPARABLE_SCALE else []), *mine]
            rows = [_row(scale, task, name, mine.get(name, [])) for name in dict.fromkeys(names)]
            parts.append(f"## {paper.task_title(task)}, scale {scale}\n\n{_table(TITLES, rows)}")
    if cells:
        rows = [_provenance(published) for published in publications]
        titles = ("run", "accuracy", "by", "commit", "machine", "torch", "training", "data")
        parts.append(f"## Where they come from\n\n{_table(titles, rows)}")
    return "\n".join(parts)


def _path_x(cells: Mapping[str, Sequence[Publication]]) -> str:
    """The section on Path-X: what others published, and the published runs by attention."""
    rows = [_row(COMPARABLE_SCALE, paper.PATHX, name, cell) for name, cell in cells.items()]
    methods = [name for name in paper.attentions() if name not in cells]
    rows += [_row(COMPARABLE_SCALE, paper.PATHX, name, []) for name in methods]
    told = _table(("model", "published", "source"), paper.pathx())
    ours = _table(("method", "published", "ours", "seeds"), [row[:4] for row in rows])
    return PATHX.format(fails="fails", table=told, ours=ours)


def _row(scale: str, task: str, attention: str, cell: Sequence[Publication]) -> tuple[str, ...]:
    told = paper.accuracy(attention, task) if scale == COMPARABLE_SCALE else None
    before = (paper.title(attention), "" if told is None else f"{100 * told:.2f}")
    if task == paper.PATHX:
        before = (paper.title(attention), "fails" if paper.source(attention, task) else "")
    if not cell:
        return (*before, NOT_RUN, "", "", "")
    correct = np.stack([published.answers() for published in cell])
    mean = mean_accuracy(correct)
    ours = f"{100 * mean.mean:.2f} ({100 * mean.low:.2f} to {100 * mean.high:.2f})"
    agrees = differs = ""
    if told is not None:
        metrics = cell[0].metrics
        differs = protocol_differences(metrics)
        agrees = compatible(correct.mean(axis=1).tolist(), told, correct.shape[1], other_test_rows(metrics))
    return (*before, ours, str(len(cell)), agrees, differs)


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
