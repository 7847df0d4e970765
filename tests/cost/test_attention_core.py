from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lra.attention import build
from lra.cli.main import main
from lra.config.settings import AttentionSettings
from lra.cost import attention_core as benchmarking
from lra.cost.attention_core import (
    HEAD_DIM,
    HEADS,
    CoreRow,
    PackedPass,
    Pass,
    benchmark,
    exact_attention,
    unmasked_attention,
    write_rows,
)
from lra.cost.limits import Limits
from lra.devices import machine

CPU = torch.device("cpu")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, CoreRow]:
    monkeypatch.setitem(benchmarking.POSITIONS, "cpu", 256)
    names = ["softmax", "softmax_nodropout", "vmean", "skeinformer", "nosuch"]
    attentions = [AttentionSettings(name, features=16) for name in names]
    return {row.attention: row for row in benchmark(attentions, [128], repeats=3, threads=1)}


def test_a_row_holds_measured_numbers(rows: dict[str, CoreRow]) -> None:
    for name in ("softmax", "softmax_nodropout", "vmean", "skeinformer"):
        row = rows[name]
        assert (row.length, row.batch, row.device, row.dtype, row.reason) == (128, 2, "cpu", "float32", "")
        assert row.ms and row.sdpa_ms and row.ratio and row.low and row.high
        assert row.low <= row.ratio <= row.high
        assert row.unmasked_ms is row.varlen_ratio is None  # kernels of a CPU do not differ by them


def test_memory_is_counted_to_the_byte(rows: dict[str, CoreRow]) -> None:
    """The same kernel takes the same memory; dropping weights needs the attention matrices of a block of queries."""
    exact = rows["softmax_nodropout"]
    assert exact.peak_mib == exact.sdpa_peak_mib == rows["vmean"].sdpa_peak_mib
    assert rows["softmax"].peak_mib and rows["softmax"].peak_mib * 2**20 > 2 * 2 * 128 * 128 * 4


def test_a_method_that_cannot_run_has_a_reason(rows: dict[str, CoreRow]) -> None:
    row = rows["nosuch"]
    assert "unknown attention 'nosuch'" in row.reason
    assert row.ms is row.ratio is row.peak_mib is None


def test_both_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    order = []

    def record(call: Pass, device: torch.device) -> float:
        order.append("exact" if call.forward is exact_attention else "ours")
        return {"ours": 6.0, "exact": 2.0}[order[-1]]

    monkeypatch.setattr(benchmarking, "milliseconds", record)
    (row,) = benchmark([AttentionSettings("vmean", features=4)], [32], repeats=3, threads=1)
    assert order == ["ours", "exact"] * 3
    assert (row.ms, row.sdpa_ms) == (6, 2)
    assert (row.ratio, row.low, row.high) == pytest.approx((3, 3, 3))


def test_every_yardstick_is_timed_in_the_same_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: without a mask and over the real tokens only, too."""
    times = iter([6.0, 2.0, 3.0, 1.0, 12.0, 4.0, 6.0, 2.0])

    def three(*sizes: Any) -> dict[str, Pass]:
        unmasked, varlen = Pass(unmasked_attention, *sizes), PackedPass(exact_attention, *sizes)
        return {"sdpa": Pass(exact_attention, *sizes), "unmasked": unmasked, "varlen": varlen}

    monkeypatch.setattr(benchmarking, "yardsticks", three)
    monkeypatch.setattr(benchmarking, "milliseconds", lambda call, device: next(times))
    (row,) = benchmark([AttentionSettings("vmean", features=4)], [32], repeats=2, threads=1)
    assert (row.ms, row.sdpa_ms, row.unmasked_ms, row.varlen_ms) == (9, 3, 4.5, 1.5)
    assert (row.ratio, row.unmasked_ratio, row.varlen_ratio) == pytest.approx((3, 2, 6))


def test_what_the_device_can_do_stands_beside_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarking, "measure_limits", lambda device, dtype: Limits(copy_gb_s=2, matmul_tflop_s=0.5))
    monkeypatch.setitem(benchmarking.POSITIONS, "cpu", 256)
    (row,) = benchmark([AttentionSettings("softmax_nodropout")], [128], repeats=1, threads=1)
    assert row.machine == machine(CPU, 1)["device"]
    assert (row.copy_gb_s, row.matmul_tflop_s) == (2, 0.5)
    # Twelve tensors of 2 sequences, float32; two products forwards and twice these backwards, two FLOPs a multiply-add.
    assert row.copy_ms == pytest.approx(12 * 2 * HEADS * 128 * HEAD_DIM * 4 / 2e9 * 1000)
    assert row.matmul_ms == pytest.approx(3 * 2 * 2 * 2 * HEADS * 128**2 * HEAD_DIM / 0.5e12 * 1000)
    assert row.low is row.high is None  # of a single round


def by_sequences(query: Tensor, key: Tensor, value: Tensor, ends: Tensor, other: Tensor, *longest: int) -> Tensor:
    """Torch's ``varlen_attn``, which a CPU lacks: sequences of (tokens, heads, head_dim) that end at ``ends[1:]``."""
    assert ends is other and ends.dtype == torch.int32 and longest == (64, 64)
    sequences = [tensor.tensor_split(ends[1:-1].long()) for tensor in (query, key, value)]
    heads = [[tensor.transpose(0, 1)[None] for tensor in one] for one in zip(*sequences, strict=True)]
    attended = [unmasked_attention(*one, ends)[0] for one in heads]
    return torch.cat([one.transpose(0, 1) for one in attended])


