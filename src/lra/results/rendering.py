"""A table of attentions in the formats people use it in: CSV, Markdown, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import io
from collections.abc import Callable
from csv import writer as csv_writer
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lra.files import write_text
from lra.results.pages import page
from lra.results.published import title

NOTHING = "–"
Best = Literal["highest", "lowest"]


@dataclass(frozen=True)
class Cell:
    """What is shown, and its number; None where there is none, ``failed`` where the text says why."""

    text: str
    value: float | None = None
    failed: bool = False


@dataclass(frozen=True)
class Column:
    """Name in the CSV file, heading for people, and which of its numbers is best."""

    key: str
    heading: str
    best: Best | None = None

    def ranks(self, cells: list[Cell]) -> list[int]:
        """1 for the best number, 2 for the second best, else 0; equal numbers rank equally, a lone one does not."""
        numbers = sorted({c.value for c in cells if c.value is not None}, reverse=self.best == "highest")
        rank = {number: place for place, number in enumerate(numbers[:2], 1)}
        ranked = self.best is not None and len(numbers) > 1
        return [rank.get(cell.value, 0) if ranked and cell.value is not None else 0 for cell in cells]


@dataclass(frozen=True)
class Sheet:
    """A table: one line of cells an attention, one cell a column."""

    name: str
    caption: str
    attentions: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[tuple[Cell, ...], ...]

    def texts(self, best: Callable[[str], str], second: Callable[[str], str]) -> list[list[str]]:
        """The texts by line, the best and second best of each column marked."""
        marks = (str, best, second)
        by_column = []
        for i, column in enumerate(self.columns):
            cells = [line[i] for line in self.lines]
            ranks = column.ranks(cells)
            by_column.append([marks[rank](cell.text) for cell, rank in zip(cells, ranks, strict=True)])
        return [list(line) for line in zip(*by_column, strict=True)]


def write(sheet: Sheet, folder: Path) -> None:
    """Write ``<folder>/<name>`` with the endings csv, md, tex and html."""
    for ending, text in (("csv", csv), ("md", markdown), ("tex", latex), ("html", html)):
        write_text(folder / f"{sheet.name}.{ending}", text(sheet))


def csv(sheet: Sheet) -> str:
    """Numbers, or the word that stands for one; empty where there is neither."""
    stream = io.StringIO()
    writer = csv_writer(stream, lineterminator="\n")
    writer.writerow(["model", "attention", *(column.key for column in sheet.columns)])
    for name, line in zip(sheet.attentions, sheet.lines, strict=True):
        writer.writerow([title(name), name, *map(_plain, line)])
    return stream.getvalue()


def _plain(cell: Cell) -> str:
    if cell.value is None:
        return "" if cell.text == NOTHING else cell.text
    return f"{cell.value:.10g}"


def markdown(sheet: Sheet) -> str:
    """A Markdown table, best in bold and second best in italics, with its caption below."""
    texts = sheet.texts(lambda text: f"**{text}**", lambda text: f"*{text}*")
    head = ["Model", *(column.heading for column in sheet.columns)]
    body = [[title(name), *line] for name, line in zip(sheet.attentions, texts, strict=True)]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    ruler = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    aligned = [
        [f"{line[0]:{widths[0]}}", *(f"{text:>{width}}" for text, width in zip(line[1:], widths[1:], strict=True))]
        for line in (head, *body)
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (aligned[0], ruler, *aligned[1:]))
    return f"{table}\n\n{sheet.caption}{_legend(sheet, 'bold', 'italics')}\n"


def latex(sheet: Sheet) -> str:
    """A booktabs ``tabular``, best in bold and second best underlined, with its caption as a comment."""
    texts = sheet.texts(lambda text: f"\\textbf{{{text}}}", lambda text: f"\\underline{{{text}}}")
    head = ["Model", *(column.heading for column in sheet.columns)]
    body = [[title(name), *line] for name, line in zip(sheet.attentions, texts, strict=True)]
    rows = [" & ".join(map(_escape, line)) + r" \\" for line in (head, *body)]
    return "\n".join(
        [
            f"% {sheet.caption}{_legend(sheet, 'bold', 'underlined')}",
            "% Needs \\usepackage{booktabs}; \\input this file in a table, if wide in \\resizebox{\\linewidth}{!}.",
            f"\\begin{{tabular}}{{l{'r' * len(sheet.columns)}}}",
            "\\toprule",
            rows[0],
            "\\midrule",
            *rows[1:],
            "\\bottomrule",
            "\\end{tabular}\n",
        ]
    )


def _escape(text: str) -> str:
    for plain, tex in {
        "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "–": "--", "−": "$-$", "n^2": "$n^2$", " ± ": r" $\pm$ ",
        "×": r"$\times$", "Δ": r"$\Delta$", " ▲": r"$^{\uparrow}$", " ▼": r"$^{\downarrow}$",
    }.items():  # fmt: skip
        text = text.replace(plain, tex)
    return text


def html(sheet: Sheet) -> str:
    """A page of its own, sortable, best in bold and second best underlined."""
    return page("table.html", sheet=sheet_for_page(sheet))


def sheet_for_page(sheet: Sheet) -> dict[str, object]:
    """What the template ``table.html`` shows of a sheet."""
    ranks = [column.ranks([line[i] for line in sheet.lines]) for i, column in enumerate(sheet.columns)]
    return {
        "name": sheet.name,
        "title": "FLOPs" if sheet.name == "flops" else sheet.name.capitalize(),
        "caption": sheet.caption + _legend(sheet, "bold", "underlined"),
        "headings": [(column.heading, False) for column in sheet.columns],
        "lines": [
            (title(name), [(cell, ranks[i][row]) for i, cell in enumerate(line)])
            for row, (name, line) in enumerate(zip(sheet.attentions, sheet.lines, strict=True))
        ],
    }


def _legend(sheet: Sheet, best: str, second: str) -> str:
    return f" Best in {best}, second best {second}." if any(column.best for column in sheet.columns) else ""
