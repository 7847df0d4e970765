"""The paper's tables from the collected one: attentions by tasks, as CSV, Markdown, LaTeX and HTML (``lra tables``)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lra.results import published
from lra.results.basis import accuracy_basis, bases, cost_basis
from lra.results.comparisons import holds_over_all_tasks
from lra.results.rendering import NOTHING, Column, Entry, Sheet, View, write
from lra.results.rows import BASELINE, YARDSTICK, TableRow, attentions, read_rows, tasks
from lra.results.statistics import ENOUGH_SEEDS

POOR_EVIDENCE = (
    f"Below {ENOUGH_SEEDS} seeds nothing is marked: the interval of a single run covers the draw of test examples "
    "alone, and another seed can move an accuracy by far more."
)
FULL_SCALES = ("paper", "modern")
"""Scales of the Arena's own data, beside which accuracies of other protocols may stand."""
MARKS = {("better", True): " ▲", ("better", False): " △", ("worse", True): " ▼", ("worse", False): " ▽"}
"""By verdict against softmax, and whether it holds over all tasks."""


def write_tables(table: Path, out: Path) -> None:
    """Write every table in every format into the folder ``out``.

    Raises:
        lra.errors.LraError: ``table`` is missing or damaged.
    """
    rows = read_rows(table)
    for build in TABLES.values():
        write(build(rows), out)


def accuracy(rows: Sequence[TableRow]) -> Sheet:
    """Test accuracy (the paper's table 1); at the paper's scale with views of the published values."""
    caption = (
        f"Test accuracy in per cent at the scale “{rows[0].scale}”: mean over seeds ± half of its 95 % interval, which "
        "covers the draw of test examples and, from two seeds on, of seeds."
    )
    if any(row.versus_softmax for row in rows):
        baseline = published.title(BASELINE)
        caption += (
            f" ▲ better and ▼ worse than {baseline} (exact attention, trained with dropout): Holm-adjusted p < 0.05 "
            "over the attentions of all tasks; △ and ▽ over those of one task only. Bold: not distinguishable from the "
            "task's highest mean."
        )
    if any(row.seeds_ok and row.seeds_ok < ENOUGH_SEEDS for row in rows):
        caption += f" {POOR_EVIDENCE}"
    if any(published.title(name).endswith("(yardstick)") for name in attentions(rows)):
        caption += " A yardstick is no attention: it shows what another kind of layer reaches."
    views = [_View("Accuracy", caption, "", _accuracy, average=_mean)]
    if failed := sum(row.seeds_run - row.seeds_ok for row in rows):
        runs = "1 run" if failed == 1 else f"{failed} runs"
        caption = f"The same with the {runs} that gave no result counted at the accuracy of the most frequent class."
        views.append(_View("With failed runs", caption, "_with_failures", _with_failures, average=_mean))
    if any(row.published_accuracy is not None for row in rows):
        views += [
            _View(
                "Paper",
                f"Published accuracy in per cent, same protocol (Chen et al. 2022, table 1{_sources(rows, 'paper')}).",
                "_paper",
                lambda row: _number(row.published_accuracy, ".2f", 100),
                average=_mean,
            ),
            _View(
                "Difference to the paper",
                "Our accuracy minus the published one, percentage points.",
                "_difference",
                lambda row: _number(row.published_difference, "+z.2f", 100),
                average=_mean,
            ),
        ]
    if rows[0].scale in FULL_SCALES and (sources := _sources(rows, "arena", "own")):
        caption = (
            "Published accuracy in per cent by other protocols, which ours cannot be held against: * the Arena's own "
            f"models and steps; ** larger models and longer training{sources}."
        )
        views.append(_View("Other protocols", caption, "_elsewhere", _elsewhere, average=_mean))
    notes = {basis.task: basis.heading for basis in bases(rows)}
    return _sheet("accuracy", accuracy_basis(rows), rows, views, notes)


def _sources(rows: Sequence[TableRow], *protocols: str) -> str:
    """The sources of the rows beyond the paper's that were trained by these protocols, each after a semicolon."""
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
    """Training time (the paper's table 2), and its share of exact attention's, which travels between machines."""

    def minutes(row: TableRow) -> Entry:
        return _measured(row, row.seconds_per_1000_steps, ".2f", 1 / 60)

    def paper_share(row: TableRow) -> Entry:
        return _ratio(*(published.seconds_per_1000_steps(name, row.task) for name in (row.attention, YARDSTICK)))

    views = [
        _View("Minutes", "Minutes per 1000 training steps of the paper's batch. Lowest in bold.", "", minutes,
              lowest=True, average=_mean),
        _share_view("time", rows, lambda row: row.seconds_per_1000_steps),
        _View("Shares in the paper", "The same shares of the paper's times (Chen et al. 2022, table 2).",
              "_paper_share", paper_share),
    ]  # fmt: skip
    return _sheet("time", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})