@pytest.mark.parametrize("varlen", [False, True])
def test_exact_attention_over_real_tokens_is_that_with_a_mask(varlen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Output and gradients, of sequences of two lengths that lie one after the other."""
    if varlen:
        monkeypatch.setattr(benchmarking, "has_varlen", lambda query: True)
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", by_sequences)
    masked = Pass(exact_attention, 64, 3, CPU, torch.float32)
    packed = PackedPass(exact_attention, 64, 3, CPU, torch.float32)
    real = masked.mask.nonzero(as_tuple=True)
    packed.inputs = [one.detach().transpose(1, 2)[real].requires_grad_() for one in masked.inputs]
    gradient = torch.randn(3, HEADS, 64, HEAD_DIM) * masked.mask[:, None, :, None]
    output, packed_output = masked.output(), packed.output()
    assert packed_output.shape == (64 + 56 + 64, HEADS, HEAD_DIM)
    torch.testing.assert_close(packed_output, output.transpose(1, 2)[real])
    output.backward(gradient)
    packed_output.backward(gradient.transpose(1, 2)[real])
    for one, other in zip(masked.inputs, packed.inputs, strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(other.grad, one.grad.transpose(1, 2)[real])
    packed()
    assert all(one.grad is None for one in packed.inputs)


def test_what_is_tried_for_a_batch_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method and every yardstick, or the one would be timed where the other does not fit."""
    ran: list[Pass] = []
    monkeypatch.setattr(Pass, "__call__", lambda one: ran.append(one))
    method = build("vmean", heads=HEADS, head_dim=HEAD_DIM, max_length=16)
    benchmarking._try(method, 16, 2, CPU, torch.float32)
    assert [one.forward for one in ran] == [method, exact_attention]


def test_unmasked_attention_is_to_padding_too() -> None:
    query, key, value = torch.randn(3, 1, HEADS, 8, HEAD_DIM)
    mask = torch.arange(8)[None] < 5
    all_real = torch.ones_like(mask)
    found = unmasked_attention(query, key, value, mask)
    torch.testing.assert_close(found, exact_attention(query, key, value, all_real))


def test_a_pass_leaves_no_gradients_and_pads() -> None:
    linear = torch.nn.Linear(32, 32)
    seen = []

    def forward(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(mask)
        return linear(exact_attention(query, key, value, mask))

    one = Pass(forward, 64, 2, CPU, torch.float32)
    one.parameters = list(linear.parameters())
    one()
    assert all(tensor.grad is None for tensor in (*one.inputs, *linear.parameters()))
    assert seen[0].sum(-1).tolist() == [64, 56]


def test_csv(rows: dict[str, CoreRow], tmp_path: Path) -> None:
    write_rows(map(astuple, rows.values()), tmp_path / "bench.csv")
    with (tmp_path / "bench.csv").open() as stream:
        read = {row["attention"]: row for row in csv.DictReader(stream)}
    assert float(read["vmean"]["ratio"]) == rows["vmean"].ratio
    assert read["nosuch"]["ratio"] == ""


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "attention.csv"
    options = ["--lengths", "64", "--repeats", "1", "--features", "8", "--threads", "1", "--out", str(out)]
    assert main(["bench", "--attentions", "vmean", "perfromer", *options]) == 0
    assert "performer" in capsys.readouterr().out
    with out.open() as stream:
        read = list(csv.DictReader(stream))
    assert [row["attention"] for row in read] == ["vmean", "performer"]
    assert all(math.isfinite(float(row["peak_mib"])) for row in read)
    assert main(["bench", "--attentions", "skeinformr", *options]) == 1
    assert "Did you mean 'skeinformer'?" in capsys.readouterr().err


def test_only_what_is_stale_is_timed_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "attention.csv"
    options = ["--repeats", "1", "--threads", "1", "--out", str(out), "--stale"]

    def timed(*attentions: str, length: str = "16", codes: Sequence[str] = (), features: int = 8) -> list[str]:
        """Names of the attentions that are timed, not kept; the table has the rows of all."""
        settings = json.dumps([{"name": name, "features": features} for name in attentions])
        known = ["--codes", json.dumps(codes)] if codes else []
        assert main(["bench", "--settings", settings, "--lengths", length, *known, *options]) == 0
        assert [row["attention"] for row in csv.DictReader(out.read_text().splitlines())] == list(attentions)
        return [line.split()[0] for line in capsys.readouterr().out.splitlines() if "timed already" not in line]

    assert timed("vmean", "linformer") == ["vmean", "linformer"]
    before = out.read_text()
    assert timed("vmean", "linformer") == [] and out.read_text() == before
    assert timed("linformer", "performer", "vmean") == ["performer"]
    assert timed("vmean", length="32") == ["vmean"]
    assert timed("vmean", "linformer", features=4) == ["vmean", "linformer"]
    assert timed("vmean", "linformer", length="32", codes=["0", "1"]) == ["vmean", "linformer"]
    assert timed("vmean", "linformer", length="32", codes=["0", "2"]) == ["linformer"]
    out.unlink()  # as Snakemake does
    assert timed("vmean", "linformer", length="32", codes=["0", "2"]) == []
    for table in tmp_path.iterdir():
        table.write_text(out.read_text().replace("vmean", "vmeen"))
    assert timed("vmean", "linformer", length="32", codes=["0", "2"]) == ["vmean", "linformer"]
    for table in tmp_path.iterdir():
        table.write_text("attention,ms,checksum\n")
    assert timed("vmean", length="32") == ["vmean"]


def test_rows_outlive_a_job_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake deletes the table before the job; the rows of each attention are beside it as soon as it is timed."""
    out = tmp_path / "attention.csv"
    printed: list[str] = []

    def stopped(row: CoreRow) -> None:
        printed.append(row.attention)
        if row.attention == "linformer":
            raise KeyboardInterrupt

    options = ["--attentions", "vmean", "linformer", "--lengths", "16", "--repeats", "1", "--threads", "1", "--stale"]
    with monkeypatch.context() as patch:
        patch.setattr(benchmarking, "report", stopped)
        assert main(["bench", *options, "--out", str(out)]) == 130
        assert main(["bench", *options, "--out", str(out)]) == 130
    assert printed == ["vmean", "linformer", "linformer"] and not out.exists()
    assert main(["bench", *options, "--out", str(out)]) == 0
    assert [row["attention"] for row in csv.DictReader(out.read_text().splitlines())] == ["vmean", "linformer"]


def test_by_hand_it_leaves_the_table_of_the_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "--attentions", "vmean", "--lengths", "8", "--repeats", "1", "--threads", "1"]) == 0
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.csv")] == [Path("results/tries/bench.csv")]


def test_command_with_resolved_settings(tmp_path: Path) -> None:
    """As the workflow gives them: any name, its class and its options."""
    own = {"name": "mine", "module": "lra.attention.bigbird:BigBird", "options": {"block_size": 16}, "features": 8}
    wrong = own | {"name": "wrong", "options": {"block_size": 0}}
    out = tmp_path / "attention.csv"
    options = ["--lengths", "64", "--repeats", "1", "--threads", "1", "--out", str(out)]
    assert main(["bench", "--settings", json.dumps([own, wrong]), *options]) == 0
    row, refused = csv.DictReader(out.read_text().splitlines())
    assert (row["attention"], row["reason"]) == ("mine", "")
    assert "block_size" in refused["reason"]
