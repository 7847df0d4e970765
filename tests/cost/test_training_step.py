from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
import yaml

from lra.attention.vmean import VMean
from lra.cli.main import main
from lra.config.arena import Arena, arena
from lra.config.mapping import as_mapping
from lra.config.settings import AttentionSettings, MeasureSettings, ModelSettings
from lra.cost import training_step as measuring
from lra.cost.step import Step
from lra.cost.training_step import Measurement, accumulation_steps, is_current, measure, restore, spread
from lra.data.synthetic import describe
from lra.errors import LraError
from lra.files import read_json
from lra.sealing import read_measure
from lra.tasks.description import Task
from lra.tasks.listops_trees import Generator, generate

ROOT = Path(__file__).parents[2]
BATCH = 24
DATA = {"source": "imdb", "max_length": 60}
PAIRS = {"source": "aan", "max_length": 60}
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


def settings(attention: str = "vmean", **changes: Any) -> MeasureSettings:
    default = {"batch": 2, "repeats": 3, "seconds": 0.0, "model": SIZES}
    return MeasureSettings(AttentionSettings(attention, features=8), DATA, BATCH, **default | changes)


def odd(folder: Path, how: str) -> AttentionSettings:
    path = folder / "odd.py"
    path.write_text(METHOD)
    return AttentionSettings("odd", features=8, options={"how": how}, module=f"{path}:Odd")


@pytest.mark.parametrize(("task", "towers"), [("text", 1), ("retrieval", 2)])
def test_what_is_written(task: str, towers: int, tmp_path: Path) -> None:
    chosen = replace(settings("skeinformer"), data=DATA if task == "text" else PAIRS)
    row = measure(task, chosen, tmp_path / "measure.json", code="c0de", threads=1)
    assert read_measure(tmp_path / "measure.json") == row
    assert (row["status"], row["reason"], row["task"], row["attention"]) == ("ok", "", task, "skeinformer")
    assert (row["length"], row["towers"], row["batch"], row["code"]) == (64, towers, 2, "c0de")
    assert row["machine"]["threads"] == 1
    times, update = row["train_ms"], row["optimizer_ms"]
    assert 0 < update["median"] < times["low"] <= times["median"] <= times["high"]
    assert times["repeats"] == 3
    assert row["train_ms_per_example"] == times["median"] / 2
    assert row["tokens_per_second"] == pytest.approx(2 * towers * 64 / times["median"] * 1000)
    assert row["inference_ms_per_example"] > 0
    gradients = (times["median"] - update["median"]) * BATCH / 2
    assert row["seconds_per_1000_steps"] == pytest.approx(gradients + update["median"])
    assert row["fixed_memory_bytes"] > 3 * 4 * row["parameters"]  # weights and two moments, float32
    assert row["peak_memory_bytes"] > row["fixed_memory_bytes"] + 4 * row["parameters"]  # and gradients


def test_times_are_compared_with_exact_attentions_without_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's Standard, which drops attention weights, costs two to three times as much and flatters all others."""
    times = {"vmean": iter([3.0, 9.0, 3.0]), "softmax_nodropout": iter([6.0, 18.0, 6.0])}

    def time(step: Step, examples: Any) -> tuple[float, float]:
        name = "vmean" if step is measurement.ours else "softmax_nodropout"
        order.append(name)
        return next(times[name]), 1.0

    order: list[str] = []
    measurement = Measurement(describe("text", DATA), settings())
    assert {type(layer.attention.attention).__name__ for layer in measurement.exact.model.layers} == {"Softmax"}
    assert {layer.attention.attention.dropout for layer in measurement.exact.model.layers} == {0.0}
    monkeypatch.setattr(Step, "time", time)
    found = measurement.full_length(2)
    assert order == ["vmean", "softmax_nodropout"] * 3
    assert found["ratio"] == found["ratio_low"] == found["ratio_high"] == pytest.approx(0.5)
    assert (found["train_ms"]["median"], found["exact_ms_per_example"]) == (3, 3)
    assert found["optimizer_ms"]["repeats"] == 3


@pytest.mark.parametrize(("batch", "extrapolated"), [(2, True), (BATCH, False)])
def test_a_time_that_is_multiplied_up_is_marked(batch: int, extrapolated: bool, tmp_path: Path) -> None:
    row = measure("text", settings(batch=batch), tmp_path / "measure.json", code="", threads=1)
    assert row["extrapolated"] is extrapolated
    if not extrapolated:
        assert row["seconds_per_1000_steps"] == pytest.approx(row["train_ms"]["median"])


