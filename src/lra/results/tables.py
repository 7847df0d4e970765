"""The paper's tables, attentions by tasks, from the collected table (``lra tables``)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lra.results import published
from lra.results.basis import accuracy_basis, bases, cost_basis
from lra.results.comparisons import holds_over_all_tasks
from lra.results.rendering import NO_VALUE, Column, Entry, Sheet, View, write
from lra.results.rows import BASELINE, YARDSTICK, TableRow, attentions, read_rows, tasks
from lra.results.statistics import ENOUGH_SEEDS

TOO_FEW_SEEDS = (
    f"With fewer than {ENOUGH_SEEDS} seeds there are no marks: the interval of a single run covers the draw of test "
    "examples only, and another seed can change the accuracy by far more."
)
FULL_SCALES = ("paper", "modern")
"""Scales with the Arena's own data. Only their tables show accuracies published under other protocols."""
MARKS = {("better", True): " ▲", ("better", False): " △", ("worse", True): " ▼", ("worse", False): " ▽"}
"""Marks by verdict against softmax and by whether it holds over all tasks."""


def write_tables(table: Path, out: Path) -> None:
    """Write every table in every format into the folder ``out``.

    Raises:
        lra.errors.LraError: ``table`` is missing or damaged.
    """
    rows = read_rows(table)
    for build in TABLES.values():
        write(build(rows), out)


def accuracy(rows: Sequence[TableRow]) -> Sheet:
    """Test accuracy (the paper's table 1), at the paper's scale with views of the published values."""
    caption = (
        f"Test accuracy in per cent at the scale “{rows[0].scale}”: mean over seeds ± half of its 95 % interval, "
        "which covers the draw of test examples and, from two seeds on, of seeds."
    )
    if any(row.versus_softmax for row in rows):
        baseline = published.title(BASELINE)
        caption += (
            f" ▲ better and ▼ worse than {baseline} (exact attention, trained with dropout): Holm-adjusted p < 0.05 "
            "over the attentions of all tasks; △ and ▽ over those of one task only. Bold: not distinguishable from the "
            "task's highest mean."
        )
    if any(row.seeds_ok and row.seeds_ok < ENOUGH_SEEDS for row in rows):
        caption += f" {TOO_FEW_SEEDS}"
    if any(published.title(name).endswith("(yardstick)") for name in attentions(rows)):
        caption += " A yardstick is another kind of layer, not an attention."
    views = [_Spec("Accuracy", caption, "", _accuracy, average=_mean)]
    if failed := sum(row.seeds_run - row.seeds_ok for row in rows):
        runs = "1 run" if failed == 1 else f"{failed} runs"
        caption = f"Test accuracy with the {runs} that failed, counted with the accuracy of the most frequent class."
        views.append(_Spec("With failed runs", caption, "_with_failures", _with_failures, average=_mean))
    if any(row.published_accuracy is not None for row in rows):
        views += [
            _Spec(
                "Paper",
                "Accuracy in per cent, published under the paper's protocol (Chen et al. 2022, table 1"
                f"{_sources(rows, 'paper')}).",
                "_paper",
                lambda row: _number(row.published_accuracy, ".2f", 100),
                average=_mean,
            ),
            _Spec(
                "Difference to the paper",
                "Our accuracy minus the published one, in percentage points.",
                "_difference",
                lambda row: _number(row.published_difference, "+z.2f", 100),
                average=_mean,
            ),
        ]
    if rows[0].scale in FULL_SCALES and (sources := _sources(rows, "arena", "own")):
        caption = (
            "Accuracy in per cent, published under other protocols and not comparable with ours: * the Arena's own "
            f"models and steps; ** larger models and longer training{sources}."
        )
        views.append(_Spec("Other protocols", caption, "_elsewhere", _elsewhere, average=_mean))
    notes = {basis.task: basis.heading for basis in bases(rows)}
    return _sheet("accuracy", accuracy_basis(rows), rows, views, notes)


def _sources(rows: Sequence[TableRow], *protocols: str) -> str:
    """Sources of the attentions beyond the paper's with one of these protocols, each after a semicolon."""
    titles: dict[str, list[str]] = {}
    for name in attentions(rows):
        if published.protocol_elsewhere(name) in protocols:
            titles.setdefault(str(published.source_elsewhere(name)), []).append(published.title(name))
    return "".join(f"; {', '.join(names)}: {source}" for source, names in titles.items())


def _elsewhere(row: TableRow) -> Entry:
    entry = _number(published.accuracy_elsewhere(row.attention, row.task), ".2f", 100)
    mark = {"arena": " *", "own": " **"}.get(published.protocol_elsewhere(row.attention) or "", "")
    return entry if entry.value is None else dataclasses.replace(entry, text=entry.text + mark)


