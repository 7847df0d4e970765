"""The paper's tables from the collected one: attentions by tasks, as CSV, Markdown, LaTeX and HTML (``lra tables``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lra.results import published
from lra.results.rendering import NOTHING, Best, Cell, Column, Sheet, write
from lra.results.rows import BASELINE, Row, attentions, read_rows, tasks


def write_tables(table: Path, out: Path) -> None:
    """Write every table in every format into the folder ``out``.

    Raises:
        lra.errors.LraError: ``table`` is missing or damaged.
    """
    rows = read_rows(table)
    for build in TABLES.values():
        write(build(rows), out)


def accuracy(rows: Sequence[Row]) -> Sheet:
    """Test accuracy (the paper's table 1), at the paper's scale with the published values beside it."""
    values = [_Value("", "", _accuracy, "highest", average=True)]
    caption = (
        f"Test accuracy in per cent at the scale “{rows[0].scale}”: mean ± standard deviation over seeds. ▲ "
        f"better and ▼ worse than {published.title(BASELINE)} beyond noise (Holm-adjusted p < 0.05 over the attentions "
        "of a task)."
    )
    if any(row.noise == "examples" for row in rows):
        caption += " With one seed that is the noise of test examples alone; another seed may decide otherwise."
    if any(row.published_accuracy is not None for row in rows):
        values += [
            _Value("_paper", "paper", lambda row: _number(row.published_accuracy, ".2f", 100), average=True),
            _Value("_difference", "Δ", lambda row: _number(row.published_difference, "+z.2f", 100), average=True),
        ]
        caption += " paper: the published value; Δ: ours minus that, in percentage points."
    return _sheet("accuracy", caption, rows, values)


def _accuracy(row: Row) -> Cell:
    if row.accuracy is None:
        return Cell(row.status, failed=True)
    text = f"{100 * row.accuracy:.2f}"
    if row.accuracy_std is not None:
        text += f" ± {100 * row.accuracy_std:.2f}"
    if row.seeds_ok < row.seeds_run:
        text += f" ({row.seeds_ok} of {row.seeds_run} seeds)"
    mark = {"better": " ▲", "worse": " ▼"}.get(row.versus_softmax or "", "")
    return Cell(text + mark, round(100 * row.accuracy, 2))


def time(rows: Sequence[Row]) -> Sheet:
    """Training time (the paper's table 2), and its ratio to that of softmax, which travels between machines."""
    baseline = {row.task: row.seconds_per_1000_steps for row in rows if row.attention == BASELINE}

    def ratio(row: Row) -> Cell:
        return _ratio(row.seconds_per_1000_steps, baseline.get(row.task))

    def paper_ratio(row: Row) -> Cell:
        return _ratio(*(published.seconds_per_1000_steps(name, row.task) for name in (row.attention, BASELINE)))

    values = [
        _Value("", "", lambda row: _measured(row, row.seconds_per_1000_steps, ".2f", 1 / 60), "lowest", average=True),
        _Value("_ratio", "×", ratio),
        _Value("_paper_ratio", "paper ×", paper_ratio),
    ]
    caption = (
        "Minutes per 1000 training steps of the paper's batch at the task's full length, measured alone on the machine"
        f"{_machines(rows)}. ×: as a multiple of {published.title(BASELINE)}; paper ×: that multiple in the paper."
    )
    return _sheet("time", caption, rows, values)


def memory(rows: Sequence[Row]) -> Sheet:
    """Memory of a training example, and the batch that fits (the paper's table 2)."""
    values = [
        _Value("", "", lambda row: _measured(row, row.memory_per_example_mib, ".1f"), "lowest"),
        _Value("_batch", "batch", lambda row: _number(row.fitting_batch, ".0f")),
        _Value("_paper_batch", "paper", lambda row: _number(published.fitting_batch(row.attention, row.task), ".0f")),
    ]
    memories = _distinct(f"{row.fitting_memory_gib:g} GiB" for row in rows if row.fitting_memory_gib is not None)
    caption = (
        "Memory in MiB that one more training example of the task's full length takes at the peak of a step"
        f"{_machines(rows)}. batch: the largest piece of the paper's batch that fits in "
        f"{memories or 'memory'}; paper: the published one."
    )
    return _sheet("memory", caption, rows, values)


def flops(rows: Sequence[Row]) -> Sheet:
    """FLOPs of the attentions: counted, and by the leading term (the paper's table 3)."""
    values = [
        _Value("", "", lambda row: _measured(row, row.flops_attention, ".1f", 1e-6), "lowest"),
        _Value("_leading", "leading", lambda row: _number(row.flops_formula, ".1f", 1e-6)),
    ]
    caption = (
        "Million floating-point operations of the attentions in one example's forward pass at the task's full length, "
        "as counted. leading: the same by the method's leading term. Paper: its leading term of one head, for length "
        "n, head dimension p and d features."
    )
    sheet = _sheet("flops", caption, rows, values)
    terms = [Cell(published.leading_flops(name) or NOTHING) for name in sheet.attentions]
    return dataclasses.replace(
        sheet,
        columns=(*sheet.columns, Column("paper", "Paper")),
        lines=tuple((*line, term) for line, term in zip(sheet.lines, terms, strict=True)),
    )


TABLES: dict[str, Callable[[Sequence[Row]], Sheet]] = {
    "accuracy": accuracy,
    "time": time,
    "memory": memory,
    "flops": flops,
}


@dataclass(frozen=True)
class _Value:
    """What a table shows of every task: ``key`` and ``heading`` follow the task's, ``cell`` makes it from a row."""

    key: str
    heading: str
    cell: Callable[[Row], Cell]
    best: Best | None = None
    average: bool = False

    def column(self, key: str, title: str) -> Column:
        return Column(key + self.key, f"{title} {self.heading}".strip(), self.best)


def _sheet(name: str, caption: str, rows: Sequence[Row], values: Sequence[_Value]) -> Sheet:
    """Attentions by tasks, then averages over tasks."""
    averaged = [value for value in values if value.average and len(tasks(rows)) > 1]
    columns = [value.column(task, published.task_title(task)) for task in tasks(rows) for value in values]
    columns += [value.column("average", "Average") for value in averaged]
    by_cell = {(row.task, row.attention): row for row in rows}
    lines = []
    for attention in attentions(rows):
        cells = {
            (task, value): value.cell(row) if (row := by_cell.get((task, attention))) else Cell(NOTHING)
            for task in tasks(rows)
            for value in values
        }
        means = [_mean([cells[task, value] for task in tasks(rows)]) for value in averaged]
        lines.append((*cells.values(), *means))
    return Sheet(name, caption, tuple(attentions(rows)), tuple(columns), tuple(lines))


def _mean(cells: Sequence[Cell]) -> Cell:
    """Average of a line's cells; nothing where one has no number, as that would compare different tasks."""
    numbers = [cell.value for cell in cells if cell.value is not None]
    if len(numbers) < len(cells):
        return Cell(NOTHING)
    signed = any(cell.text.startswith(("+", "−")) for cell in cells)
    return _number(sum(numbers) / len(numbers), "+z.2f" if signed else ".2f")


def _number(value: float | None, form: str, factor: float = 1) -> Cell:
    """A number as it is shown, and with the digits shown; nothing where there is none."""
    if value is None:
        return Cell(NOTHING)
    text = f"{factor * value:{form}}"
    return Cell(text.replace("-", "−"), float(text))


def _ratio(value: float | None, to: float | None) -> Cell:
    return _number(None if value is None or not to else value / to, ".2f")


def _measured(row: Row, value: float | None, form: str, factor: float = 1) -> Cell:
    """A measured number, or why there is none."""
    failed = row.measure_status not in (None, "ok")
    return Cell(str(row.measure_status), failed=True) if failed else _number(value, form, factor)


def _machines(rows: Sequence[Row]) -> str:
    machines = _distinct(row.measured_on for row in rows if row.measured_on)
    return f" ({machines})" if machines else ""


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