def test_the_precision_on_a_cpu_is_told(tmp_path: Path) -> None:
    """Training in bf16 is measured in fp32 on a CPU unless bf16 is asked for; the model then computes in it."""
    seen: list[torch.dtype] = []

    def precision(**changes: Any) -> str:
        return measure("text", settings(**changes), tmp_path / "m.json", code="", threads=1)["precision"]

    assert precision(train_precision="bf16") == "fp32"
    assert precision(train_precision="fp32", precision="bf16") == "bf16"
    step = Step(describe("text", DATA), SIZES, AttentionSettings("vmean"), "bf16", torch.device("cpu"))
    step.model.norm.register_forward_pre_hook(lambda module, given: seen.append(given[0].dtype))
    step.model.layers[0].mlp[0].register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    step.run(step.examples(1))
    assert torch.bfloat16 in seen


@pytest.mark.parametrize("fixed", [False, True])
def test_real_lengths_in_buckets_against_exact_attention_over_real_tokens(
    fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method of fixed length cannot be trimmed; exact attention sees no padding at all."""
    seen: list[tuple[str, int, int, int]] = []

    def time(step: Step, examples: Any) -> tuple[float, float]:
        tokens, mask, label = examples
        who = "ours" if step is measurement.ours else "exact"
        seen.append((who, len(label), tokens[0].shape[1], int(mask[0].sum(1).max())))
        return {"ours": 3.0, "exact": 2.0}[who], 0.0

    monkeypatch.setitem(measuring.REAL_LENGTHS, ("text", 60), (5, 17, 33, 60))
    monkeypatch.setattr(measuring, "ROUNDED", 16)
    monkeypatch.setattr(VMean, "fixed_length", fixed)
    monkeypatch.setattr(Step, "time", time)
    measurement = Measurement(describe("text", DATA), settings(repeats=3))
    found = measurement.real_lengths(2)
    padded = (64, 64, 64, 64) if fixed else (16, 32, 48, 64)
    ours = [("ours", 2, length, real) for length, real in zip(padded, (5, 17, 33, 60), strict=True)]
    exact = [("exact", 2, real, real) for real in (5, 17, 33, 60)]
    assert seen == (ours + exact) * 3
    assert found["real_lengths"] == (5, 17, 33, 60)
    assert (found["bucket_ms_per_example"], found["exact_real_ms_per_example"]) == (1.5, 1)
    assert found["real_ratio"] == found["real_ratio_low"] == found["real_ratio_high"] == pytest.approx(1.5)


def test_where_lengths_are_not_known_there_is_no_such_number(tmp_path: Path) -> None:
    row = measure("text", settings(), tmp_path / "measure.json", code="", threads=1)
    assert row["real_lengths"] is row["bucket_ms_per_example"] is row["real_ratio"] is None


def test_real_lengths_are_those_of_the_tasks() -> None:
    """ListOps' are quantiles of what its generator draws; text's are below the length that reviews are cut to."""
    lengths: list[int] = []
    for rows in generate(Generator(), 1, brackets=False):
        lengths += pc.list_value_length(rows["tokens"]).to_pylist()
        if len(lengths) > 1000:
            break
    found = np.quantile(lengths, [0.125, 0.375, 0.625, 0.875])
    assert found == pytest.approx(measuring.REAL_LENGTHS["listops", 2000], rel=0.1)
    assert {(name, task.max_length) for name, task in ((n, describe(n, d)) for n, d in true_size().items())} >= set(
        measuring.REAL_LENGTHS
    )


def true_size() -> dict[str, Any]:
    """The ``data`` blocks of the scale paper."""
    return {name: block["data"] for name, block in configured().true_size.items()}


def configured(**changes: Any) -> Arena:
    return arena(yaml.safe_load((ROOT / "config.yaml").read_text()) | changes)


def test_measurements_are_of_the_true_size_at_either_scale() -> None:
    """Else a change of scale would measure all anew, or time would be of short sequences."""
    mini, paper = configured(), configured(scale="paper")
    wanted = {"listops": (2000, 256), "text": (4000, 128), "retrieval": (4000, 64)}
    wanted |= {"pathfinder": (1024, 512), "image": (1024, 256)}
    for task, (length, batch) in wanted.items():
        chosen = mini.measure_settings("vmean", task)
        assert chosen == paper.measure_settings("vmean", task)
        assert (describe(task, chosen.data).max_length, chosen.train_batch) == (length, batch)
        assert chosen.train_precision == "bf16"


def test_other_rows_of_a_task_measure_nothing_anew() -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    before = arena(config).measure_settings("vmean", "text")
    config["scales"]["paper"]["tasks"]["text"]["data"] |= {"dev": "test", "seed": 8, "expected_rows": None}
    config["scales"]["paper"]["tasks"]["text"]["data"].pop("expected_rows")
    assert arena(config).measure_settings("vmean", "text") == before


def test_the_old_name_of_the_memory_is_told_the_new_one() -> None:
    with pytest.raises(LraError, match=r"measure: unknown key 'memory_gb'\. Did you mean 'memory_gib'\?"):
        configured(measure={"memory_gb": 16})


@pytest.mark.parametrize("attention", ["softmax", "vmean", "skeinformer", "linformer", "bigbird"])
def test_the_straight_line_predicts_other_batches(attention: str) -> None:
    """Otherwise the largest batch, read off that line, would mean nothing."""
    chosen = Measurement(Task("text", 2, 257, 256), settings(attention, model=ModelSettings())).ours
    peaks = {batch: chosen.peak(batch) for batch in (2, 4, 12)}
    predicted = peaks[2] + (peaks[4] - peaks[2]) * 5
    assert abs(peaks[12] - predicted) < 0.03 * peaks[12]


def test_the_largest_batch_fits_and_a_larger_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "overhead", lambda device: 5_000_000)
    chosen = replace(settings("skeinformer", memory_gib=0.01, batch=8, check=True), train_batch=128)
    row = measure("text", chosen, tmp_path / "measure.json", code="", threads=1)
    memory, largest = row["memory_bytes"], row["largest_batch"]
    assert memory == int(0.01 * 2**30)
    assert 8 < largest < 128
    assert row["largest_batch_peak_bytes"] + 5_000_000 <= 1.03 * memory
    assert Measurement(describe("text", DATA), chosen).ours.peak(largest + 4) + 5_000_000 > memory
    assert 128 / row["accumulation_steps"] <= largest < 128 / (row["accumulation_steps"] / 2)


def test_the_largest_batch_is_tried_only_where_that_is_asked_for(tmp_path: Path) -> None:
    row = measure("text", settings(memory_gib=16), tmp_path / "measure.json", code="", threads=1)
    assert row["largest_batch"] > 0 and row["largest_batch_peak_bytes"] is None


def test_not_even_one_example_fits(tmp_path: Path) -> None:
    row = measure("text", settings(memory_gib=0.001, check=True), tmp_path / "measure.json", code="", threads=1)
    assert (row["status"], row["largest_batch"], row["accumulation_steps"]) == ("ok", 0, None)
    assert row["largest_batch_peak_bytes"] is None


@pytest.mark.parametrize(
    ("batch", "largest", "steps"),
    [(256, 4000, 1), (256, 256, 1), (256, 255, 2), (128, 17, 8), (128, 16, 8), (64, 1, 64), (64, 0, None)],
)
def test_accumulation_steps(batch: int, largest: int, steps: int | None) -> None:
    assert accumulation_steps(batch, largest) == steps


def test_memory_of_one_more_example_where_softmax_works_in_blocks() -> None:
    """Between the largest batch in one piece and the first in blocks memory does not grow."""
    chosen = replace(settings("softmax"), data={"source": "imdb", "max_length": 1024})
    _, per_example = Measurement(describe("text", chosen.data), chosen).peaks(4)
    assert per_example > 1024 * SIZES.embedding * 4  # one activation in float32


def test_memory_does_not_depend_on_the_run(tmp_path: Path) -> None:
    names = ("peak_memory_bytes", "memory_per_example_bytes", "fixed_memory_bytes", "flops_forward", "parameters")
    rows = [measure("text", settings("reformer"), tmp_path / "m.json", code="", threads=1) for _ in range(2)]
    assert [rows[0][name] for name in names] == [rows[1][name] for name in names]


def test_repeats_end_in_time_but_are_as_many_as_wanted(tmp_path: Path) -> None:
    row = measure("text", settings(seconds=0.0, repeats=4), tmp_path / "m.json", code="", threads=1)
    assert row["train_ms"]["repeats"] == 4


def test_the_batch_on_a_cpu_is_4096_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    for length, batch in ((60, 64), (2000, 2), (4000, 1), (8000, 1)):
        assert Measurement(Task("text", 2, 257, length), settings(batch=None)).find_batch() == batch


def test_a_batch_is_tried_with_both_attentions_and_leaves_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the batch is that of both, or the ratio would be of two batches."""
    ran: list[tuple[Step, int]] = []
    monkeypatch.setattr(Step, "run", lambda step, examples: ran.append((step, len(examples[2]))))
    measurement = Measurement(describe("text", DATA), settings())
    measurement.try_batch(3)
    assert ran == [(measurement.ours, 3), (measurement.exact, 3)]
    assert all(parameter.grad is None for parameter in measurement.ours.model.parameters())


def test_what_the_same_code_has_measured_with_the_same_settings_is_current(tmp_path: Path) -> None:
    path, chosen = tmp_path / "measure.json", settings()
    assert not is_current(path, chosen, "c0de")
    measure("text", chosen, path, code="c0de", threads=1)
    assert is_current(path, chosen, "c0de")
    assert not is_current(path, chosen, "other")
    assert not is_current(path, replace(chosen, repeats=9), "c0de")
    path.write_text("[]")
    assert not is_current(path, chosen, "c0de")


def test_what_snakemake_deletes_is_put_back(tmp_path: Path) -> None:
    """It deletes a job's outputs first; a job that then fails, or other settings and back, must not lose them."""
    path, chosen = tmp_path / "measure.json", settings()
    assert not restore(path, chosen, "c0de")
    measure("text", chosen, path, code="c0de", threads=1)
    before = path.read_bytes()
    measure("text", replace(chosen, repeats=chosen.repeats + 1), path, code="c0de", threads=1)
    path.unlink()
    assert not restore(path, chosen, "other") and not path.exists()
    assert restore(path, chosen, "c0de") and path.read_bytes() == before
    (copy,) = (other for other in tmp_path.iterdir() if other != path and other.read_bytes() == before)
    copy.write_text("{}")
    assert restore(path, chosen, "c0de"), "it is there"
    path.unlink()
    assert not restore(path, chosen, "c0de"), "its copy is damaged"


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [("crash", "failed", "IndexError: out of range"), ("memory", "oom", "OutOfMemoryError: too much")],
)
def test_a_failure_is_a_row(how: str, status: str, reason: str, tmp_path: Path) -> None:
    chosen = replace(settings(), attention=odd(tmp_path, how))
    row = measure("text", chosen, tmp_path / "measure.json", code="", threads=1)
    assert (row["status"], row["reason"]) == (status, reason)
    assert read_measure(tmp_path / "measure.json") == row
    assert "train_ms" not in row