def _accuracy(row: TableRow) -> Entry:
    if row.accuracy is None:
        return Entry(row.status, failed=True)
    text, half = f"{100 * row.accuracy:.2f}", None
    if row.accuracy_low is not None and row.accuracy_high is not None:
        half = 50 * (row.accuracy_high - row.accuracy_low)
        text += f" ± {half:.2f}"
    if row.seeds_ok < row.seeds_run:
        text += f" ({row.seeds_ok}/{row.seeds_run} seeds)"
    if row.versus_softmax in ("better", "worse"):
        text += MARKS[row.versus_softmax, holds_over_all_tasks(row)]
    return Entry(text, round(100 * row.accuracy, 2), half_width=half, bold=row.among_best == "yes")


def _with_failures(row: TableRow) -> Entry:
    entry = _number(row.accuracy_with_failures, ".2f", 100)
    failed = row.seeds_run - row.seeds_ok
    return dataclasses.replace(entry, text=f"{entry.text} ({failed} failed)") if failed else entry


def time(rows: Sequence[TableRow]) -> Sheet:
    """Training time (the paper's table 2), and its share of exact attention's, which depends less on the machine."""

    def minutes(row: TableRow) -> Entry:
        return _measured(row, row.seconds_per_1000_steps, ".2f", 1 / 60)

    def paper_share(row: TableRow) -> Entry:
        return _ratio(*(published.seconds_per_1000_steps(name, row.task) for name in (row.attention, YARDSTICK)))

    views = [
        _Spec("Minutes", "Minutes per 1000 training steps of the paper's batch. Lowest in bold.", "", minutes,
              lowest=True, average=_mean),
        _share_view("time", rows, lambda row: row.seconds_per_1000_steps),
        _Spec("Shares in the paper", "The same shares from the paper's times (Chen et al. 2022, table 2).",
              "_paper_share", paper_share),
    ]  # fmt: skip
    return _sheet("time", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})


def memory(rows: Sequence[TableRow]) -> Sheet:
    """Memory of a training example, and the batch that fits (the paper's table 2)."""
    batches = _distinct(str(row.cost_batch) for row in rows if row.cost_batch is not None).replace(";", " or")
    memories = _distinct(f"{row.fitting_memory_gib:g} GiB" for row in rows if row.fitting_memory_gib is not None)
    views = [
        _Spec("MiB per example", "Memory in MiB that one more training example adds at the peak of a step. Lowest "
              "in bold.", "", lambda row: _measured(row, row.memory_per_example_mib, ".1f"), lowest=True),
        _Spec("Workspace", "Peak memory of a step in MiB beyond weights, optimiser state and examples, such as "
              "blocks of an attention that are computed one after the other. It does not grow with the batch.",
              "_workspace", lambda row: _measured(row, row.workspace_mib, ".1f")),
        _Spec("Measured step", f"Total peak memory of a step in MiB, with {batches or 'few'} examples. "
              "Lowest in bold.", "_step", lambda row: _measured(row, row.peak_memory_mib, ".1f"), lowest=True),
        _share_view("memory", rows, lambda row: row.memory_per_example_mib),
        _Spec("Batch that fits", f"The largest part of the paper's batch that fits in {memories or 'memory'}.",
              "_batch", lambda row: _number(row.fitting_batch, ".0f")),
        _Spec("Batch in the paper", "The part that fits in 16 GB in the paper (Chen et al. 2022, table 2).",
              "_paper_batch", lambda row: _number(published.fitting_batch(row.attention, row.task), ".0f")),
    ]  # fmt: skip
    return _sheet("memory", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})


def flops(rows: Sequence[TableRow]) -> Sheet:
    """FLOPs of the attentions: counted, and by the leading term (the paper's table 3)."""
    quantity = "Million floating-point operations of the attentions in the forward pass of one example"
    views = [
        _Spec("Counted", f"{quantity}, as counted. Lowest in bold.", "",
              lambda row: _measured(row, row.flops_attention, ".1f", 1e-6), lowest=True),
        _share_view("operations", rows, lambda row: row.flops_attention),
        _Spec("By the leading term", f"{quantity}, by the method's leading term.", "_leading",
              lambda row: _number(row.flops_formula, ".1f", 1e-6)),
    ]  # fmt: skip
    sheet = _sheet("flops", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})
    terms = View(
        "The paper's term",
        "The paper's leading term for one head (Chen et al. 2022, table 3): length n, head dimension p, features d.",
        (Column("paper", "Operations"),),
        tuple((Entry(published.leading_flops(name) or NO_VALUE),) for name in sheet.attentions),
    )
    return dataclasses.replace(sheet, views=(*sheet.views, terms))


