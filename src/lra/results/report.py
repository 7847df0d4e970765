"""Write the report: one self-contained HTML page with findings, tables, figures and provenance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lra.errors import LraError
from lra.files import write_text
from lra.results.basis import bases
from lra.results.captions import CAPTIONS
from lra.results.equal_compute import equal_compute
from lra.results.findings import findings
from lra.results.pages import page
from lra.results.provenance import provenance
from lra.results.published import COMPARABLE_SCALE, PAPER, task_title, title
from lra.results.reading import read_runs
from lra.results.rendering import NO_VALUE, sheet_for_page
from lra.results.rows import BASELINE, TableRow, attentions, read_rows, tasks
from lra.results.tables import TABLES


def write_report(
    table: Path, metrics: Sequence[Path], figures: Sequence[Path], out: Path, measures: Sequence[Path] = ()
) -> None:
    """Write the report.

    Args:
        table: the table that ``lra collect`` wrote.
        metrics: ``metrics.json`` of every run, for the provenance.
        figures: SVG files of the figures, in the order of the page.
        out: the HTML file to write.
        measures: ``measure.json`` of each measured cell, for the comparison at equal compute.

    Raises:
        LraError: a file is missing or damaged.
    """
    rows, runs = read_rows(table), read_runs(metrics)
    sheets = [build(rows) for name, build in TABLES.items() if name == "accuracy" or _measured(rows)]
    if sheet := equal_compute(runs, measures):
        sheets.append(sheet)
    text = page(
        "report.html",
        title=f"Self-attentions compared, scale “{rows[0].scale}”",
        summary=_summary(rows),
        bases=bases(rows),
        measured=_measured(rows),
        baseline=title(BASELINE),
        findings=findings(rows),
        sheets=[sheet_for_page(sheet) for sheet in sheets],
        figures=[(path.stem, CAPTIONS.get(path.stem, path.stem), inline_svg(path)) for path in figures],
        cells=[_cell(row) for row in rows],
        comparable=rows[0].scale == COMPARABLE_SCALE,
        scale=rows[0].scale,
        comparisons=[_comparison(row) for row in rows if row.published_source or row.reference_accuracy is not None],
        provenance=provenance(runs),
        titles={name: title(name) for name in attentions(rows)},
        task_titles={name: task_title(name) for name in tasks(rows)},
    )
    write_text(out, text)


def _measured(rows: Sequence[TableRow]) -> bool:
    return any(row.measure_status for row in rows)


def _summary(rows: Sequence[TableRow]) -> str:
    counts = {"attention": len(attentions(rows)), "task": len(tasks(rows)), "run": sum(row.seeds_run for row in rows)}
    listed = ", ".join(f"{number} {noun}{'s' if number != 1 else ''}" for noun, number in counts.items())
    return f"{listed}, of which {sum(row.seeds_ok for row in rows)} finished with a result."


def _cell(row: TableRow) -> dict[str, Any]:
    """A row of the table of all cells: texts, or pairs of a text and its sort key."""

    def number(value: float | None, form: str, factor: float = 1) -> tuple[str, object]:
        return (NO_VALUE, "") if value is None else (f"{factor * value:{form}}".replace("-", "−"), value)

    def probability(value: float | None) -> tuple[str, object]:
        return ("< 0.001", value) if value is not None and value < 0.001 else number(value, ".3f")

    def interval(low: float | None, high: float | None, form: str) -> str:
        return (
            NO_VALUE if low is None or high is None else f"{100 * low:{form}} to {100 * high:{form}}".replace("-", "−")
        )

    return {
        "row": row,
        "rate": (_rate(row), _sort_key(row.learning_rate)),
        "seeds": (f"{row.seeds_ok} of {row.seeds_run}", row.seeds_ok),
        "accuracy": number(row.accuracy, ".2f", 100),
        "interval": (interval(row.accuracy_low, row.accuracy_high, ".1f"), _sort_key(row.accuracy_low)),
        "difference": number(row.difference, "+z.2f", 100),
        "difference_interval": (
            interval(row.difference_low, row.difference_high, "+z.1f"),
            _sort_key(row.difference_low),
        ),
        "p": probability(row.adjusted_p),
        "p_all": probability(row.adjusted_p_all_tasks),
    }


def _comparison(row: TableRow) -> dict[str, Any]:
    """A row of the table of published values and reference results: texts, their sort keys, and details."""

    def result(mean: float | None, low: float | None, high: float | None, *details: str) -> dict[str, Any]:
        interval = [] if low is None or high is None else [f"{100 * low:.2f} to {100 * high:.2f}"]
        number = "" if mean is None else f"{100 * mean:.2f}"
        return {"text": number, "key": _sort_key(mean), "details": [*interval, *details] if mean is not None else []}

    def size(seeds: int | None, rows: int | None) -> tuple[str, str]:
        return f"{seeds} seed{'' if seeds == 1 else 's'}", f"{rows} test rows"

    source = row.published_source if row.published_source != PAPER else None
    published = result(row.published_accuracy, None, None)
    reference = result(
        row.reference_accuracy, row.reference_low, row.reference_high,
        *size(row.reference_seeds, row.reference_test_rows),
    )  # fmt: skip
    return {
        "row": row,
        "ours": result(row.accuracy, row.accuracy_low, row.accuracy_high, *size(row.seeds_ok, row.test_rows)),
        "published": published | {"details": [source] if source else []},
        "reference": reference | {"text": reference["text"] or "not run"},
    }


def _rate(row: TableRow) -> str:
    """Such as ``0.002, of 3 tried``."""
    if row.learning_rate is None:
        return NO_VALUE
    return f"{row.learning_rate:g}" + (f", of {row.tuned} tried" if row.tuned else "")


def _sort_key(value: float | None) -> object:
    return "" if value is None else value


def inline_svg(path: Path) -> Markup:
    """The SVG element of a file, to be put into a page: without prolog and size, its identifiers made unique.

    Raises:
        LraError: the file is missing or is not SVG.
    """
    try:
        text = path.read_text(encoding="utf-8")
        text = text[text.index("<svg") :]
    except (OSError, ValueError):
        raise LraError(f"{path} is missing or is not SVG; make it with `lra plots {path.stem}`.") from None
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", text)
    head, rest = text.removeprefix("<svg").split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup(f'<svg role="img" aria-label="{path.stem.replace("_", " ")}"{head}>{rest}')