def test_a_killed_process_is_a_row_and_the_next_task_is_measured(tmp_path: Path) -> None:
    killed = as_mapping(replace(settings(batch=1), attention=odd(tmp_path, "killed")))
    fine = killed | {"attention": {"name": "vmean"}, "data": PAIRS}
    command = ["measure", "--attention", "odd", "--threads", "1", "--results", str(tmp_path), "--code", "c"]
    done = subprocess.run(
        [sys.executable, "-m", "lra", *command, "--settings", json.dumps({"text": killed, "retrieval": fine})],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    row = read_json(tmp_path / "measures/text/odd/measure.json")
    assert (row["status"], row["reason"]) == ("oom", "the process was ended by SIGKILL")
    assert (row["task"], row["attention"], row["length"], row["code"]) == ("text", "odd", 64, "c")
    assert "text odd: oom" in done.stdout
    assert read_json(tmp_path / "measures/retrieval/odd/measure.json")["status"] == "ok"


def test_a_task_of_the_users_own_by_hand(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("def parity(split):\n    yield [1], 0\n")
    data = {"module": "mine.py:parity", "classes": 2, "vocabulary": 3, "max_length": 12}
    train = {"batch": 24, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2}
    scale = {"features": 8, "threads": 1, "runtime": 5, "memory": 2000, "model": {}}
    config = {"scale": "mini", "tasks": ["mine"], "attentions": ["vmean"], "seeds": [1]}
    scale |= {"tasks": {"mine": {"data": data, "train": train}}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config | {"scales": {"mini": scale}}))
    command = ["measure", "--attention", "vmean", "--config", str(path), "--threads", "1"]
    command += ["--results", str(tmp_path)]
    assert main(command) == 0
    row = read_json(tmp_path / "measures/mine/vmean/measure.json")
    assert (row["status"], row["task"], row["length"], row["paper_batch"]) == ("ok", "mine", 16, 24)
    assert main([*command, "--task", "mien"]) == 1
    assert "unknown task 'mien'. Did you mean 'mine'?" in capfd.readouterr().err


def test_mistakes_of_a_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--attention", "skeinformr", "--task", "text"]) == 1
    assert "Did you mean 'skeinformer'?" in capsys.readouterr().err


def test_spread() -> None:
    assert spread([3.0, 1.0, 8.0]) == {"median": 3, "low": 1, "high": 8, "repeats": 3}
