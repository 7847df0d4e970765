"""The output of a workflow at a terminal: a line for each trained cell and each failure, and a bar over all jobs.

At the end, also without a terminal: the best of each task, the failures with their reasons, and the page to open.

The classes handle the records that Snakemake logs, and recognise them by their fields (``event``, ``jobid``,
``rule_name``, ...). Snakemake's own log file keeps everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from lra import paths
from lra.errors import LraError, nearest
from lra.files import read_json
from lra.results.choice import read_choice
from lra.results.rows import TableRow, read_rows, tasks

NO_RULE = "No rule to produce "
PREAMBLE = ("workflow_started", "resources_info", "run_info")
"""Events that Snakemake logs before the first job: versions and paths, cores, a table of all rules."""
REMARKS = ("Using shell", "Conda environments: ignored", "Assuming unrestricted shared filesystem")
"""Beginnings of further messages before the first job."""


class Follower(logging.Handler):
    """Prints a line for each trained cell and each failure, above a bar with the finished jobs and the time."""

    def __init__(self, stream: IO[str]) -> None:
        from tqdm import tqdm

        super().__init__()
        self._jobs: dict[Any, Any] = {}
        self._bar = tqdm(unit="job", file=stream, dynamic_ncols=True, smoothing=0.1, mininterval=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Print the lines of the record, if it has any, and move the bar."""
        event = str(getattr(record, "event", None) or "")
        for line in self._lines(event, record):
            self._bar.write(line, file=self._bar.fp)
        if event == "progress":
            self._bar.total = record.total  # type: ignore[attr-defined]
            self._bar.update(record.done - self._bar.n)  # type: ignore[attr-defined]

    def _lines(self, event: str, record: Any) -> Iterator[str]:
        """The lines to print for a record."""
        match event:
            case "job_info":
                self._jobs[record.jobid] = record
            case "job_finished":
                if (job := self._jobs.pop(record.job_id, None)) is not None:
                    rule = job.rule_name.rpartition("lra_")[2]
                    line_of = run_line if rule.startswith("train_") else choice_line if rule == "choose_rate" else None
                    yield from map(line_of, job.output[:1]) if line_of else ()
            case "job_error":
                yield failure_line(record.rule_name, [Path(log) for log in record.log or []])
            case "" | "error" if record.levelno >= logging.WARNING:
                yield record.getMessage()

    def close(self) -> None:
        """End the bar, which stays on the screen."""
        self._bar.close()
        super().close()


def run_line(metrics: str) -> str:
    """A finished run in one line, from its ``metrics.json``."""
    try:
        run = read_json(Path(metrics))
        cell = f"{run['task']:<12} {run['attention']:<20} seed {run['seed']}"
        if run["status"] != "ok":
            return f"{cell}  {run['status']}: {run['reason']}"
        return f"{cell}  accuracy {100 * run['test_accuracy']:.2f} %"
    except (LraError, KeyError, TypeError, ValueError):
        return f"{metrics} is written"


def choice_line(choice: str) -> str:
    """A tuned cell in one line, from its ``choice.json``."""
    try:
        record = read_choice(Path(choice))
    except LraError:
        return f"{choice} is written"
    cell, tries = f"{record['task']:<12} {record['attention']:<20} tuned ", len(record["tries"])
    return f"{cell}  learning rate {record['learning_rate']} of {tries}, {record['train_seconds']:.0f} s of training"


def failure_line(rule: str, logs: Sequence[Path]) -> str:
    """A failed job in one line: the last line of its log, which is the reason, and the path of the log.

    The log of a killed process ends with something else than an error, such as a line of progress.
    """
    for log in logs:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line] if log.is_file() else []
        if lines:
            told = any(line.startswith(("Error: ", "Traceback ")) for line in lines)
            how = "failed" if told else "ended without a message, perhaps killed; its last line"
            return f"{rule} {how}: {lines[-1]} ({log})"
    return f"{rule} failed" + (f" ({logs[0]} is empty)" if logs else "")


class Failures(logging.Handler):
    """Remembers the line of each failed job and prints it again at the end, after the many lines that followed it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._sentences: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line of a failed job; the last attempt replaces earlier ones."""
        job: Any = record
        if str(getattr(record, "event", None) or "") == "job_error":
            logs = [Path(log) for log in job.log or []]
            self._sentences[f"{job.rule_name} {logs}"] = failure_line(job.rule_name, logs)

    def lines(self) -> list[str]:
        """The failed jobs with their reasons, and how to go on; empty if no job failed."""
        if not self._sentences:
            return []
        many = len(self._sentences)
        return [
            f"{many} {'job' if many == 1 else 'jobs'} failed:",
            *(f"  {sentence}" for sentence in self._sentences.values()),
            "Finished jobs are kept: the same command runs only the others.",
        ]


class Preamble(logging.Filter):
    """Hides what Snakemake logs before the first job.

    Args:
        applies: says whether to hide it; in a dry run it is the result.
    """

    def __init__(self, applies: Callable[[], bool]) -> None:
        super().__init__()
        self._applies = applies

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        preamble = str(getattr(record, "event", None) or "") in PREAMBLE or str(record.msg).startswith(REMARKS)
        return not (preamble and record.levelno < logging.WARNING and self._applies())


class Suggester(logging.Filter):
    """Adds the nearest name to Snakemake's message about an unknown target."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self._names = names

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message; every record is shown."""
        target = str(record.msg).partition(NO_RULE)[2].split(" ")[0]
        if target:
            record.msg = f"{record.msg}{nearest(target, self._names())}"
        return True


def summary(started: float, table: Path = paths.TABLE, report: Path = paths.REPORT) -> list[str]:
    """The results of a workflow: the best attentions of each task, the failed cells, and the page to open first.

    Args:
        started: seconds since the epoch; an older table belongs to an earlier workflow.
        table: path of the table that ``lra collect`` writes.
        report: path of the report.
    """
    try:
        if table.stat().st_mtime < started:
            return []
        rows = read_rows(table)
    except (OSError, LraError):
        return []
    lines = [line for task in tasks(rows) if (line := best([row for row in rows if row.task == task]))]
    lines += [f"{row.task:<12} {row.attention}: {row.status} ({row.reason})" for row in rows if row.accuracy is None]
    if report.is_file():
        lines.append(f"Also made: {table.absolute()}, and figures and tables beside it.")
    return [*lines, f"Look at {(report if report.is_file() else table).absolute()}"]


def best(rows: Sequence[TableRow]) -> str:
    """A line about the best attentions of a task; with too few seeds to call any the best, the highest accuracy."""
    accuracies = {row: row.accuracy for row in rows if row.accuracy is not None}
    if not accuracies:
        return ""
    if among := [row for row in accuracies if row.among_best == "yes"]:
        names = ", ".join(f"{row.attention} {_percent(row)}" for row in sorted(among, key=accuracies.__getitem__)[::-1])
        return f"{rows[0].task:<12} best, or not distinguishable from it, of {len(accuracies)}: {names}"
    highest = max(accuracies, key=accuracies.__getitem__)
    seeds = "1 seed" if highest.seeds_ok == 1 else f"{highest.seeds_ok} seeds"
    return (
        f"{highest.task:<12} highest of {len(accuracies)}: {highest.attention} {_percent(highest)}, "
        f"of {seeds}: too few to call it the best"
    )


def _percent(row: TableRow) -> str:
    """A row's accuracy with its 95 % interval."""
    values = [row.accuracy, row.accuracy_low, row.accuracy_high]
    accuracy, low, high = ("?" if value is None else f"{100 * value:.2f}" for value in values)
    return f"{accuracy} % ({low} to {high})"
