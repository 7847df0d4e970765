"""The program that checks a card, on the CPU: what it calls wrong, and what it keeps when it is cut short."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from gpu_parts import cores, correctness, identity, steps
from gpu_parts.record import Record
from gpu_parts.sizes import ORDER, PAPER, SIZES
from gpu_parts.table import table
from gpu_parts.trainers import refuse_other_rows
from gpu_parts.turns import Turns
from torch import Tensor

from lra.attention.vmean import VMean
from lra.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def not_strict() -> Any:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def alone(tmp_path: Path) -> Turns:
    """The turns of a single process."""
    (folder := tmp_path / "turns").mkdir()
    return Turns.of([str(folder), "0", "1", "inf"])


def drifting(step: Callable[..., None]) -> Callable[..., None]:
    """A step that leaves a trace of the steps of all runs before it."""
    runs = []

    def drifted(self: Trainer, batch: Any) -> None:
        step(self, batch)
        runs.append(0)
        with torch.no_grad():
            next(self.model.parameters()).add_(len(runs) * 1e-6)

    return drifted


def test_all_sixteen_are_checked() -> None:
    assert len(PAPER) == 16 and sorted(ORDER) == sorted(PAPER)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_small_error_is_wrong(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An output that is off by 10 % in one of two types is found, and a right one is not."""
    case: Any = {"attention": "vmean", "dtype": dtype, "length": 65, "sequences": 3, "features": 8, "device": CPU}
    assert correctness.compare(**case)["ok"]
    right = VMean.attend

    def off(self: VMean, *given: Any) -> Tensor:
        output = right(self, *given)
        return output if output.dtype == torch.float64 else output * 1.1

    monkeypatch.setattr(VMean, "attend", off)
    found = correctness.compare(**case)
    assert not found["ok"] and found["output"] == pytest.approx(0.1, rel=0.3)


def test_an_error_is_a_result_that_is_wrong(tmp_path: Path) -> None:
    record = Record(tmp_path / "part.jsonl")
    record.attempt({"attention": "x"}, lambda: {"ok": bool(1 / 0)})
    (result,) = record.results()
    assert not result["ok"] and result["error"].startswith("ZeroDivisionError")
    assert "part: attention x  ok False" in table({"part": [result]})


def test_runs_that_differ_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: Turns) -> None:
    """A step that leaves a trace of the runs before it; the very same settings are right otherwise."""
    record = Record(tmp_path / "identity.jsonl")
    identity.run(record, SIZES["cpu"], ("vmean",), CPU, alone)
    monkeypatch.setattr(Trainer, "step", drifting(Trainer.step))
    identity.run(record, SIZES["cpu"], ("vmean",), CPU, alone)
    right, wrong = record.results()
    assert (right["ok"], right["twice"], right["killed"]) == (True, True, True)
    assert (wrong["ok"], wrong["twice"], wrong["killed"]) == (False, False, False)


def test_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: Turns) -> None:
    """Its kernels, on a CPU the operators, those of most time first; runs of one seed that differ are wrong."""
    record = Record(tmp_path / "steps.jsonl")
    steps.run(record, SIZES["cpu"], ("vmean",), CPU, alone)
    monkeypatch.setattr(Trainer, "step", drifting(Trainer.step))
    steps.run(record, SIZES["cpu"], ("vmean",), CPU, alone)
    right, wrong = record.results()
    assert right["ok"] and right["quiet"] and right["ms"] > 0 and not right["fell_back_to_eager"]
    assert right["launches"] > 50 and right["kernel_ms"] > 0
    assert any(name.startswith("aten::") for name, _, _ in right["kernels"])
    times = [ms for _, _, ms in right["kernels"]]
    assert times == sorted(times, reverse=True) and len(times) <= steps.SHOWN
    text = table({"steps": [right]})
    assert f"{right['launches']} launches" in text and right["kernels"][0][0] in text
    assert wrong["ok"] is False


def test_micro_batches_that_differ() -> None:
    """Memory that does not last is not taken for runs that differ."""
    refuse_other_rows(256, 256, 256)
    with pytest.raises(MemoryError, match="too little memory"):
        refuse_other_rows(256, 128)


