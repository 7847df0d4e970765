"""The commands that measure: what they take from config.yaml, and what becomes of a process that is ended."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra import devices
from lra.attention.registry import names
from lra.cli import cost as costs
from lra.cli.bench import attentions_to_bench
from lra.cli.console import run_command
from lra.cli.main import main
from lra.config.arena import arena
from lra.cost import training_step as measuring
from lra.errors import LraError
from lra.files import read_json
from lra.fingerprint import fingerprint

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
MODEL = {"layers": 1, "embedding": 16, "hidden": 16, "heads": 2, "head_dim": 8}
SETTINGS = {
    "attention": {"name": "vmean"},
    "data": {"source": "imdb", "max_length": 60},
    "train_batch": 8,
    "model": MODEL,
    "batch": 2,
    "seconds": 0.0,
    "memory_gib": 0.01,
}
MEASURE = ["measure", "--attention", "vmean", "--threads", "1"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Options of a measurement of a second, which the child process inherits."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measuring, "overhead", lambda device: 5_000_000)
    return ["--settings", json.dumps({"text": SETTINGS})]


@pytest.mark.parametrize("options", [[], ["--check"]], ids=["plain", "check"])
def test_a_measurement_is_written_and_told_in_a_line(
    small: list[str], options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*MEASURE, *small, *options]) == 0
    row = read_json(Path("results/measures/text/vmean/measure.json"))
    assert (row["status"], row["task"], row["length"]) == ("ok", "text", 64)
    assert (row["largest_batch_peak_bytes"] is not None) == bool(options)
    assert capfd.readouterr().out == f"{costs.summary(row)}\n"


def test_what_the_child_process_does(
    small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here in this process, whose GPU is taken and whose errors are told as any command's."""
    done: list[Any] = []

    def measured(*given: Any, **more: Any) -> dict[str, Any]:
        done.append((given, more))
        return {"task": "text", "attention": "vmean", "status": "failed", "reason": "x"}

    monkeypatch.setattr(measuring, "measure", measured)
    monkeypatch.setattr(devices, "own_gpu", lambda: contextlib.nullcontext(done.append("a GPU")))
    monkeypatch.setattr(costs, "in_child", run_command)
    assert main([*MEASURE, *small, "--check"]) == 0
    gpu, ((task, settings, out), more) = done
    assert (gpu, task, out) == ("a GPU", "text", Path("results/measures/text/vmean/measure.json"))
    assert settings.check and settings.batch == 2
    modules = ("lra.attention.vmean", "lra.attention.softmax")  # exact attention is measured too
    assert more == {"code": fingerprint("lra.cost.training_step", *modules), "threads": 1}
    assert capsys.readouterr().out == "text vmean: failed, x\n"
    assert main([*MEASURE[:3], "--settings", json.dumps({"text": SETTINGS | {"batches": 2}})]) == 1
    assert capsys.readouterr().err.startswith("Error: --settings: text: unknown key 'batches'. Did you mean 'batch'?")


