"""Render a table of attentions as CSV, Markdown, LaTeX (booktabs) and HTML.

A table has one or more views, such as times, shares of exact attention's time, and the paper's shares. An HTML page
shows one view at a time, Markdown and LaTeX show them one below the other, and CSV has all columns side by side.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from csv import writer as csv_writer
from dataclasses import dataclass
from pathlib import Path

from lra.files import write_text
from lra.results.pages import page
from lra.results.published import title

NO_VALUE = "–"
"""Text of an entry without a value."""


@dataclass(frozen=True)
class Entry:
    """One entry of a table."""

    text: str
    value: float | None = None
    """The number that ``text`` shows, if it shows one."""
    failed: bool = False
    """Whether ``text`` says why there is no number."""
    half_width: float | None = None
    """Half of the number's 95 % interval."""
    bold: bool = False
    """Whether the entry is among the best of its column, as the caption defines it."""


@dataclass(frozen=True)
class Column:
    """Name in the CSV file, heading elsewhere, and a note that HTML pages show below the heading."""

    key: str
    heading: str
    note: str = ""


@dataclass(frozen=True)
class View:
    """One view of a table: a line per attention, with an entry per column."""

    label: str
    caption: str
    columns: tuple[Column, ...]
    lines: tuple[tuple[Entry, ...], ...]

    def texts(self, bold: Callable[[str], str]) -> list[list[str]]:
        """The texts of each line; ``bold`` marks up those of bold entries."""
        return [[bold(entry.text) if entry.bold else entry.text for entry in line] for line in self.lines]


@dataclass(frozen=True)
class Sheet:
    """A table with its views; ``caption`` holds for all of them."""

    name: str
    caption: str
    attentions: tuple[str, ...]
    views: tuple[View, ...]


def write(sheet: Sheet, folder: Path) -> None:
    """Write ``<folder>/<name>.csv``, ``.md``, ``.tex`` and ``.html``."""
    for ending, text in (("csv", csv), ("md", markdown), ("tex", latex), ("html", html)):
        write_text(folder / f"{sheet.name}.{ending}", text(sheet))


def csv(sheet: Sheet) -> str:
    """CSV with numbers, or a word such as ``diverged``; empty if there is neither."""
    stream = io.StringIO()
    writer = csv_writer(stream, lineterminator="\n")
    writer.writerow(["model", "attention", *(column.key for view in sheet.views for column in view.columns)])
    for i, name in enumerate(sheet.attentions):
        writer.writerow([title(name), name, *(_plain(entry) for view in sheet.views for entry in view.lines[i])])
    return stream.getvalue()


def _plain(entry: Entry) -> str:
    if entry.value is None:
        return "" if entry.text == NO_VALUE else entry.text
    return f"{entry.value:.10g}"


def markdown(sheet: Sheet) -> str:
    """A Markdown table per view, with the captions below."""
    tables = []
    for view in sheet.views:
        label = f"**{view.label}**\n\n" if len(sheet.views) > 1 else ""
        tables.append(f"{label}{_markdown_table(sheet, view)}\n\n{view.caption}\n")
    return "\n".join(tables) + f"\n{sheet.caption}\n"


def _markdown_table(sheet: Sheet, view: View) -> str:
    head = ["Model", *(column.heading for column in view.columns)]
    texts = view.texts(lambda text: f"**{text}**")
    body = [[title(name), *line] for name, line in zip(sheet.attentions, texts, strict=True)]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    ruler = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    aligned = [
        [f"{line[0]:{widths[0]}}", *(f"{text:>{width}}" for text, width in zip(line[1:], widths[1:], strict=True))]
        for line in (head, *body)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], ruler, *aligned[1:]))


def latex(sheet: Sheet) -> str:
    """A booktabs ``tabular`` per view, with the captions as comments."""
    lines = [f"% {sheet.caption}", "% Needs \\usepackage{booktabs}; \\input this file in a table."]
    for view in sheet.views:
        head = ["Model", *(column.heading for column in view.columns)]
        texts = view.texts(lambda text: f"\\textbf{{{text}}}")
        body = [[title(name), *line] for name, line in zip(sheet.attentions, texts, strict=True)]
        rows = [" & ".join(map(_escape, line)) + r" \\" for line in (head, *body)]
        lines += [
            "",
            f"% {view.label}: {view.caption}",
            f"\\begin{{tabular}}{{l{'r' * len(view.columns)}}}",
            "\\toprule",
        ]
        lines += [rows[0], "\\midrule", *rows[1:], "\\bottomrule", "\\end{tabular}"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    for plain, tex in {
        "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "–": "--", "−": "$-$", "n^2": "$n^2$", " ± ": r" $\pm$ ",
        " ▲": r"$^{\uparrow\uparrow}$", " ▼": r"$^{\downarrow\downarrow}$",
        " △": r"$^{\uparrow}$", " ▽": r"$^{\downarrow}$",
    }.items():  # fmt: skip
        text = text.replace(plain, tex)
    return text


def html(sheet: Sheet) -> str:
    """A self-contained page: a sortable table with buttons to switch views."""
    return page("table.html", sheet=sheet_for_page(sheet))


def sheet_for_page(sheet: Sheet) -> dict[str, object]:
    """Values for the macro ``show`` of the template ``sheet.html``."""
    return {
        "name": sheet.name.replace(" ", "-"),
        "title": "FLOPs" if sheet.name == "flops" else sheet.name.capitalize(),
        "caption": sheet.caption,
        "views": [
            {
                "id": f"{sheet.name.replace(' ', '-')}-{number}",
                "label": view.label,
                "caption": view.caption,
                "columns": view.columns,
                "lines": [(title(name), line) for name, line in zip(sheet.attentions, view.lines, strict=True)],
            }
            for number, view in enumerate(sheet.views, 1)
        ],
    }