def test_a_core(tmp_path: Path, alone: Turns) -> None:
    """Its ratio to exact attention; the table marks one that was measured beside others."""
    record = Record(tmp_path / "cores.jsonl")
    cores.run(record, SIZES["cpu"], ("vmean",), CPU, alone)
    (found,) = record.results()
    assert found["quiet"] and found["ratio"] > 0 and found["peak_mib"] > 0
    assert found["ms"] > 0 and found["unmasked_ms"] > 0 and found["masked_ms"] > 0
    text = table({"cores": [found | {"ratio": 0.51234, "target": 0.4, "quiet": False}]})
    assert "unmasked_ms" in text and "0.512? (0.4)" in text


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record = Record(tmp_path / "cores.jsonl")
    record.add(limits="bf16", copy_gb_s=1.0)
    with record.path.open("a") as file:
        file.write('{"attention": "skei')
    assert record.results() == [{"limits": "bf16", "copy_gb_s": 1.0}]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zero minutes only make the table; something wrong in it is 1, slowness is not."""
    slow = {"attention": "vmean", "length": 2048, "ratio": 99.0, "target": 1.0, "quiet": True}
    (tmp_path / "cores.jsonl").write_text(json.dumps(slow) + "\n")
    command = ["--minutes", "0", "--out", str(tmp_path)]
    assert gpu.main(command) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    (tmp_path / "identity.jsonl").write_text(json.dumps({"attention": "vmean", "ok": False, "twice": False}) + "\n")
    assert gpu.main(command) == 1
    assert "identity: attention vmean  ok False" in (tmp_path / "table.txt").read_text()


def ended(process: int) -> bool:
    """Whether a process ends within seconds."""
    state = Path("/proc", str(process), "stat")
    for _ in range(100):
        try:
            if ") Z " in state.read_text():
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parts run at the same time and share the methods out; it is ended with all that it started.

    That is no crash; a part that ends by itself with an error is one.
    """
    monkeypatch.setattr(gpu, "processes_of", lambda part, *_: 2 if part.cores else 1)
    options = gpu.parser().parse_args(["--out", str(tmp_path), "--attentions", "vmean", "softmax", "linformer"])
    (script := tmp_path / "part.sh").write_text(  # a shell starts at once, also on a busy machine
        '[ "$2" != card ] || exit 3\n'
        "sleep 600 &\n"
        'echo "{\\"words\\": \\"$*\\", \\"child\\": $!}" >> "$4/$2.jsonl"\n'
        "wait\n"
    )
    monkeypatch.setattr(sys, "executable", "sh")
    monkeypatch.setattr(gpu, "__file__", str(script))
    parts = {part.name: part for part in gpu.PARTS}
    stage = gpu.Stage((parts["card"], parts["cores"], parts["busy"]), None)
    assert gpu.run_stage(stage, options, seconds=1.5) == ["card"]
    found = gpu.results(tmp_path)
    words = {name: [one["words"].split() for one in found[name]] for name in ("busy", "cores")}
    assert [line[line.index("--attentions") + 1 :] for line in words["busy"]] == [["vmean", "softmax", "linformer"]]
    turns, names = zip(*((line[5:8], line[10:]) for line in sorted(words["cores"])), strict=True)
    assert names == (["vmean", "linformer"], ["softmax"])
    assert turns == ([turns[0][0], "0", "2"], [turns[0][0], "1", "2"])
    assert all(map(ended, (one["child"] for one in found["busy"] + found["cores"])))


def test_how_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One a method at most, and no more than the cores and the memory of the GPU allow."""
    monkeypatch.setattr(gpu.os, "sched_getaffinity", lambda _: range(16), raising=False)
    one, each, fourth = gpu.Part("", ""), gpu.Part("", "", cores=1), gpu.Part("", "", cores=4)
    cases = [(one, 16, 140.0), (each, 16, 140.0), (each, 3, None), (each, 16, 24.0), (fourth, 16, None), (each, 2, 1.0)]
    assert [gpu.processes_of(*case) for case in cases] == [1, 16, 3, 4, 4, 1]


def test_one_part_is_added_to_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "card.jsonl").write_text(json.dumps({"memory_gib": 80.0}) + "\n")
    asked = []
    monkeypatch.setattr(gpu, "run_stage", lambda stage, *_: asked.append([part.name for part in stage.parts]) or [])
    assert gpu.main(["--part", "steps", "--out", str(tmp_path)]) == 0
    assert asked == [["steps"]] and gpu.memory_gib(tmp_path) == 80.0
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert [name for stage in asked[1:] for name in stage] == [part.name for part in gpu.PARTS]
    assert gpu.memory_gib(tmp_path) is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu, "NEEDED", {"sheep": "electric_sheep"})
    assert gpu.main([]) == 2
    assert capsys.readouterr().err.startswith("Error: benchmarks/gpu.py needs sheep; pip install")


@pytest.mark.slow
@pytest.mark.long
def test_the_whole_program_on_a_cpu(tmp_path: Path) -> None:
    """The reduced form runs every part but those that a slow machine has no time for."""
    import subprocess

    command = [sys.executable, gpu.__file__, "--out", str(tmp_path), "--attentions", "vmean", "--minutes", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = gpu.results(tmp_path)
    assert all(found[part] for part in ("card", "correctness", "identity", "cores", "steps", "busy"))
    assert not found["compiled"]
