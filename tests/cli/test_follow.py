"""What a run tells at a terminal: the accuracy of each cell, the sentence of each failure, and what came out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lra.cli.follow import Failures, Follower, Preamble, Suggester, choice_line, failure_line, run_line, summary
from lra.files import sealed
from lra.results.rows import TableRow, write_rows

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


def test_a_chosen_rate_is_a_line(log: Callable[..., None], screen: io.StringIO, tmp_path: Path) -> None:
    record = {"task": "text", "attention": "vmean", "learning_rate": 0.002, "tries": [{}, {}], "train_seconds": 41.2}
    path = tmp_path / "choice.json"
    path.write_text(json.dumps(sealed(record)))
    log("a job", event="job_info", jobid=1, rule_name="choose_rate", output=[str(path)])
    log("done", event="job_finished", job_id=1)
    assert "tuned   learning rate 0.002 of 2, 41 s of training" in screen.getvalue()
    assert choice_line("none.json") == "none.json is written"


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
    assert run_line(run()).split() == ["text", "vmean", "seed", "3", "accuracy", "51.25", "%"]
    assert "diverged: nan at step 3" in run_line(run(status="diverged", reason="nan at step 3", test_accuracy=None))
    assert run_line(run(test_accuracy=None)).endswith("metrics.json is written")  # told, whatever is in it
    assert run_line(str(tmp_path / "none.json")).endswith("none.json is written")


def test_a_killed_job_is_not_explained_by_its_progress(tmp_path: Path) -> None:
    (tmp_path / "killed.log").write_text("step 45: train loss 2.2314\n")
    line = failure_line("train_vmean_text", [tmp_path / "killed.log"])
    assert line.startswith("train_vmean_text ended without a message, perhaps killed; its last line: step 45: train")
    (tmp_path / "crashed.log").write_text("Traceback (most recent call last):\n  x\nKeyError: 'a'\n")
    assert failure_line("report", [tmp_path / "crashed.log"]).startswith("report failed: KeyError: 'a' (")


def test_a_failure_without_a_log(tmp_path: Path) -> None:
    (tmp_path / "empty.log").touch()
    assert failure_line("download", []) == "download failed"
    assert failure_line("download", [tmp_path / "empty.log"]) == f"download failed ({tmp_path / 'empty.log'} is empty)"


def test_a_misspelt_target_is_answered_with_the_nearest() -> None:
    suggester = Suggester(lambda: ["train_vmean_text", "report"])
    record = logging.LogRecord(
        "s", logging.ERROR, "", 0, "No rule to produce train_vmaen_text (if you use ...).", (), None
    )
    assert suggester.filter(record)
    assert record.getMessage().endswith(". Did you mean 'train_vmean_text'?")
    other = logging.LogRecord("s", logging.INFO, "", 0, "a line", (), None)
    assert suggester.filter(other) and other.getMessage() == "a line"


def record(message: str, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    vars(made).update(fields)
    return made


def test_what_failed_is_told_again_at_the_end(tmp_path: Path) -> None:
    """With keep-going hundreds of jobs follow a failure; a second attempt of the job does not count it twice."""
    failures = Failures()
    assert failures.lines() == []
    path = tmp_path / "job.log"
    for rule in ("train_vmean_text", "train_vmean_text", "download"):
        path.write_text(f"Error: {rule} has no disk.\n")
        failures.handle(record("Error", logging.ERROR, event="job_error", rule_name=rule, log=[str(path)]))
    failures.handle(record("Exiting", logging.ERROR, event="error"))
    first, *sentences, last = failures.lines()
    assert first == "2 jobs failed:" and "the same command" in last
    assert sentences == [
        f"  train_vmean_text failed: Error: train_vmean_text has no disk. ({path})",
        f"  download failed: Error: download has no disk. ({path})",
    ]


def test_a_run_says_nothing_of_itself_before_its_first_job() -> None:
    """A dry run does: the table of its jobs is what it was asked for."""
    banner = [
        record("SNAKEMAKE", event="workflow_started"),
        record("Using shell: bash"),
        record("13 jobs", event="run_info"),
    ]
    others = [record("Nothing to be done"), record("Using shell: none", logging.WARNING), record("x", event="job_info")]
    assert not any(map(Preamble(lambda: True).filter, banner))
    assert all(map(Preamble(lambda: True).filter, others))
    assert all(map(Preamble(lambda: False).filter, banner))


def row(attention: str, accuracy: float | None, task: str = "text", **values: Any) -> TableRow:
    ends = {} if accuracy is None else {"accuracy_low": accuracy - 0.01, "accuracy_high": accuracy + 0.01}
    known = {"scale": "mini", "status": "ok", "reason": "", "seeds_ok": 1, "seeds_run": 1}
    return TableRow(**known | ends | {"task": task, "attention": attention, "accuracy": accuracy} | values)


def test_what_came_out(tmp_path: Path) -> None:
    """Fewer than three seeds make no best attention, as everywhere in the results."""
    table, report = tmp_path / "table.csv", tmp_path / "report.html"
    rows = [row("vmean", 0.5), row("softmax", 0.75), row("vmean", None, "image", status="oom", reason="9 GB, seed 1")]
    write_rows(rows, table)
    assert summary(0, table, report) == [
        "text         highest of 2: softmax 75.00 % (74.00 to 76.00), of 1 seed: too few to call it the best",
        "image        vmean: oom (9 GB, seed 1)",
        f"Look at {table}",
    ]
    report.touch()
    assert summary(0, table, report)[-2:] == [
        f"Also made: {table}, and figures and tables beside it.",
        f"Look at {report}",
    ]
    write_rows([row("vmean", 0.5, seeds_ok=2), row("softmax", 0.75, accuracy_low=None, seeds_ok=2)], table)
    assert "softmax 75.00 % (? to 76.00), of 2 seeds" in summary(0, table)[0]
    of_three = [("vmean", 0.5, "no"), ("softmax", 0.75, "yes"), ("bigbird", 0.76, "yes")]
    write_rows([row(name, value, among_best=among, seeds_ok=3) for name, value, among in of_three], table)
    assert summary(0, table)[0] == (
        "text         best, or not distinguishable from it, of 3: bigbird 76.00 % (75.00 to 77.00), "
        "softmax 75.00 % (74.00 to 76.00)"
    )


def test_no_table_no_summary(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    assert summary(0, table) == []
    write_rows([row("vmean", 0.5)], table)
    assert summary(table.stat().st_mtime + 1, table) == []  # of another run
    table.write_text("task,accuracy\ntext,high\n")
    assert summary(0, table) == []
