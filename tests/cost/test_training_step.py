from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra.cli.main import main
from lra.config.arena import arena
from lra.config.settings import AttentionSettings, MeasureSettings, ModelSettings
from lra.cost import training_step as measuring
from lra.cost.training_step import PAPER_BATCH, TASKS, Measurement, accumulation_steps, measure, spread
from lra.data.synthetic import describe
from lra.files import read_json
from lra.tasks.contract import Task

SIZES = ModelSettings(layers=2, embedding=16, hidden=16, heads=2, head_dim=8)

# A method in a file of its own that fails in the way its option says.
METHOD = """
import os, signal
import torch
from lra.attention.vmean import VMean

class Odd(VMean):
    def __init__(self, *, how, **common):
        super().__init__(**common)
        self.how = how

    def attend(self, query, key, value, mask, draws):
        if self.how == "crash":
            raise IndexError("out of range\\nsecond line")
        if self.how == "memory":
            raise torch.OutOfMemoryError("too much")
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"text": Task("text", 2, 257, max_length=60), "retrieval": Task("retrieval", 2, 257, 60, towers=2)}
    monkeypatch.setattr(measuring, "TASKS", small)


def settings(attention: str = "vmean", **changes: Any) -> MeasureSettings:
    return MeasureSettings(
        AttentionSettings(attention, features=8), **{"batch": 2, "repeats": 3, "model": SIZES} | changes
    )


def odd(folder: Path, how: str) -> AttentionSettings:
    path = folder / "odd.py"
    path.write_text(METHOD)
    return AttentionSettings("odd", features=8, options={"how": how}, module=f"{path}:Odd")


@pytest.mark.parametrize("task", ["text", "retrieval"])
def test_what_is_written(task: str, tmp_path: Path) -> None:
    row = measure(task, settings("skeinformer"), tmp_path / "measure.json", code="c0de", threads=1)
    assert read_json(tmp_path / "measure.json") == row
    towers = TASKS[task].towers
    assert (row["status"], row["reason"], row["task"], row["attention"]) == ("ok", "", task, "skeinformer")
    assert (row["length"], row["towers"], row["batch"], row["code"]) == (64, towers, 2, "c0de")
    assert row["machine"]["threads"] == 1
    times, update = row["train_ms"], row["optimizer_ms"]
    assert 0 < update["median"] < times["low"] <= times["median"] <= times["high"]
    assert times["repeats"] == 3
    assert row["train_ms_per_example"] == times["median"] / 2
    assert row["tokens_per_second"] == pytest.approx(2 * towers * 64 / times["median"] * 1000)
    assert row["inference_ms_per_example"] > 0
    batch = PAPER_BATCH[task]
    gradients = (times["median"] - update["median"]) * batch / 2
    assert row["seconds_per_1000_steps"] == pytest.approx(gradients + update["median"])
    assert row["fixed_memory_bytes"] > 3 * 4 * row["parameters"]  # weights and two moments, float32
    assert row["peak_memory_bytes"] > row["fixed_memory_bytes"] + 4 * row["parameters"]  # and gradients


@pytest.mark.parametrize("attention", ["softmax", "vmean", "skeinformer", "linformer", "bigbird"])
def test_the_straight_line_predicts_other_batches(attention: str) -> None:
    """Otherwise the largest batch, read off that line, would mean nothing."""
    chosen = Measurement(Task("text", 2, 257, 256), settings(attention, model=ModelSettings()))
    peaks = {batch: chosen.peak(batch) for batch in (2, 4, 12)}
    predicted = peaks[2] + (peaks[4] - peaks[2]) * 5
    assert abs(peaks[12] - predicted) < 0.03 * peaks[12]


def test_the_largest_batch_fits_and_a_larger_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "overhead", lambda device: 5_000_000)
    chosen = settings("skeinformer", memory_gb=0.01, batch=8, check=True)
    row = measure("text", chosen, tmp_path / "measure.json", code="", threads=1)
    memory, largest = row["memory_bytes"], row["largest_batch"]
    assert memory == int(0.01 * 2**30)
    assert 8 < largest < PAPER_BATCH["text"]
    assert row["largest_batch_peak_bytes"] + 5_000_000 <= 1.03 * memory
    assert Measurement(measuring.TASKS["text"], chosen).peak(largest + 4) + 5_000_000 > memory
    assert (
        PAPER_BATCH["text"] / row["accumulation_steps"]
        <= largest
        < PAPER_BATCH["text"] / (row["accumulation_steps"] / 2)
    )


def test_the_largest_batch_is_tried_only_where_that_is_asked_for(tmp_path: Path) -> None:
    row = measure("text", settings(memory_gb=16), tmp_path / "measure.json", code="", threads=1)
    assert row["largest_batch"] > 0 and row["largest_batch_peak_bytes"] is None


def test_not_even_one_example_fits(tmp_path: Path) -> None:
    row = measure("text", settings(memory_gb=0.001, check=True), tmp_path / "measure.json", code="", threads=1)
    assert (row["status"], row["largest_batch"], row["accumulation_steps"]) == ("ok", 0, None)
    assert row["largest_batch_peak_bytes"] is None


@pytest.mark.parametrize(
    ("batch", "largest", "steps"),
    [(256, 4000, 1), (256, 256, 1), (256, 255, 2), (128, 17, 8), (128, 16, 8), (64, 1, 64), (64, 0, None)],
)
def test_accumulation_steps(batch: int, largest: int, steps: int | None) -> None:
    assert accumulation_steps(batch, largest) == steps


def test_memory_does_not_depend_on_the_run(tmp_path: Path) -> None:
    names = ("peak_memory_bytes", "memory_per_example_bytes", "fixed_memory_bytes", "flops_forward", "parameters")
    rows = [measure("text", settings("reformer"), tmp_path / "m.json", code="", threads=1) for _ in range(2)]
    assert [rows[0][name] for name in names] == [rows[1][name] for name in names]


def test_repeats_end_in_time_but_are_two_at_least(tmp_path: Path) -> None:
    row = measure("text", settings(seconds=0.0, repeats=50), tmp_path / "m.json", code="", threads=1)
    assert row["train_ms"]["repeats"] == 2


def test_default_batch_is_4096_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    for length, batch in ((60, 64), (2000, 2), (4000, 1), (8000, 1)):
        assert Measurement(Task("text", 2, 257, length), settings(batch=None)).batch == batch


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [("crash", "failed", "IndexError: out of range"), ("memory", "oom", "OutOfMemoryError: too much")],
)
def test_a_failure_is_a_row(how: str, status: str, reason: str, tmp_path: Path) -> None:
    chosen = MeasureSettings(odd(tmp_path, how), model=SIZES)
    row = measure("text", chosen, tmp_path / "measure.json", code="", threads=1)
    assert (row["status"], row["reason"]) == (status, reason)
    assert read_json(tmp_path / "measure.json") == row
    assert "train_ms" not in row


def test_a_killed_process_is_a_row(tmp_path: Path) -> None:
    chosen = {
        "attention": vars(odd(tmp_path, "killed")),
        "model": vars(SIZES),
        "batch": 1,
    }
    out = tmp_path / "measure.json"
    command = ["measure", "--attention", "odd", "--task", "image", "--threads", "1", "--out", str(out), "--code", "c"]
    done = subprocess.run(
        [sys.executable, "-m", "lra", *command, "--settings", json.dumps(chosen)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    row = read_json(out)
    assert (row["status"], row["reason"]) == ("oom", "the process was ended by SIGKILL")
    assert (row["task"], row["attention"], row["length"], row["code"]) == ("image", "odd", 1024, "c")
    assert "image odd: oom" in done.stdout


def test_a_task_of_the_users_own(tmp_path: Path) -> None:
    """It is measured at its own length, for its own batch."""
    own = settings(task=Task("mine", classes=3, vocabulary=5, max_length=17, towers=2), step=24)
    row = measure("mine", own, tmp_path / "measure.json", code="", threads=1)
    assert (row["status"], row["task"], row["length"], row["towers"], row["paper_batch"]) == ("ok", "mine", 32, 2, 24)
    gradients = (row["train_ms"]["median"] - row["optimizer_ms"]["median"]) * 24 / row["batch"]
    assert row["seconds_per_1000_steps"] == pytest.approx(gradients + row["optimizer_ms"]["median"])


def test_a_task_of_the_users_own_by_hand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("def parity(split):\n    yield [1], 0\n")
    data = {"module": "mine.py:parity", "classes": 2, "vocabulary": 3, "max_length": 12}
    train = {"batch": 24, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2}
    scale = {"features": 8, "threads": 1, "runtime": 5, "memory": 2000, "model": {}}
    config = {"scale": "mini", "tasks": ["mine"], "attentions": ["vmean"], "seeds": [1]}
    scale |= {"tasks": {"mine": {"data": data, "train": train}}}
    path, out = tmp_path / "config.yaml", tmp_path / "measure.json"
    path.write_text(json.dumps(config | {"scales": {"mini": scale}}))
    command = ["measure", "--attention", "vmean", "--config", str(path), "--out", str(out), "--threads", "1"]
    assert main([*command, "--task", "mine"]) == 0
    row = read_json(out)
    assert (row["status"], row["task"], row["length"], row["paper_batch"]) == ("ok", "mine", 16, 24)
    assert main([*command, "--task", "mien"]) == 1
    assert "unknown task 'mien'" in capfd.readouterr().err


def test_mistakes_of_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--attention", "skeinformr", "--task", "text"]) == 1
    assert "Did you mean 'skeinformer'?" in capsys.readouterr().err


def test_spread() -> None:
    assert spread([3.0, 1.0, 8.0]) == {"median": 3, "low": 1, "high": 8, "repeats": 3}


def test_tasks_and_batches_are_those_of_the_papers_scale() -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    paper = arena(config | {"scale": "paper"})
    assert {name: describe(name, paper.data(name)) for name in paper.tasks} == TASKS
    assert {name: paper.settings["tasks"][name]["train"]["batch"] for name in paper.tasks} == PAPER_BATCH
