"""What a run tells at a terminal: the accuracy of each cell, the sentence of each failure, and what came out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lra.cli.follow import Follower, Suggester, failed, summary, trained

RUN = {"task": "text", "attention": "vmean", "seed": 3, "status": "ok", "reason": "", "test_accuracy": 0.5125}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Writes a ``metrics.json`` with other values, and returns its path."""

    def write(**values: Any) -> str:
        path = tmp_path / "metrics.json"
        path.write_text(json.dumps(RUN | values))
        return str(path)

    return write


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(screen: io.StringIO, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Gives a follower a record with the fields that Snakemake's have."""
    follower = Follower(screen)
    request.addfinalizer(follower.close)

    def emit(message: str, level: int = logging.INFO, **fields: Any) -> None:
        record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
        vars(record).update(fields)
        follower.handle(record)

    return emit


def test_a_trained_cell_is_a_line(log: Callable[..., None], screen: io.StringIO, run: Callable[..., str]) -> None:
    """Under a prefix too, as in a workflow that uses this one as a module; other jobs only move the bar."""
    for number, rule in enumerate(("train_vmean_text", "lra_train_vmean_text", "measure_cell")):
        log("a job", event="job_info", jobid=number, rule_name=rule, output=[run(), "history.csv"])
        log("done", event="job_finished", job_id=number)
        log("progress", event="progress", done=number + 1, total=7)
    log("done", event="job_finished", job_id=99)  # never told of
    assert screen.getvalue().count("accuracy 51.25 %") == 2
    assert "3/7" in screen.getvalue()


def test_a_failed_job_is_its_sentence(log: Callable[..., None], screen: io.StringIO, tmp_path: Path) -> None:
    path = tmp_path / "job.log"
    path.write_text("step 1\nError: the disk is full.\n")
    log("Error in rule", logging.ERROR, event="job_error", jobid=1, rule_name="train_vmean_text", log=[str(path)])
    assert f"train_vmean_text failed: Error: the disk is full. ({path})\n" in screen.getvalue()


def test_of_all_else_only_warnings_are_told(log: Callable[..., None], screen: io.StringIO) -> None:
    log("Select jobs to execute...")
    log("rule x", event="shellcmd")
    log("something is odd", logging.WARNING)
    assert "odd" in screen.getvalue() and "Select" not in screen.getvalue() and "rule x" not in screen.getvalue()


def test_a_run_in_a_line(run: Callable[..., str], tmp_path: Path) -> None:
    assert trained(run()).split() == ["text", "vmean", "seed", "3", "accuracy", "51.25", "%"]
    assert "diverged: nan at step 3" in trained(run(status="diverged", reason="nan at step 3", test_accuracy=None))
    assert trained(run(test_accuracy=None)).endswith("metrics.json is written")  # told, whatever is in it
    assert trained(str(tmp_path / "none.json")).endswith("none.json is written")


def test_a_failure_without_a_log(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    assert failed("download", []) == "download failed"
    assert failed("download", [tmp_path / "empty.log"]) == f"download failed ({tmp_path / 'empty.log'} is empty)"


def test_a_misspelt_target_is_answered_with_the_nearest() -> None:
    suggester = Suggester(lambda: ["train_vmean_text", "report"])
    record = logging.LogRecord(
        "s", logging.ERROR, "", 0, "No rule to produce train_vmaen_text (if you use ...).", (), None
    )
    assert suggester.filter(record)
    assert record.getMessage().endswith(". Did you mean 'train_vmean_text'?")
    other = logging.LogRecord("s", logging.INFO, "", 0, "a line", (), None)
    assert suggester.filter(other) and other.getMessage() == "a line"


def test_what_came_out(tmp_path: Path) -> None:
    table, report = tmp_path / "table.csv", tmp_path / "report.html"
    table.write_text(
        "task,attention,status,accuracy\ntext,vmean,ok,0.5\ntext,softmax,ok,0.75\nimage,vmean,oom,\ntext,x,partial,0.1\n"
    )
    assert summary(0, table, report) == [
        "text         best of 3: softmax, 75.00 %",
        f"without a result: vmean on image; {table} says why",
        f"Look at {table}",
    ]
    report.touch()
    assert summary(0, table, report)[-1] == f"Look at {report}"
    assert summary(table.stat().st_mtime + 1, table, report) == []  # of another run
    assert summary(0, tmp_path / "none.csv", report) == []
    table.write_text("task,accuracy\ntext,high\n")
    assert summary(0, table, report) == []