def test_the_processes_of_all_tasks_share_the_imports(small: list[str]) -> None:
    """In a process of its own: this one may have imported everything already."""
    program = """
import sys
from lra.cli import cost, main
cost.in_child = lambda work: print("torch._dynamo" in sys.modules) or 0
sys.exit(main.main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", program, *MEASURE, *small], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_every_task_of_config_is_measured_or_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done: list[tuple[str, Path]] = []

    def measured(task: str, settings: Any, out: Path, **more: Any) -> dict[str, Any]:
        done.append((task, out))
        return {"task": task, "attention": "vmean", "status": "failed", "reason": "x"}

    monkeypatch.setattr(measuring, "measure", measured)
    monkeypatch.setattr(costs, "in_child", run_command)
    assert main([*MEASURE, "--results", "x"]) == 0
    assert done == [(task, Path("x/measures", task, "vmean", "measure.json")) for task in CONFIG["tasks"]]
    done.clear()
    assert main([*MEASURE, "--tasks", "lra-image", "text"]) == 0
    assert [task for task, _ in done] == ["image", "text"]


def test_only_what_is_stale_is_measured_where_that_is_asked_for(
    small: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = Path("results/measures/text/vmean/measure.json")
    assert main([*MEASURE, *small]) == 0
    before = path.stat().st_mtime_ns
    assert main([*MEASURE, *small, "--stale"]) == 0
    assert path.stat().st_mtime_ns == before
    assert capfd.readouterr().out.splitlines()[-1] == f"text vmean: measured already, {path}"
    assert main([*MEASURE, *small, "--stale", "--code", "other"]) == 0
    assert read_json(path)["code"] == "other"


def test_the_line() -> None:
    row = {
        "task": "text",
        "attention": "vmean",
        "status": "ok",
        "train_ms_per_example": 2.54,
        "batch": 4,
        "precision": "fp32",
        "ratio": 0.25,
        "ratio_low": 0.2401,
        "ratio_high": 0.26,
        "memory_per_example_bytes": 3 * 2**20,
        "largest_batch": 7,
    }
    assert costs.summary(row) == (
        "text vmean: 2.5 ms per example in steps of 4 (fp32), 0.25 of exact attention (0.24 to 0.26), 3.0 MiB per "
        "example, at most 7 fit"
    )
    assert costs.summary(row | {"status": "oom", "reason": "too much"}) == "text vmean: oom, too much"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, "oom"), (signal.SIGUSR1, "failed")])
def test_a_process_that_is_ended_is_a_row(
    number: signal.Signals, status: str, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: os.kill(os.getpid(), number))
    assert main([*MEASURE, *small]) == 0
    row = read_json(Path("results/measures/text/vmean/measure.json"))
    assert (row["status"], row["reason"]) == (status, f"the process was ended by {number.name}")


def test_a_process_that_is_asked_to_stop_leaves_nothing(small: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert main([*MEASURE, *small]) == signal.SIGTERM
    assert not Path("results").exists()


def test_an_unknown_method_with_settings_of_its_own(small: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    settings = json.dumps({"text": SETTINGS | {"attention": {"name": "vmeen"}}})
    assert main(["measure", "--attention", "vmeen", "--settings", settings]) == 1
    assert capfd.readouterr().err.startswith("Error: unknown attention 'vmeen'. Did you mean 'vmean'?")


def test_what_is_measured_is_the_configured_attention_with_the_blocks_budget() -> None:
    chosen = arena(CONFIG | {"measure": {"features": 77, "repeats": 5}})
    settings = chosen.measure_settings("performer", "text")
    assert vars(settings.attention) == vars(chosen.attentions["performer"]) | {"features": 77}
    assert settings.repeats == 5
    assert arena(CONFIG | {"measure": {}}).measure_settings("performer", "text").attention.features == 256


def test_what_is_compared_is_the_configured_attention_in_the_text_tasks_model() -> None:
    config = copy.deepcopy(CONFIG)
    config["scales"]["mini"]["tasks"]["text"]["model"] = {"hidden": 96}
    chosen = arena(config)
    settings = chosen.approximate_settings("performer")
    assert settings.attention.options == chosen.attentions["performer"].options
    assert settings.model == chosen.experiment("performer", "text", seed=0).model and settings.model.hidden == 96
    assert settings.trials == chosen.settings["approximate"]["trials"]


def test_an_approximation_without_options_takes_what_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mini = CONFIG["scales"]["mini"]
    mini = mini | {"model": MODEL, "approximate": {"trials": 2, "lengths": [32], "features": [4]}}
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG | {"scales": CONFIG["scales"] | {"mini": mini}}))
    assert main(["rehearsal-data", "text", "--out", "data/mini/text"]) == 0
    assert main(["approximate", "--attn", "perfromer", "--threads", "1"]) == 0
    with Path("results/approximation/mini/performer.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    found = [row[name] for name in ("attention", "weights", "length", "features", "trials", "reason")]
    assert found == ["performer", "random", "32", "4", "2", ""]


def test_a_method_that_cannot_be_timed_is_told_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = json.dumps([{"name": "bigbird", "options": {"block_size": 0}}])
    out = tmp_path / "attention.csv"
    assert main(["bench", "--settings", settings, "--lengths", "32", "--threads", "1", "--out", str(out)]) == 0
    with out.open() as stream:
        (row,) = csv.DictReader(stream)
    assert row["reason"].startswith("ValueError: block_size must be at least 1") and row["ratio"] == ""
    assert " ".join(capsys.readouterr().out.split()) == f"bigbird 32 x 128 float32 skipped: {row['reason']}"


def benched(*wanted: str, features: int | None = None) -> list[tuple[str, int | None, Any]]:
    """Name, features and options of what is timed."""
    chosen = attentions_to_bench([], wanted or None, features)
    return [(one["name"], one.get("features"), one.get("options")) for one in chosen]


def test_what_is_timed_is_as_config_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert benched("perfromer", "mine.py:Mine") == [("performer", None, None), ("mine.py:Mine", None, None)]
    assert [name for name, *_ in benched()] == names()
    config = copy.deepcopy(CONFIG)
    (tmp_path / "mine.py").write_text("from lra.attention import Attention\n\n\nclass Mine(Attention): ...")
    config["attentions"].remove("bigbird")
    config["attentions"] += [{"bigbird": {"options": {"num_random_blocks": 2}}}, {"mine": {"module": "mine.py:Mine"}}]
    config["measure"]["features"] = 64
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert benched("mine", "bigbird") == [("mine", 64, {}), ("bigbird", 64, {"num_random_blocks": 2})]
    assert benched("mine", features=8) == [("mine", 8, {})]
    assert [name for name, *_ in benched()] == [*names(), "mine"]
    with pytest.raises(LraError, match=r"unknown attention 'mien'\. Did you mean 'mine'"):
        benched("mien")
    with pytest.raises(LraError, match=r"^nowhere\.yaml is not there"):
        attentions_to_bench(["nowhere.yaml"], None, None)
