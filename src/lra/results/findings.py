"""Findings of the collected table in words; every sentence is computed from its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lra.results.basis import bases
from lra.results.comparisons import holds_over_all_tasks
from lra.results.cost_findings import cost_sentence
from lra.results.published import task_title, title
from lra.results.rows import BASELINE, TableRow, tasks
from lra.results.statistics import ENOUGH_SEEDS


@dataclass(frozen=True)
class Finding:
    """A heading and its sentences; a ``warning`` limits how the other findings may be read."""

    heading: str
    sentences: tuple[str, ...]
    warning: bool = False


def findings(rows: Sequence[TableRow]) -> list[Finding]:
    """The findings of a collected table, warnings first."""
    by_task = [[row for row in rows if row.task == task] for task in tasks(rows)]
    candidates = [
        Finding("Data and sizes", _data(rows), warning=True),
        Finding("Choice of learning rates", _rates(rows), warning=True),
        Finding("Number of seeds", _seeds(rows), warning=True),
        Finding("Failures", _failures(rows), warning=True),
        Finding("Tasks with too few runs to compare", tuple(filter(None, map(_range, by_task)))),
        Finding("Not distinguishable from the best", tuple(filter(None, map(_best, by_task)))),
        Finding(f"Significant differences to {title(BASELINE)}", tuple(filter(None, map(_versus_softmax, by_task)))),
        Finding("Compared with the most frequent class", tuple(filter(None, map(_versus_majority, by_task)))),
        Finding("Time and memory", _costs(rows, by_task)),
        Finding("Compared with published values", _published(rows)),
    ]
    return [finding for finding in candidates if finding.sentences]


def _data(rows: Sequence[TableRow]) -> tuple[str, ...]:
    """Warnings of data other than the Arena's, and of accuracy and cost at different sizes."""
    task_bases = bases(rows)
    sentences = []
    if others := [basis for basis in task_bases if not basis.arena]:
        named = "; ".join(f"{basis.task}: {basis.heading}" for basis in others)
        sentences.append(
            "These are not results on the Long Range Arena: its tasks are replaced by other data or shorter sequences "
            f"({named})."
        )
    if unlike := [basis for basis in task_bases if basis.cost and not basis.comparable]:
        named = "; ".join(f"{basis.task}: {basis.cost}" for basis in unlike)
        sentences.append(
            f"Time and memory were measured at the tasks' full length and possibly with more features ({named}), so "
            "accuracy and cost of a row do not belong to one trained model."
        )
    return tuple(sentences)


def _rates(rows: Sequence[TableRow]) -> tuple[str, ...]:
    """Whether each method has a tuned learning rate, and how long the search took."""
    known = [row for row in rows if row.learning_rate is not None]
    tuned = [row for row in known if row.tuned]
    if not known:
        return ()
    if not tuned:
        return ("Learning rates were not tuned: the methods of a task share one, and each may do better at another.",)
    tries = " or ".join(map(str, sorted({row.tuned or 0 for row in tuned})))
    seconds = sum(row.tuning_seconds or 0.0 for row in tuned)
    sentence = (
        f"Each method tried {tries} learning rates on each task, in short runs with a separate seed, and has the one "
        f"with the highest dev accuracy. These runs trained for {seconds:.0f} seconds in total."
    )
    if others := [_cell(row) for row in known if not row.tuned]:
        return (sentence, f"Not tuned, and so not comparable with the other rows: {_listed(others)}.")
    return (sentence,)


def _seeds(rows: Sequence[TableRow]) -> tuple[str, ...]:
    counts = [row.seeds_ok for row in rows if row.seeds_ok]
    if not counts or min(counts) >= ENOUGH_SEEDS:
        return ()
    least, most = min(counts), max(counts)
    runs = _count(least, "finished run") if least == most else f"{least} to {most} finished runs"
    return (
        f"Each attention has {runs} per task. With fewer than {ENOUGH_SEEDS}, no method is called better, worse or "
        "best, because too little is known about how results vary with the seed. The interval of a single run covers "
        "the draw of test examples only.",
        f"Set at least {ENOUGH_SEEDS} seeds in config.yaml to compare methods.",
    )


def _failures(rows: Sequence[TableRow]) -> tuple[str, ...]:
    failed = [
        f"{_cell(row)}: {row.seeds_run - row.seeds_ok} of {_count(row.seeds_run, 'run')} failed ({row.reason})."
        for row in rows
        if row.status != "ok"
    ]
    if failed:
        failed.append(
            "Means leave these runs out. The view “With failed runs” of the accuracy table counts them at the accuracy "
            "of the most frequent class."
        )
    unmeasured = [
        f"{_cell(row)} could not be measured: {row.measure_status} ({row.measure_reason})."
        for row in rows
        if row.measure_status not in (None, "ok")
    ]
    return (*failed, *unmeasured)


