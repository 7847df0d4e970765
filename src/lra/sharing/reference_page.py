"""Write docs/reference.md: the paper's accuracies, the reference results of this code, and whether they agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from lra.files import write_text
from lra.paths import REFERENCE
from lra.results import published as paper
from lra.results.agreement import PAPER_SEEDS, compatible, other_test_rows, protocol_differences
from lra.results.plots import published as figure
from lra.results.published import COMPARABLE_SCALE
from lra.results.statistics import mean_accuracy
from lra.sharing.publications import Publication, read_reference

PAGE = Path("docs", "reference.md")
FIGURE = Path("images", "reference.svg")
"""Path of the figure, relative to the page."""
NOT_RUN = "not run"

HEAD = """# Reference results

<!-- Written by `lra reference` from the files in reference/; edit those, not this page. -->

Test accuracy in per cent. Every number under *ours* comes from runs of this code on the full schedule. Each run has a
file `reference/<scale>/<task>/<attention>/seed-<n>.json` with its answers, history and provenance. “{not_run}” means
that nobody has published a run. “Tuned” gives the number of learning rates that were tried, of which dev accuracy chose
one; “pretrained” gives the steps of self-pretraining. The paper does neither.

*Ours* is the mean over seeds with its 95 % interval over seeds and test examples; with a single seed, over test
examples only. The paper (arXiv 2112.05359, table 1) gives no deviation. *Compatible* says whether the paper's number
lies in the 95 % prediction interval around our mean, ± t · s · √(1/{seeds} + 1/S), where S is the number of our seeds
and s their standard deviation. This assumes that the paper's number is a mean of {seeds} runs that vary as ours do. If
the test examples differ from the paper's, the binomial variance of both test sets is added, and t has Satterthwaite's
degrees of freedom. At least two seeds are needed. [fidelity.md](fidelity.md) lists the differences from the released
code that all runs share. The last column lists further differences, with the paper's value in brackets.

![Published accuracies and ours, with their 95 % intervals, one panel per task](images/reference.svg)

In the figure, the interval of a published value covers its test examples and, if at least two runs of ours give the
variance over seeds, the seeds of {seeds} such runs. A method without a second marker was not run on that task.
"""
PATHX = """## Path-X, scale paper

The paper leaves out the Arena's sixth task. Other papers give accuracies under protocols of their own, so they are not
comparable with ours. “{fails}” means no better than chance, as reported by the Arena. The numbers are quoted from the
named sources, in part second-hand, and were not verified by runs.

{table}
### Ours

{ours}"""
TITLES = ("method", "published", "ours", "seeds", "compatible", "differences")


def write_page(reference: Path = REFERENCE, out: Path = PAGE) -> int:
    """Write the page and its figure; returns the number of published runs.

    Raises:
        LraError: a publication is damaged, or the seeds of a cell differ in more than the seed.
    """
    publications = read_reference(reference)
    write_text(out, page(publications))
    with tempfile.TemporaryDirectory() as temporary:
        figure.draw(None, prefix := Path(temporary, FIGURE.stem), reference)
        write_text(out.parent / FIGURE, prefix.with_suffix(".svg").read_text(encoding="utf-8"))
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
        for task in dict.fromkeys([*known, *sorted(task for cell_scale, task, _ in cells if cell_scale == scale)]):
            task_cells = {attention: cell for (*key, attention), cell in cells.items() if key == [scale, task]}
            if (scale, task) == (COMPARABLE_SCALE, paper.PATHX):
                parts.append(_path_x(task_cells))
                continue
            names = [*(paper.attentions() if scale == COMPARABLE_SCALE else []), *task_cells]
            rows = [_row(scale, task, name, task_cells.get(name, [])) for name in dict.fromkeys(names)]
            parts.append(f"## {paper.task_title(task)}, scale {scale}\n\n{_table(TITLES, rows)}")
    if cells:
        rows = [_provenance(published) for published in publications]
        titles = ("run", "accuracy", "by", "commit", "machine", "torch", "training", "data")
        parts.append(f"## Provenance\n\n{_table(titles, rows)}")
    return "\n".join(parts)


def _path_x(cells: Mapping[str, Sequence[Publication]]) -> str:
    """The section on Path-X: accuracies from other papers, then our published runs.

    Args:
        cells: our published runs on Path-X, by attention.
    """
    rows = [_row(COMPARABLE_SCALE, paper.PATHX, name, cell) for name, cell in cells.items()]
    methods = [name for name in paper.attentions() if name not in cells]
    rows += [_row(COMPARABLE_SCALE, paper.PATHX, name, []) for name in methods]
    others = _table(("model", "published", "source"), paper.pathx())
    ours = _table(("method", "published", "ours", "seeds"), [row[:4] for row in rows])
    return PATHX.format(fails="fails", table=others, ours=ours)


def _row(scale: str, task: str, attention: str, cell: Sequence[Publication]) -> tuple[str, ...]:
    """A row of the table of a task: title, published accuracy, ours, seeds, whether they agree, and differences."""
    accuracy = paper.accuracy(attention, task) if scale == COMPARABLE_SCALE else None
    published = "" if accuracy is None else f"{100 * accuracy:.2f}"
    if task == paper.PATHX:
        published = "fails" if paper.source(attention, task) else ""
    first = (paper.title(attention), published)
    if not cell:
        return (*first, NOT_RUN, "", "", "")
    correct = np.stack([publication.answers() for publication in cell])
    mean = mean_accuracy(correct)
    ours = f"{100 * mean.mean:.2f} ({100 * mean.low:.2f} to {100 * mean.high:.2f})"
    ours = ", ".join([ours, *_preliminaries(cell[0])])
    agrees = differences = ""
    if accuracy is not None:
        metrics = cell[0].metrics
        differences = protocol_differences(metrics)
        agrees = compatible(correct.mean(axis=1).tolist(), accuracy, correct.shape[1], other_test_rows(metrics))
    return (*first, ours, str(len(cell)), agrees, differences)


def _preliminaries(published: Publication) -> Iterator[str]:
    """What came before the runs of a cell, such as ``tuned: 3 rates``."""
    if start := published.metrics.get("pretraining"):
        yield f"pretrained: {start['steps']} steps"
    if published.tuning:
        yield f"tuned: {len(published.tuning.tries)} rates"


def _seconds(published: Publication) -> Iterator[str]:
    """The training times of a run and of what came before it."""
    yield f"{published.metrics['train_seconds']:.0f} s"
    if start := published.metrics.get("pretraining"):
        yield f"pretraining {start['train_seconds']:.0f} s"
    if published.tuning:
        yield f"tuning {published.tuning.train_seconds:.0f} s"


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
        ", ".join(_seconds(published)),
        f"{metrics['data_settings'].get('source', '')} {metrics['data'][:10]}".strip(),
    )


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escaped = [[" ".join(cell.replace("|", "\\|").replace("<", "&lt;").split()) for cell in row] for row in rows]
    lines = [titles, ["---"] * len(titles), *escaped]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
