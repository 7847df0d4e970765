"""What the collected table says, in words: every sentence is computed, none is written beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lra.results.published import task_title, title
from lra.results.rows import BASELINE, Row, tasks
from lra.results.statistics import ENOUGH_SEEDS


@dataclass(frozen=True)
class Finding:
    """A heading and its sentences; a ``warning`` limits what the others mean."""

    heading: str
    sentences: tuple[str, ...]
    warning: bool = False


def findings(rows: Sequence[Row]) -> list[Finding]:
    """The findings of a collected table, warnings first."""
    by_task = [[row for row in rows if row.task == task] for task in tasks(rows)]
    found = [
        Finding("How far the seeds carry", _seeds(rows), warning=True),
        Finding("What failed", _failures(rows), warning=True),
        Finding("Best on each task", tuple(map(_best, by_task))),
        Finding(f"Against {title(BASELINE)}, beyond noise", tuple(map(_versus_softmax, by_task))),
        Finding("Against always answering the most frequent class", tuple(map(_versus_majority, by_task))),
        Finding("Time and memory", _costs(rows, by_task)),
        Finding("Against the published values", _published(rows)),
    ]
    return [finding for finding in found if finding.sentences]


def _seeds(rows: Sequence[Row]) -> tuple[str, ...]:
    counts = [row.seeds_ok for row in rows if row.seeds_ok]
    if not counts or min(counts) >= ENOUGH_SEEDS:
        return ()
    least, most = min(counts), max(counts)
    runs = f"{_count(least, 'run') if least == most else f'{least} to {most} runs'} with a result"
    if least == 1:
        return (
            f"An attention has {runs} a task. What is called better or worse below holds for these trained models, "
            "beyond the noise of the test examples; how much another seed would change is not known. Give config.yaml "
            f"at least {ENOUGH_SEEDS} seeds for claims about methods.",
        )
    return (
        f"An attention has {runs} a task, too few to know well how results vary from seed to seed: only large "
        f"differences can be told from noise. Give config.yaml at least {ENOUGH_SEEDS} seeds.",
    )


def _failures(rows: Sequence[Row]) -> tuple[str, ...]:
    failed = [
        f"{_cell(row)}: {row.seeds_run - row.seeds_ok} of {_count(row.seeds_run, 'run')} gave no result ({row.reason})."
        for row in rows
        if row.status != "ok"
    ]
    unmeasured = [
        f"{_cell(row)} could not be measured: {row.measure_status} ({row.measure_reason})."
        for row in rows
        if row.measure_status not in (None, "ok")
    ]
    return (*failed, *unmeasured)


def _best(rows: Sequence[Row]) -> str:
    name = task_title(rows[0].task)
    ranked = sorted(((row.accuracy, row) for row in rows if row.accuracy is not None), key=lambda pair: -pair[0])
    if not ranked:
        return f"{name}: no run gave a result."
    places: dict[str, list[Row]] = {}  # by the digits shown, as in the tables
    for accuracy, row in ranked:
        places.setdefault(_percent(accuracy), []).append(row)
    (first, best), *others = places.items()
    sentence = f"{name}: {_tied(best)} with {first}"
    if len(best) == 1 and best[0].accuracy_low is not None and best[0].accuracy_high is not None:
        sentence += f" (95\u00a0% interval {_percent(best[0].accuracy_low)} to {_percent(best[0].accuracy_high)})"
    if others:
        second, followers = others[0]
        sentence += f", before {_tied(followers)} with {second}"
    if best[0].majority_accuracy is not None:
        sentence += f"; the most frequent class alone gives {_percent(best[0].majority_accuracy)}"
    return f"{sentence}."


def _versus_softmax(rows: Sequence[Row]) -> str:
    name = task_title(rows[0].task)
    compared = [(row.difference, row) for row in rows if row.difference is not None]
    if not compared:
        return f"{name}: nothing to compare, as {title(BASELINE)} or every other attention has no result."
    parts = []
    for verdict in ("better", "worse"):
        chosen = [(difference, row) for difference, row in compared if row.versus_softmax == verdict]
        chosen.sort(key=lambda pair: -abs(pair[0]))
        named = [f"{title(row.attention)} ({_points(difference)})" for difference, row in chosen]
        parts.append(f"{verdict}: {_listed(named)}")
    undecided = sum(row.versus_softmax == "undecided" for _, row in compared)
    return f"{name} – {'; '.join(parts)}; undecided: {undecided} of {len(compared)}."


def _versus_majority(rows: Sequence[Row]) -> str:
    name = task_title(rows[0].task)
    compared = [row for row in rows if row.versus_majority]
    others = [title(row.attention) for row in compared if row.versus_majority != "better"]
    if not compared:
        return f"{name}: no run gave a result."
    if not others:
        return f"{name}: every attention with a result is better."
    if len(others) == len(compared):
        return f"{name}: none of {_count(len(compared), 'attention')} is better beyond noise."
    better = len(compared) - len(others)
    return f"{name}: {better} of {len(compared)} are better; not better beyond noise: {_listed(others)}."


def _costs(rows: Sequence[Row], by_task: Sequence[Sequence[Row]]) -> tuple[str, ...]:
    if not any(row.measured_on for row in rows):
        return ("Nothing was measured alone on the machine, so there is no claim about time or memory.",)
    return tuple(filter(None, map(_cheapest, by_task)))


def _cheapest(rows: Sequence[Row]) -> str:
    machines = list(dict.fromkeys(row.measured_on for row in rows if row.measured_on))
    if len(machines) > 1:
        where = "; ".join(machines)
        return f"{task_title(rows[0].task)}: measured on different machines ({where}), so times do not compare."
    times = {row.attention: row.seconds_per_1000_steps for row in rows if row.seconds_per_1000_steps is not None}
    memories = {row.attention: row.memory_per_example_mib for row in rows if row.memory_per_example_mib is not None}
    if not times or not memories:
        return ""
    fastest, least = min(times, key=times.__getitem__), f"{min(memories.values()):.1f}"
    smallest = [row for row in rows if f"{memories.get(row.attention, math.inf):.1f}" == least]
    sentence = f"{task_title(rows[0].task)}: {title(fastest)} is the fastest"
    if BASELINE in times and fastest != BASELINE:
        faster = sum(seconds < times[BASELINE] for seconds in times.values())
        sentence += (
            f", at {times[fastest] / times[BASELINE]:.2f} of {title(BASELINE)}'s time, which {faster} of "
            f"{len(times) - 1} others undercut"
        )
    return f"{sentence}; {_tied(smallest)} {'takes' if len(smallest) == 1 else 'take'} the least memory an example."


def _published(rows: Sequence[Row]) -> tuple[str, ...]:
    compared = [(row.published_difference, row) for row in rows if row.published_difference is not None]
    if not compared:
        return ()
    farthest, row = max(compared, key=lambda pair: abs(pair[0]))
    mean = 100 * sum(abs(difference) for difference, _ in compared) / len(compared)
    return (
        f"Over {_count(len(compared), 'cell')} the accuracy is {mean:.2f} percentage points from the published one on "
        f"average, at most {_points(farthest)} ({_cell(row)}).",
    )


def _tied(rows: Sequence[Row]) -> str:
    *others, last = (title(row.attention) for row in rows)
    return f"{', '.join(others)} and {last}" if others else last


def _cell(row: Row) -> str:
    return f"{title(row.attention)} on {task_title(row.task)}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u00a0%"


def _points(difference: float) -> str:
    return f"{100 * difference:+z.2f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
