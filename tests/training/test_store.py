"""A finished run is looked up before it is trained, and nothing but `lra clean` loses it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lra.config.settings import Experiment
from lra.data.shards import Shards
from lra.errors import LraError
from lra.files import file_lock, read_json
from lra.paths import SEALED_FILES
from lra.training import store as store_module
from lra.training.run import train_run
from lra.training.store import train_stored

Make = Callable[..., Experiment]
Train = Callable[..., dict[str, Any]]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which something was really trained."""
    folders: list[Path] = []

    def counted(experiment: Experiment, data: Path, out: Path, **more: Any) -> dict[str, Any]:
        folders.append(out)
        return train_run(experiment, data, out, **more)

    monkeypatch.setattr(store_module, "train_run", counted)
    return folders


@pytest.fixture
def train(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> Train:
    """Trains a toy run into ``out``, with changes of its training."""

    def call(out: str = "run", *, attention: str = "softmax", replace: bool = False, **more: Any) -> dict[str, Any]:
        options = {"code": "x", "threads": 1} | {name: more.pop(name) for name in ("code", "max_steps") if name in more}
        experiment = toy_experiment(attention, **more)
        store = tmp_path / "store"
        return train_stored(experiment, toy_shards.folder, tmp_path / out, replace=replace, store=store, **options)

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_snakemake_deletes_is_taken_from_the_store(train: Train, tmp_path: Path, trainings: list[Path]) -> None:
    """Snakemake deletes outputs before their job starts, so that whatever stopped it early lost a finished run."""
    metrics = train()
    before = contents(tmp_path / "run")
    assert set(before) == {"metrics.json", *SEALED_FILES}
    shutil.rmtree(tmp_path / "run")
    started = time.time()
    assert train() == metrics
    assert contents(tmp_path / "run") == before
    assert all(path.stat().st_mtime >= started - 1 for path in (tmp_path / "run").iterdir()), "newer than the data"
    assert trainings == [tmp_path / "store" / metrics["key"]]


def test_other_settings_and_back(train: Train, tmp_path: Path, trainings: list[Path]) -> None:
    """A change that is taken back costs nothing; everything that makes a run is part of its key."""
    kinds: list[dict[str, Any]] = [
        {},
        {"steps": 8},
        {"seed": 2},
        {"code": "y"},
        {"max_steps": 4},
        {"attention": "vmean"},
    ]
    first = [train(f"run-{number}", **kind)["key"] for number, kind in enumerate(kinds)]
    assert len(set(first)) == len(trainings) == len(kinds)
    assert [train(f"back-{number}", **kind)["key"] for number, kind in enumerate(kinds)] == first
    assert len(trainings) == len(kinds)


def test_a_failed_run_is_stored_too(train: Train, trainings: list[Path]) -> None:
    assert train(learning_rate=1e30)["status"] == train("again", learning_rate=1e30)["status"] == "diverged"
    assert len(trainings) == 1


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def edited(path: Path) -> None:
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 7'))


@pytest.mark.parametrize(
    ("name", "damage", "said"),
    [
        ("history.csv", emptied, "history.csv is damaged or another run's"),
        ("model.safetensors", Path.unlink, "model.safetensors is missing"),
        ("metrics.json", emptied, "metrics.json cannot be read"),
        ("metrics.json", edited, "metrics.json is not what the run wrote"),
    ],
)
def test_a_damaged_entry_is_said_and_made_anew(
    train: Train,
    tmp_path: Path,
    trainings: list[Path],
    capsys: pytest.CaptureFixture[str],
    name: str,
    damage: Callable[[Path], None],
    said: str,
) -> None:
    metrics = train()
    before = contents(tmp_path / "run")
    damage(tmp_path / "store" / metrics["key"] / name)
    again = train("other")
    assert len(trainings) == 2
    assert said in (error := capsys.readouterr().err)
    assert "The run is trained again." in error
    assert again["test_accuracy"] == metrics["test_accuracy"]
    assert contents(tmp_path / "other")["model.safetensors"] == before["model.safetensors"]


def test_an_entry_under_another_ones_name(train: Train, tmp_path: Path, trainings: list[Path]) -> None:
    one, other = train("one")["key"], train("other", seed=2)["key"]
    for name in ("metrics.json", *SEALED_FILES):
        shutil.copy(tmp_path / "store" / one / name, tmp_path / "store" / other / name)
    assert train("third", seed=2)["seed"] == 2
    assert len(trainings) == 3


def test_an_edit_in_results_leaves_the_store_as_it_was(train: Train, tmp_path: Path, trainings: list[Path]) -> None:
    train()
    before = contents(tmp_path / "run")
    for name in before:
        (tmp_path / "run" / name).write_text("edited")
    shutil.rmtree(tmp_path / "run")
    train()
    assert len(trainings) == 1
    assert contents(tmp_path / "run") == before


def test_what_a_killed_process_left_is_no_other_process(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = tmp_path / "store" / f".{train()['key']}.guard"
    guard.touch()
    train("another")
    assert "waiting" not in capsys.readouterr().err
    assert not guard.exists()


def test_another_finished_run_is_not_replaced(train: Train, tmp_path: Path) -> None:
    """One step of V-Mean stood in the table as the full run that it had replaced."""
    train()
    before = contents(tmp_path / "run")
    for other in ({"max_steps": 1}, {"attention": "vmean"}, {"code": "y"}):
        with pytest.raises(LraError, match="run holds another finished run, with other settings, code or data; give"):
            train(**other)
    assert contents(tmp_path / "run") == before
    assert train()["seed"] == 1, "the same one may come again"


def test_a_try_takes_the_place_of_one_that_the_store_keeps(train: Train, tmp_path: Path) -> None:
    first = train("try", replace=True)["key"]
    assert train("try", replace=True, seed=2)["seed"] == 2
    assert read_json(tmp_path / "store" / first / "metrics.json")["seed"] == 1
    shutil.rmtree(tmp_path / "store")
    with pytest.raises(LraError, match="holds another finished run"):
        train("try", replace=True, seed=3)


def test_a_folder_whose_metrics_are_no_runs(train: Train, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.json").write_text("[]")
    assert train()["status"] == "ok"


def test_two_processes_on_one_run(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second one waits, says so, and trains nothing."""
    call = partial(train_stored, toy_experiment(), toy_shards.folder, code="x", threads=1, store=tmp_path / "store")
    key = call(tmp_path / "first")["key"]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lra.training.store"])
    with file_lock(tmp_path / "store" / key):
        second = context.Process(target=call, args=(tmp_path / "second",))
        second.start()
        said = ""
        while "waiting for the process that trains this run" not in said:
            assert second.is_alive()
            time.sleep(0.05)
            said += capfd.readouterr().err
        assert not (tmp_path / "second/metrics.json").exists()
    second.join(60)
    assert second.exitcode == 0
    assert f"taken from {tmp_path / 'store' / key}" in capfd.readouterr().out
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_two_at_once_with_other_runs_for_one_folder(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both were trained, and the second one took the place of the first."""
    out, how = tmp_path / "run", {"code": "x", "threads": 1}
    with ThreadPoolExecutor(1) as executor:
        with store_module.lock_place(out, tmp_path / "store"):
            second = executor.submit(
                train_stored, toy_experiment("vmean"), toy_shards.folder, out, store=tmp_path / "store", **how
            )
            said = ""
            while "run is in use: waiting for the process that trains a run there" not in said:
                assert not second.done()
                time.sleep(0.01)
                said += capfd.readouterr().err
            train_run(toy_experiment(), toy_shards.folder, out, **how)
            before = contents(out)
        with pytest.raises(LraError, match="run holds another finished run"):
            second.result()
    assert contents(out) == before


@pytest.mark.slow
@pytest.mark.long
def test_killed_at_any_moment(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    """``out`` holds a whole run or no metrics.json, and the store gives the same numbers in the end."""
    experiment = toy_experiment(steps=60, evaluate_every=10)
    more = {"code": "x", "threads": 1, "checkpoint_seconds": 0, "store": tmp_path / "store"}
    expected = train_run(experiment, toy_shards.folder, tmp_path / "whole", code="x", threads=1)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lra.training.store"])
    out = tmp_path / "run"
    for attempt in range(12):
        shutil.rmtree(out, ignore_errors=True)  # as Snakemake does
        process = context.Process(target=train_stored, args=(experiment, toy_shards.folder, out), kwargs=more)
        process.start()
        assert process.pid
        process.join(0.15 * attempt)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        if (out / "metrics.json").exists():
            assert set(contents(out)) == {"metrics.json", *SEALED_FILES}
    metrics = train_stored(experiment, toy_shards.folder, out, **more)
    assert metrics["test_loss"] == expected["test_loss"]


def test_a_run_that_another_process_trains_is_waited_for(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store_module, "in_use", lambda folder: True)
    assert train()["status"] == "ok"
    waits = [line for line in capsys.readouterr().err.splitlines() if "is in use: waiting" in line]
    assert [line.rpartition(" ")[2] for line in waits] == ["there", "run"]