def memory(rows: Sequence[TableRow]) -> Sheet:
    """Memory of a training example, and the batch that fits (the paper's table 2)."""
    batches = _distinct(str(row.cost_batch) for row in rows if row.cost_batch is not None).replace(";", " or")
    memories = _distinct(f"{row.fitting_memory_gib:g} GiB" for row in rows if row.fitting_memory_gib is not None)
    views = [
        _View("MiB an example", "Memory in MiB that one more training example takes at the peak of a step. Lowest in "
              "bold.", "", lambda row: _measured(row, row.memory_per_example_mib, ".1f"), lowest=True),
        _View("Workspace", "Memory in MiB that a step holds besides weights, the optimiser's state and examples, such "
              "as blocks of an attention that are computed one after the other. It does not grow with the batch.",
              "_workspace", lambda row: _measured(row, row.workspace_mib, ".1f")),
        _View("A measured step", f"All memory in MiB that a step holds at its peak, with {batches or 'few'} examples. "
              "Lowest in bold.", "_step", lambda row: _measured(row, row.peak_memory_mib, ".1f"), lowest=True),
        _share_view("memory", rows, lambda row: row.memory_per_example_mib),
        _View("Batch that fits", f"The largest piece of the paper's batch that fits in {memories or 'memory'}.",
              "_batch", lambda row: _number(row.fitting_batch, ".0f")),
        _View("Batch in the paper", "The piece that fitted in 16 GB (Chen et al. 2022, table 2).",
              "_paper_batch", lambda row: _number(published.fitting_batch(row.attention, row.task), ".0f")),
    ]  # fmt: skip
    return _sheet("memory", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})


def flops(rows: Sequence[TableRow]) -> Sheet:
    """FLOPs of the attentions: counted, and by the leading term (the paper's table 3)."""
    what = "Million floating-point operations of the attentions in one example's forward pass"
    views = [
        _View("Counted", f"{what}, as counted. Lowest in bold.", "",
              lambda row: _measured(row, row.flops_attention, ".1f", 1e-6), lowest=True),
        _share_view("operations", rows, lambda row: row.flops_attention),
        _View("By the leading term", f"{what}, by the method's leading term.", "_leading",
              lambda row: _number(row.flops_formula, ".1f", 1e-6)),
    ]  # fmt: skip
    sheet = _sheet("flops", cost_basis(rows), rows, views, {basis.task: basis.cost for basis in bases(rows)})
    terms = View(
        "The paper's term",
        "Leading term of one head in the paper (Chen et al. 2022, table 3): length n, head dimension p, d features.",
        (Column("paper", "Operations"),),
        tuple((Entry(published.leading_flops(name) or NOTHING),) for name in sheet.attentions),
    )
    return dataclasses.replace(sheet, views=(*sheet.views, terms))


TABLES: dict[str, Callable[[Sequence[TableRow]], Sheet]] = {
    "accuracy": accuracy,
    "time": time,
    "memory": memory,
    "flops": flops,
}


@dataclass(frozen=True)
class _View:
    """What a view shows of every task: ``key`` follows the task's in CSV files, ``entry`` makes it from a row."""

    label: str
    caption: str
    key: str
    entry: Callable[[TableRow], Entry]
    lowest: bool = False
    """Whether the lowest numbers of a task are bold."""
    average: Callable[[Sequence[Entry]], Entry] | None = None


def _share_view(what: str, rows: Sequence[TableRow], quantity: Callable[[TableRow], float | None]) -> _View:
    exact = {row.task: quantity(row) for row in rows if row.attention == YARDSTICK}
    caption = (
        f"The {what} as a share of exact attention's without dropout ({published.title(YARDSTICK)}): below 1 is "
        f"cheaper. {published.title(BASELINE)} drops attention weights, which costs extra and which no approximation "
        "does, so it is no yardstick for cost."
    )
    if YARDSTICK not in attentions(rows):
        caption += f" Add `{YARDSTICK}` to the attentions of config.yaml to see them."
    return _View("Share of exact attention", caption, "_share", lambda row: _ratio(quantity(row), exact.get(row.task)))


def _sheet(name: str, caption: str, rows: Sequence[TableRow], views: Sequence[_View], notes: dict[str, str]) -> Sheet:
    """Attentions by tasks, then the average over tasks; ``notes`` stand below the tasks' headings."""
    by_cell = {(row.task, row.attention): row for row in rows}

    def build(view: _View) -> View:
        columns = [Column(task + view.key, title, notes[title]) for task in tasks(rows) for title in [_title(task)]]
        lines = [
            [view.entry(row) if (row := by_cell.get((task, name))) else Entry(NOTHING) for task in tasks(rows)]
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
    """A column with its lowest number bold, by the digits shown; a lone number is not."""
    numbers = {entry.value for entry in column if entry.value is not None}
    lowest = min(numbers) if len(numbers) > 1 else None
    return [dataclasses.replace(entry, bold=lowest is not None and entry.value == lowest) for entry in column]


def _mean(entries: Sequence[Entry]) -> Entry:
    """Average of a line; nothing where one has no number, as that would compare different tasks.

    Runs and examples of different tasks are independent, so the squares of the half-widths add.
    """
    numbers = [entry.value for entry in entries if entry.value is not None]
    if len(numbers) < len(entries):
        return Entry(NOTHING)
    halves = [entry.half_width for entry in entries if entry.half_width is not None]
    form = "+z.2f" if any(entry.text.startswith(("+", "−")) for entry in entries) else ".2f"
    mean = _number(sum(numbers) / len(numbers), form)
    if len(halves) < len(entries):
        return mean
    half = math.hypot(*halves) / len(halves)
    return dataclasses.replace(mean, text=f"{mean.text} ± {half:.2f}", half_width=half)


def _number(value: float | None, form: str, factor: float = 1) -> Entry:
    """A number as it is shown, and with the digits shown; nothing where there is none."""
    if value is None:
        return Entry(NOTHING)
    text = f"{factor * value:{form}}"
    return Entry(text.replace("-", "−"), float(text))


def _ratio(value: float | None, to: float | None) -> Entry:
    return _number(None if value is None or not to else value / to, ".2f")


def _measured(row: TableRow, value: float | None, form: str, factor: float = 1) -> Entry:
    """A measured number, or why there is none."""
    failed = row.measure_status not in (None, "ok")
    return Entry(str(row.measure_status), failed=True) if failed else _number(value, form, factor)


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))
