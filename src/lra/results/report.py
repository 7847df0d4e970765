"""The report: one HTML page with findings, tables, figures and provenance that needs nothing but itself."""

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
from lra.results.findings import findings
from lra.results.pages import page
from lra.results.provenance import provenance
from lra.results.published import task_title, title
from lra.results.reading import read_runs
from lra.results.rendering import NOTHING, sheet_for_page
from lra.results.rows import BASELINE, TableRow, attentions, read_rows, tasks
from lra.results.tables import TABLES


def write_report(table: Path, metrics: Sequence[Path], figures: Sequence[Path], out: Path) -> None:
    """Write the report.

    Args:
        table: what ``lra collect`` wrote.
        metrics: ``metrics.json`` of every run, for the provenance.
        figures: SVG files of the figures that are shown, in order.
        out: the HTML file.

    Raises:
        LraError: a file is missing or damaged.
    """
    rows = read_rows(table)
    measured = any(row.measure_status for row in rows)
    text = page(
        "report.html",
        title=f"Self-attentions compared, scale “{rows[0].scale}”",
        summary=_summary(rows),
        bases=bases(rows),
        measured=measured,
        baseline=title(BASELINE),
        findings=findings(rows),
        sheets=[sheet_for_page(build(rows)) for name, build in TABLES.items() if name == "accuracy" or measured],
        figures=[(path.stem, CAPTIONS.get(path.stem, path.stem), inline_svg(path)) for path in figures],
        cells=[_cell(row) for row in rows],
        provenance=provenance(read_runs(metrics)),
        titles={name: title(name) for name in attentions(rows)},
        task_titles={name: task_title(name) for name in tasks(rows)},
    )
    write_text(out, text)


def _summary(rows: Sequence[TableRow]) -> str:
    counts = {"attention": len(attentions(rows)), "task": len(tasks(rows)), "run": sum(row.seeds_run for row in rows)}
    listed = ", ".join(f"{number} {noun}{'s' if number != 1 else ''}" for noun, number in counts.items())
    return f"{listed}, of which {sum(row.seeds_ok for row in rows)} gave a result."


def _cell(row: TableRow) -> dict[str, Any]:
    """A row of the table of all cells: texts, or pairs of a text and the number it is sorted by."""

    def number(value: float | None, form: str, factor: float = 1) -> tuple[str, object]:
        return (NOTHING, "") if value is None else (f"{factor * value:{form}}".replace("-", "−"), value)

    def probability(value: float | None) -> tuple[str, object]:
        return ("< 0.001", value) if value is not None and value < 0.001 else number(value, ".3f")

    def interval(low: float | None, high: float | None, form: str) -> str:
        return (
            NOTHING if low is None or high is None else f"{100 * low:{form}} to {100 * high:{form}}".replace("-", "−")
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


def _rate(row: TableRow) -> str:
    """Such as ``0.002, of 3 tried``."""
    if row.learning_rate is None:
        return NOTHING
    return f"{row.learning_rate:g}" + (f", of {row.tuned} tried" if row.tuned else "")


def _sort_key(value: float | None) -> object:
    return "" if value is None else value


def inline_svg(path: Path) -> Markup:
    """An SVG file to put into a page: without its prolog and size, and with identifiers that no other figure uses.

    Raises:
        LraError: it is missing or no SVG.
    """
    try:
        text = path.read_text(encoding="utf-8")
        text = text[text.index("<svg") :]
    except (OSError, ValueError):
        raise LraError(f"{path} is not there or is no SVG; make it with `lra plots {path.stem}`.") from None
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{path.stem}-", text)
    head, rest = text.removeprefix("<svg").split(">", 1)
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    return Markup(f'<svg role="img" aria-label="{path.stem.replace("_", " ")}"{head}>{rest}')
