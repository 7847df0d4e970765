"""What a run of the workflow tells at a terminal: one line for each trained cell and failure, and a bar over all jobs.

It is a handler for the records that Snakemake logs, known by their fields (``event``, ``jobid``, ``rule_name``, ...).
Snakemake's own log file keeps everything.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from lra import paths
from lra.errors import LraError, nearest
from lra.files import read_json

NO_RULE = "No rule to produce "


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
                job = self._jobs.pop(record.job_id, None)
                if job is not None and job.rule_name.rpartition("lra_")[2].startswith("train_"):
                    yield from map(trained, job.output[:1])
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


def failed(rule: str, logs: Sequence[Path]) -> str:
    """Why a job failed: the sentence at the end of its log, and where the whole log is."""
    for log in logs:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line] if log.is_file() else []
        if lines:
            return f"{rule} failed: {lines[-1]} ({log})"
    return f"{rule} failed" + (f" ({logs[0]} is empty)" if logs else "")


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
    """What a run has made: the best attention of each task, what failed, and the page to look at first.

    Args:
        started: seconds since the epoch; an older table is not the run's.
        table: what ``lra collect`` wrote.
        report: the page.
    """
    try:
        if table.stat().st_mtime < started:
            return []
        with table.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        lines = []
        for task in dict.fromkeys(row["task"] for row in rows):
            scores = {
                row["attention"]: float(row["accuracy"]) for row in rows if row["task"] == task and row["accuracy"]
            }
            if scores:
                best = max(scores, key=scores.__getitem__)
                lines.append(f"{task:<12} best of {len(scores)}: {best}, {100 * scores[best]:.2f} %")
        unsuccessful = [f"{row['attention']} on {row['task']}" for row in rows if not row["accuracy"]]
    except (OSError, KeyError, ValueError):
        return []
    if unsuccessful:
        lines.append(f"without a result: {', '.join(unsuccessful)}; {table} says why")
    return [*lines, f"Look at {report if report.is_file() else table}"]
