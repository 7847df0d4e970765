"""A learning rate is chosen by dev accuracy alone, and the table says that it was, and by how many tries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lra.cli.main import main
from lra.errors import LraError
from lra.results.choice import read_choice
from lra.results.choosing import choose
from lra.results.report import write_report
from lra.results.rows import read_rows
from lra.results.table import collect
from results.builder import reseal, write_run


def write_try(folder: Path, rate: float, dev: float | None, seed: int = 9, **more: Any) -> Path:
    """A short run on text at a learning rate, whose test accuracy is the lower the better it is on dev."""
    path = write_run(folder / f"rate-{rate}", "text", "vmean", seed, 1 - (dev or 0.5), steps=100, **more)
    settings = json.loads(path.read_text())["settings"]
    settings["train"]["learning_rate"] = rate
    return reseal(path, settings=settings, dev_accuracy=dev, key="f" * 16)


def diverged(folder: Path, rate: float) -> Path:
    return write_try(folder, rate, None, status="diverged", reason="the training loss was not finite at step 7")


def test_the_best_on_dev_is_taken_whatever_the_test_says(tmp_path: Path) -> None:
    tries = [write_try(tmp_path, rate, dev) for rate, dev in ((1e-2, 0.6), (1e-3, 0.9), (1e-4, 0.7))]
    record = choose(tries, tmp_path / "choice.json")
    assert (record["task"], record["attention"], record["seed"]) == ("text", "vmean", 9)
    assert record["learning_rate"] == 1e-3
    assert [one["learning_rate"] for one in record["tries"]] == [1e-4, 1e-3, 1e-2]
    assert [one["dev_accuracy"] for one in record["tries"]] == [0.7, 0.9, 0.6]
    assert {one["train_seconds"] for one in record["tries"]} == {2.0} and record["train_seconds"] == 6.0
    assert "test" not in (tmp_path / "choice.json").read_text()
    assert read_choice(tmp_path / "choice.json") == record


def test_of_equals_the_smallest_is_taken(tmp_path: Path) -> None:
    tries = [write_try(tmp_path, rate, 0.8) for rate in (1e-2, 1e-4, 1e-3)]
    assert choose(tries, tmp_path / "choice.json")["learning_rate"] == 1e-4


def test_a_failed_try_loses_and_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tries = [diverged(tmp_path, 1e-4), write_try(tmp_path, 1e-3, 0.0)]
    out = tmp_path / "choice.json"
    assert main(["choose", "--metrics", *map(str, tries), "--out", str(out)]) == 0
    record = read_choice(out)
    assert record["learning_rate"] == 1e-3 and record["tries"][0]["status"] == "diverged"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "learning rate 0.0001: the training loss was not finite at step 7, 2.0 s"
    assert lines[1:] == ["learning rate 0.001: dev accuracy 0.0000, 2.0 s", "text vmean: 0.001, the best on dev of 2"]


def test_where_all_failed_the_smallest_is_taken(tmp_path: Path) -> None:
    tries = [diverged(tmp_path, rate) for rate in (1e-1, 1e-2)]
    assert choose(tries, tmp_path / "choice.json")["learning_rate"] == 1e-2


def test_tries_that_differ_in_more_than_their_rate(tmp_path: Path) -> None:
    tries = [write_try(tmp_path, 1e-3, 0.5), write_try(tmp_path, 1e-2, 0.6, seed=8)]
    with pytest.raises(LraError, match="differ in more than their learning rate; train both again"):
        choose(tries, tmp_path / "choice.json")


@pytest.mark.parametrize("content", ["[]", "{}", None])
def test_a_record_that_was_edited_is_refused(tmp_path: Path, content: str | None) -> None:
    out = tmp_path / "choice.json"
    choose([write_try(tmp_path, 1e-3, 0.5)], out)
    out.write_text(content or out.read_text().replace("0.001", "0.002"))
    with pytest.raises(LraError, match="was edited or was not written by `lra choose`; delete it, and make it again"):
        read_choice(out)


def final(folder: Path, attention: str, rate: float) -> Path:
    path = write_run(folder, "text", attention, 1, 0.6)
    settings = json.loads(path.read_text())["settings"]
    settings["train"]["learning_rate"] = rate
    return reseal(path, settings=settings)


def test_the_table_says_which_rate_and_how_many_were_tried(tmp_path: Path) -> None:
    choose([write_try(tmp_path, rate, dev) for rate, dev in ((1e-2, 0.6), (1e-3, 0.9))], tmp_path / "choice.json")
    runs = [final(tmp_path, "softmax", 5e-3), final(tmp_path, "vmean", 1e-3)]
    collect(runs, tmp_path / "table.csv", choices=[tmp_path / "choice.json"], scale="mini")
    usual, tuned = read_rows(tmp_path / "table.csv")
    assert (usual.learning_rate, usual.tuned, usual.tuning_seconds) == (5e-3, None, None)
    assert (tuned.learning_rate, tuned.tuned, tuned.tuning_seconds) == (1e-3, 2, 4.0)
    write_report(tmp_path / "table.csv", runs, [], tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "Learning rates are the best on dev of 2 tried; some rows were not tuned." in report
    assert ">0.005</td>" in report and ">0.001, of 2 tried</td>" in report


def test_a_run_at_another_rate_than_the_chosen_one_is_refused(tmp_path: Path) -> None:
    choose([write_try(tmp_path, 1e-3, 0.5)], tmp_path / "choice.json")
    with pytest.raises(LraError, match=r"at a learning rate of 0.002, but .*choice.json chose 0.001; train this run"):
        collect([final(tmp_path, "vmean", 2e-3)], tmp_path / "table.csv", choices=[tmp_path / "choice.json"])