TABLES: dict[str, Callable[[Sequence[TableRow]], Sheet]] = {
    "accuracy": accuracy,
    "time": time,
    "memory": memory,
    "flops": flops,
}


@dataclass(frozen=True)
class _Spec:
    """How to build a view, with one column per task."""

    label: str
    caption: str
    key: str
    """Suffix of the task's name in the headings of CSV files."""
    entry: Callable[[TableRow], Entry]
    """Makes the entry of a cell from its row."""
    lowest: bool = False
    """Whether the lowest number of each task is bold."""
    average: Callable[[Sequence[Entry]], Entry] | None = None
    """Makes the entry of the column of averages over tasks; None for no such column."""


def _share_view(name: str, rows: Sequence[TableRow], quantity: Callable[[TableRow], float | None]) -> _Spec:
    exact = {row.task: quantity(row) for row in rows if row.attention == YARDSTICK}
    caption = (
        f"The {name} as a share of that of exact attention without dropout ({published.title(YARDSTICK)}): below 1 is "
        f"cheaper. {published.title(BASELINE)} drops attention weights, which costs extra. No approximation does that, "
        "so costs are not compared with it."
    )
    if YARDSTICK not in attentions(rows):
        caption += f" Add `{YARDSTICK}` to the attentions of config.yaml to see the shares."
    return _Spec("Share of exact attention", caption, "_share", lambda row: _ratio(quantity(row), exact.get(row.task)))


def _sheet(name: str, caption: str, rows: Sequence[TableRow], views: Sequence[_Spec], notes: dict[str, str]) -> Sheet:
    """A sheet of attentions by tasks; ``notes`` are shown below the tasks' headings."""
    by_cell = {(row.task, row.attention): row for row in rows}

    def build(view: _Spec) -> View:
        columns = [Column(task + view.key, title, notes[title]) for task in tasks(rows) for title in [_title(task)]]
        lines = [
            [view.entry(row) if (row := by_cell.get((task, name))) else Entry(NO_VALUE) for task in tasks(rows)]
            for name in attentions(rows)
        ]
        if view.lowest:
            lines = [list(line) for line in zip(*map(_embolden, zip(*lines, strict=True)), strict=True)]
        if view.average and len(columns) > 1:
            columns.append(Column(f"average{view.key}", "Average"))
            lines = [[*line, view.average(line)] for line in lines]
        return View(view.label, view.caption, tuple(columns), tuple(map(tuple, lines)))

    return Sheet(name, caption, tuple(attentions(rows)), tuple(map(build, views)))


def _title(task: str) -> str:
    return published.task_title(task)


def _embolden(column: Sequence[Entry]) -> list[Entry]:
    """Make the lowest number of a column bold, as rounded for display; a single distinct number stays plain."""
    numbers = {entry.value for entry in column if entry.value is not None}
    lowest = min(numbers) if len(numbers) > 1 else None
    return [dataclasses.replace(entry, bold=lowest is not None and entry.value == lowest) for entry in column]


def _mean(entries: Sequence[Entry]) -> Entry:
    """Average of a line; no value if any entry has none, because averages must be over the same tasks.

    Runs and examples of different tasks are independent, so the squares of the half-widths add up.
    """
    numbers = [entry.value for entry in entries if entry.value is not None]
    if len(numbers) < len(entries):
        return Entry(NO_VALUE)
    halves = [entry.half_width for entry in entries if entry.half_width is not None]
    form = "+z.2f" if any(entry.text.startswith(("+", "−")) for entry in entries) else ".2f"
    mean = _number(sum(numbers) / len(numbers), form)
    if len(halves) < len(entries):
        return mean
    half = math.hypot(*halves) / len(halves)
    return dataclasses.replace(mean, text=f"{mean.text} ± {half:.2f}", half_width=half)


def _number(value: float | None, form: str, factor: float = 1) -> Entry:
    """An entry with a formatted number, its value rounded in the same way; no value for None."""
    if value is None:
        return Entry(NO_VALUE)
    text = f"{factor * value:{form}}"
    return Entry(text.replace("-", "−"), float(text))


def _ratio(value: float | None, to: float | None) -> Entry:
    return _number(None if value is None or not to else value / to, ".2f")


def _measured(row: TableRow, value: float | None, form: str, factor: float = 1) -> Entry:
    """A measured number, or the status of a failed measurement."""
    failed = row.measure_status not in (None, "ok")
    return Entry(str(row.measure_status), failed=True) if failed else _number(value, form, factor)


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
