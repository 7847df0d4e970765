"""The program that checks a card, on the CPU: what it calls wrong, and what it keeps when it is cut short."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gpu
import pytest
import torch
from gpu_parts import correctness, identity, launches
from gpu_parts.record import Record
from gpu_parts.sizes import ORDER, PAPER, SIZES
from gpu_parts.table import table
from torch import Tensor

from lra.attention.vmean import VMean
from lra.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def not_strict() -> Any:
    yield
    torch.use_deterministic_algorithms(False)


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


def test_runs_that_differ_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that leaves a trace of the runs before it; the very same settings are right otherwise."""
    record = Record(tmp_path / "identity.jsonl")
    identity.run(record, SIZES["cpu"], ("vmean",), CPU)
    step, runs = Trainer.step, []

    def drifting(self: Trainer, batch: Any) -> None:
        step(self, batch)
        runs.append(0)
        with torch.no_grad():
            next(self.model.parameters()).add_(len(runs) * 1e-6)

    monkeypatch.setattr(Trainer, "step", drifting)
    identity.run(record, SIZES["cpu"], ("vmean",), CPU)
    right, wrong = record.results()
    assert (right["ok"], right["twice"], right["killed"]) == (True, True, True)
    assert (wrong["ok"], wrong["twice"], wrong["killed"]) == (False, False, False)


def test_what_a_step_launches(tmp_path: Path) -> None:
    """On a CPU the operators; the table names those of most time."""
    record = Record(tmp_path / "launches.jsonl")
    launches.run(record, SIZES["cpu"], ("vmean",), CPU)
    (found,) = record.results()
    assert found["launches"] > 50 and found["ms"] > 0
    assert any(name.startswith("aten::") for name, _, _ in found["kernels"])
    times = [ms for _, _, ms in found["kernels"]]
    assert times == sorted(times, reverse=True) and len(times) <= launches.SHOWN
    text = table({"launches": [found]})
    assert f"{found['launches']} launches" in text and found["kernels"][0][0] in text


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    record = Record(tmp_path / "cores.jsonl")
    record.add(limits="bf16", copy_gb_s=1.0)
    with record.path.open("a") as file:
        file.write('{"attention": "skei')
    assert record.results() == [{"limits": "bf16", "copy_gb_s": 1.0}]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zero minutes only make the table; something wrong in it is 1, slowness is not."""
    slow = {"attention": "vmean", "batch": 1, "length": 2048, "compiled": False, "ratio": 99.0, "strict_ratio": 99.0}
    (tmp_path / "cores.jsonl").write_text(json.dumps(slow | {"target": 1.0}) + "\n")
    command = ["--minutes", "0", "--out", str(tmp_path)]
    assert gpu.main(command) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    (tmp_path / "identity.jsonl").write_text(json.dumps({"attention": "vmean", "ok": False, "twice": False}) + "\n")
    assert gpu.main(command) == 1
    assert "identity: attention vmean  ok False" in (tmp_path / "table.txt").read_text()


def test_a_part_is_ended_in_time_and_keeps_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed with what it started, and that is no crash; a part that ends by itself with an error is one."""
    options = gpu.parser().parse_args(["--out", str(tmp_path), "--attentions", "vmean"])
    (script := tmp_path / "part.py").write_text(
        "import subprocess, sys, time, pathlib\n"
        "if 'card' in sys.argv: sys.exit(3)\n"
        "pathlib.Path(sys.argv[4], 'cores.jsonl').write_text('{\"limits\": 1}\\n')\n"
        "time.sleep(600)\n"
    )
    monkeypatch.setattr(gpu, "__file__", str(script))
    parts = {part.name: part for part in gpu.PARTS}
    assert gpu.run_part(parts["cores"], options, seconds=8)
    assert gpu.results(tmp_path)["cores"] == [{"limits": 1}]
    assert not gpu.run_part(parts["card"], options, seconds=60)


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
    assert all(found[part] for part in ("card", "correctness", "identity", "cores", "steps", "launches", "busy"))
