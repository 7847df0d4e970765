"""What the collected table says, in words: every sentence is computed, none is written beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lra.results.basis import bases
from lra.results.comparisons import holds_over_all_tasks
from lra.results.cost_findings import cheapest
from lra.results.published import task_title, title
from lra.results.rows import BASELINE, TableRow, tasks
from lra.results.statistics import ENOUGH_SEEDS


@dataclass(frozen=True)
class Finding:
    """A heading and its sentences; a ``warning`` limits what the others mean."""

    heading: str
    sentences: tuple[str, ...]
    warning: bool = False


def findings(rows: Sequence[TableRow]) -> list[Finding]:
    """The findings of a collected table, warnings first."""
    by_task = [[row for row in rows if row.task == task] for task in tasks(rows)]
    found = [
        Finding("What the accuracies stand on", _data(rows), warning=True),
        Finding("How learning rates were chosen", _rates(rows), warning=True),
        Finding("How far the seeds carry", _seeds(rows), warning=True),
        Finding("What failed", _failures(rows), warning=True),
        Finding("Where there are too few runs to compare", tuple(filter(None, map(_range, by_task)))),
        Finding("Not distinguishable from the best", tuple(filter(None, map(_best, by_task)))),
        Finding(f"Against {title(BASELINE)}, beyond noise", tuple(filter(None, map(_versus_softmax, by_task)))),
        Finding(
            "Against always answering the most frequent class", tuple(filter(None, map(_versus_majority, by_task)))
        ),
        Finding("Time and memory", _costs(rows, by_task)),
        Finding("Against the published values", _published(rows)),
    ]
    return [finding for finding in found if finding.sentences]


def _data(rows: Sequence[TableRow]) -> tuple[str, ...]:
    """That tasks are not the Arena's, and that accuracy and cost belong to different sizes."""
    found = bases(rows)
    sentences = []
    if others := [basis for basis in found if not basis.arena]:
        named = "; ".join(f"{basis.task}: {basis.heading}" for basis in others)
        sentences.append(
            "These are not results on the Long Range Arena: other data or shorter sequences stand for its tasks "
            f"({named})."
        )
    if unlike := [basis for basis in found if basis.cost and not basis.comparable]:
        named = "; ".join(f"{basis.task}: {basis.cost}" for basis in unlike)
        sentences.append(
            f"Time and memory were measured at the tasks' full length, and possibly with more features ({named}), so "
            "accuracy and cost of a row do not belong to one trained model."
        )
    return tuple(sentences)


def _rates(rows: Sequence[TableRow]) -> tuple[str, ...]:
    """Whether each method had a learning rate of its own, and what the search for it took."""
    told = [row for row in rows if row.learning_rate is not None]
    tuned = [row for row in told if row.tuned]
    if not told:
        return ()
    if not tuned:
        return ("No learning rate was tuned: the methods of a task share one, and each may do better at another.",)
    tries = " or ".join(map(str, sorted({row.tuned or 0 for row in tuned})))
    seconds = sum(row.tuning_seconds or 0.0 for row in tuned)
    sentence = (
        f"For each method on each task, short runs with a seed of their own tried {tries} learning rates, and the one "
        f"with the highest dev accuracy was taken; they trained for {seconds:.0f} seconds in all."
    )
    if others := [_cell(row) for row in told if not row.tuned]:
        return (sentence, f"Not tuned, so that they do not compare with the rest: {_listed(others)}.")
    return (sentence,)


def _seeds(rows: Sequence[TableRow]) -> tuple[str, ...]:
    counts = [row.seeds_ok for row in rows if row.seeds_ok]
    if not counts or min(counts) >= ENOUGH_SEEDS:
        return ()
    least, most = min(counts), max(counts)
    runs = f"{_count(least, 'run') if least == most else f'{least} to {most} runs'} with a result"
    return (
        f"An attention has {runs} a task. Where it has fewer than {ENOUGH_SEEDS}, nothing is called better, worse or "
        "best: how much another seed would change is not known well enough. A single run shows what this one trained "
        "model does, and its interval covers the draw of test examples alone.",
        f"Give config.yaml at least {ENOUGH_SEEDS} seeds to compare methods.",
    )


def _failures(rows: Sequence[TableRow]) -> tuple[str, ...]:
    failed = [
        f"{_cell(row)}: {row.seeds_run - row.seeds_ok} of {_count(row.seeds_run, 'run')} gave no result ({row.reason})."
        for row in rows
        if row.status != "ok"
    ]
    if failed:
        failed.append(
            "Means leave these runs out; a view of the accuracy table counts them at the accuracy of the most frequent "
            "class."
        )
    unmeasured = [
        f"{_cell(row)} could not be measured: {row.measure_status} ({row.measure_reason})."
        for row in rows
        if row.measure_status not in (None, "ok")
    ]
    return (*failed, *unmeasured)


def _range(rows: Sequence[TableRow]) -> str:
    """What a task's accuracies are where there are too few runs to compare them."""
    if any(row.seeds_ok >= ENOUGH_SEEDS for row in rows):
        return ""
    shown = [(row.accuracy, row) for row in rows if row.accuracy is not None]
    if not shown:
        return f"{task_title(rows[0].task)}: no run gave a result."
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
        sentence += f"; that is all {len(compared)}, so the differences between them may be noise"
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
        chosen = [(difference, row) for difference, row in compared if row.versus_softmax == verdict]
        chosen.sort(key=lambda pair: -abs(pair[0]))
        named = [f"{title(row.attention)} ({_difference(row)})" for _, row in chosen]
        parts.append(f"{verdict}: {_listed(named)}")
    undecided = sum(row.versus_softmax == "undecided" for _, row in compared)
    return f"{name} – {'; '.join(parts)}; undecided: {undecided} of {len(compared)}."


def _difference(row: TableRow) -> str:
    """The difference in percentage points, and whether it is one over this task only."""
    return _points(row.difference or 0.0) + ("" if holds_over_all_tasks(row) else "; not over all tasks")


def _versus_majority(rows: Sequence[TableRow]) -> str:
    name = task_title(rows[0].task)
    compared = [row for row in rows if row.versus_majority]
    others = [title(row.attention) for row in compared if row.versus_majority != "better"]
    if not compared:
        return ""
    if not others:
        return f"{name}: every attention with {ENOUGH_SEEDS} or more results is better."
    if len(others) == len(compared):
        return f"{name}: none of {_count(len(compared), 'attention')} is better beyond noise."
    better = len(compared) - len(others)
    return f"{name}: {better} of {len(compared)} are better; not better beyond noise: {_listed(others)}."


def _costs(rows: Sequence[TableRow], by_task: Sequence[Sequence[TableRow]]) -> tuple[str, ...]:
    if not any(row.measured_on for row in rows):
        return ("Nothing was measured alone on the machine, so there is no claim about time or memory.",)
    return tuple(filter(None, map(cheapest, by_task)))


def _published(rows: Sequence[TableRow]) -> tuple[str, ...]:
    compared = [(row.published_difference, row) for row in rows if row.published_difference is not None]
    if not compared:
        return ()
    farthest, row = max(compared, key=lambda pair: abs(pair[0]))
    mean = 100 * sum(abs(difference) for difference, _ in compared) / len(compared)
    return (
        f"Over {_count(len(compared), 'cell')} the accuracy is {mean:.2f} percentage points from the published one on "
        f"average, at most {_points(farthest)} ({_cell(row)}).",
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