def _range(rows: Sequence[TableRow]) -> str:
    """The range of a task's accuracies if there are too few runs to compare them, else an empty text."""
    if any(row.seeds_ok >= ENOUGH_SEEDS for row in rows):
        return ""
    shown = [(row.accuracy, row) for row in rows if row.accuracy is not None]
    if not shown:
        return f"{task_title(rows[0].task)}: all runs failed."
    accuracies = [accuracy for accuracy, _ in shown]
    sentence = f"{task_title(rows[0].task)}: accuracies from {_percent(min(accuracies))} to {_percent(max(accuracies))}"
    majority = rows[0].majority_accuracy
    if majority is not None:
        above = sum(row.accuracy_low is not None and row.accuracy_low > majority for _, row in shown)
        sentence += (
            f"; the most frequent class alone gives {_percent(majority)}, and the 95\u00a0% "
            f"intervals of {above} of {len(shown)} attentions lie above that"
        )
    return f"{sentence}."


def _best(rows: Sequence[TableRow]) -> str:
    compared = [row for row in rows if row.among_best]
    best = [(row.accuracy, row) for row in compared if row.among_best == "yes" and row.accuracy is not None]
    best.sort(key=lambda pair: -pair[0])
    if not best:
        return ""
    named = ", ".join(f"{title(row.attention)} ({_percent(accuracy)})" for accuracy, row in best)
    sentence = f"{task_title(rows[0].task)}: {named}"
    if len(best) == len(compared):
        sentence += f"; these are all {len(compared)} compared attentions, so their differences may be noise"
    majority = best[0][1].majority_accuracy
    if majority is not None:
        sentence += f"; the most frequent class alone gives {_percent(majority)}"
    return f"{sentence}."


def _versus_softmax(rows: Sequence[TableRow]) -> str:
    name = task_title(rows[0].task)
    compared = [(row.difference, row) for row in rows if row.difference is not None and row.versus_softmax]
    if not compared:
        return ""
    parts = []
    for verdict in ("better", "worse"):
        cells = [(difference, row) for difference, row in compared if row.versus_softmax == verdict]
        cells.sort(key=lambda pair: -abs(pair[0]))
        named = [f"{title(row.attention)} ({_difference(row)})" for _, row in cells]
        parts.append(f"{verdict}: {_listed(named)}")
    undecided = sum(row.versus_softmax == "undecided" for _, row in compared)
    return f"{name} – {'; '.join(parts)}; undecided: {undecided} of {len(compared)}."


def _difference(row: TableRow) -> str:
    """The difference in percentage points, marked if it is significant over this task only."""
    return _points(row.difference or 0.0) + ("" if holds_over_all_tasks(row) else "; not over all tasks")


def _versus_majority(rows: Sequence[TableRow]) -> str:
    name = task_title(rows[0].task)
    compared = [row for row in rows if row.versus_majority]
    others = [title(row.attention) for row in compared if row.versus_majority != "better"]
    if not compared:
        return ""
    if not others:
        return f"{name}: every attention with {ENOUGH_SEEDS} or more finished runs is better."
    if len(others) == len(compared):
        return f"{name}: none of {_count(len(compared), 'attention')} is significantly better."
    better = len(compared) - len(others)
    return f"{name}: {better} of {len(compared)} are better; not significantly better: {_listed(others)}."


def _costs(rows: Sequence[TableRow], by_task: Sequence[Sequence[TableRow]]) -> tuple[str, ...]:
    if not any(row.measured_on for row in rows):
        return ("Cost was not measured alone on the machine, so nothing is claimed about time or memory.",)
    return tuple(filter(None, map(cost_sentence, by_task)))


def _published(rows: Sequence[TableRow]) -> tuple[str, ...]:
    compared = [(row.published_difference, row) for row in rows if row.published_difference is not None]
    if not compared:
        return ()
    farthest, row = max(compared, key=lambda pair: abs(pair[0]))
    mean = 100 * sum(abs(difference) for difference, _ in compared) / len(compared)
    return (
        f"Over {_count(len(compared), 'cell')}, accuracy differs from the published one by {mean:.2f} percentage "
        f"points on average and by at most {_points(farthest)} ({_cell(row)}).",
    )


def _cell(row: TableRow) -> str:
    return f"{title(row.attention)} on {task_title(row.task)}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u00a0%"


def _points(difference: float) -> str:
    return f"{100 * difference:+z.2f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
