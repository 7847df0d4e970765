"""What a run of the workflow tells: at a terminal a line for each trained cell and failure, and a bar over all jobs.

At the end, at a terminal or not: the best of each task, what failed and why, and where to look.

It is a handler for the records that Snakemake logs, known by their fields (``event``, ``jobid``, ``rule_name``, ...).
Snakemake's own log file keeps everything.
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
"""Events that Snakemake logs of itself before the first job: versions and paths, cores, a table of all rules."""
REMARKS = ("Using shell", "Conda environments: ignored", "Assuming unrestricted shared filesystem")


class Follower(logging.Handler):
    """Prints what a user wants to know of a run, above a bar that says how many jobs are done and how long it takes."""

    def __init__(self, stream: IO[str]) -> None:
        from tqdm import tqdm

        super().__init__()
        self._jobs: dict[Any, Any] = {}
        self._bar = tqdm(unit="job", file=stream, dynamic_ncols=True, smoothing=0.1, mininterval=0)

    def emit(self, record: logging.LogRecord) -> None:
        """Print what the record says, if anything."""
        event = str(getattr(record, "event", None) or "")
        for line in self._lines(event, record):
            self._bar.write(line, file=self._bar.fp)
        if event == "progress":
            self._bar.total = record.total  # type: ignore[attr-defined]
            self._bar.update(record.done - self._bar.n)  # type: ignore[attr-defined]

    def _lines(self, event: str, record: Any) -> Iterator[str]:
        match event:
            case "job_info":
                self._jobs[record.jobid] = record
            case "job_finished":
                if (job := self._jobs.pop(record.job_id, None)) is not None:
                    rule = job.rule_name.rpartition("lra_")[2]
                    tell = trained if rule.startswith("train_") else chosen if rule == "choose_rate" else None
                    yield from map(tell, job.output[:1]) if tell else ()
            case "job_error":
                yield failed(record.rule_name, [Path(log) for log in record.log or []])
            case "" | "error" if record.levelno >= logging.WARNING:
                yield record.getMessage()

    def close(self) -> None:
        """Leave the bar as it is, once."""
        self._bar.close()
        super().close()


def trained(metrics: str) -> str:
    """A finished run in one line, from its ``metrics.json``."""
    try:
        run = read_json(Path(metrics))
        cell = f"{run['task']:<12} {run['attention']:<20} seed {run['seed']}"
        if run["status"] != "ok":
            return f"{cell}  {run['status']}: {run['reason']}"
        return f"{cell}  accuracy {100 * run['test_accuracy']:.2f} %"
    except (LraError, KeyError, TypeError, ValueError):
        return f"{metrics} is written"


def chosen(choice: str) -> str:
    """A tuned cell in one line, from its ``choice.json``."""
    try:
        record = read_choice(Path(choice))
    except LraError:
        return f"{choice} is written"
    cell, tries = f"{record['task']:<12} {record['attention']:<20} tuned ", len(record["tries"])
    return f"{cell}  learning rate {record['learning_rate']} of {tries}, {record['train_seconds']:.0f} s of training"


def failed(rule: str, logs: Sequence[Path]) -> str:
    """Why a job failed: the sentence at the end of its log, and where the whole log is."""
    for log in logs:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line] if log.is_file() else []
        if lines:
            return f"{rule} failed: {lines[-1]} ({log})"
    return f"{rule} failed" + (f" ({logs[0]} is empty)" if logs else "")


class Failures(logging.Handler):
    """Remembers the sentence of each failed job, for the end of a run: many lines may have followed it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._sentences: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what the record says of a failed job; of several attempts the last."""
        job: Any = record
        if str(getattr(record, "event", None) or "") == "job_error":
            logs = [Path(log) for log in job.log or []]
            self._sentences[f"{job.rule_name} {logs}"] = failed(job.rule_name, logs)

    def lines(self) -> list[str]:
        """What failed and why, and how to go on; empty where nothing failed."""
        if not self._sentences:
            return []
        many = len(self._sentences)
        return [
            f"{many} {'job' if many == 1 else 'jobs'} failed:",
            *(f"  {sentence}" for sentence in self._sentences.values()),
            "What is finished is kept: the same command tries only the rest.",
        ]


class Preamble(logging.Filter):
    """Leaves out what Snakemake says of itself before the first job.

    Args:
        applies: whether to leave it out; a dry run consists of it.
    """

    def __init__(self, applies: Callable[[], bool]) -> None:
        super().__init__()
        self._applies = applies

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is told."""
        said = str(getattr(record, "event", None) or "") in PREAMBLE or str(record.msg).startswith(REMARKS)
        return not (said and record.levelno < logging.WARNING and self._applies())


class Suggester(logging.Filter):
    """Adds the nearest name to Snakemake's message about a target that is no rule and that no rule makes."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self._names = names

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the message; every record passes."""
        target = str(record.msg).partition(NO_RULE)[2].split(" ")[0]
        if target:
            record.msg = f"{record.msg}{nearest(target, self._names())}"
        return True


def summary(started: float, table: Path = paths.TABLE, report: Path = paths.REPORT) -> list[str]:
    """What a run has made: the best attentions of each task, what gave no result, and the page to look at first.

    Args:
        started: seconds since the epoch; an older table is not the run's.
        table: what ``lra collect`` wrote.
        report: the page.
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
    """The best attentions of a task's rows; with too few seeds to call any the best, the highest accuracy."""
    accuracies = {row: row.accuracy for row in rows if row.accuracy is not None}
    if not accuracies:
        return ""
    if among := [row for row in accuracies if row.among_best == "yes"]:
        named = ", ".join(f"{row.attention} {_percent(row)}" for row in sorted(among, key=accuracies.__getitem__)[::-1])
        return f"{rows[0].task:<12} best, or not distinguishable from it, of {len(accuracies)}: {named}"
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
