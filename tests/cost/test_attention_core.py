from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch

from lra.cli.main import main
from lra.config.settings import AttentionSettings
from lra.cost import attention_core as benchmarking
from lra.cost.attention_core import Pass, Row, benchmark, exact_attention, quartiles, write_rows

CPU = torch.device("cpu")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, Row]:
    monkeypatch.setattr(benchmarking, "TOKENS", 256)
    names = ["softmax", "softmax_nodropout", "vmean", "skeinformer", "nosuch"]
    attentions = [AttentionSettings(name, features=16) for name in names]
    return {row.attention: row for row in benchmark(attentions, [128], repeats=3, threads=1)}


def test_a_row_holds_measured_numbers(rows: dict[str, Row]) -> None:
    for name in ("softmax", "softmax_nodropout", "vmean", "skeinformer"):
        row = rows[name]
        assert (row.length, row.batch, row.device, row.dtype, row.reason) == (128, 2, "cpu", "float32", "")
        assert row.ms and row.sdpa_ms and row.ratio and row.low and row.high
        assert row.low <= row.ratio <= row.high


def test_memory_is_counted_to_the_byte(rows: dict[str, Row]) -> None:
    """The same kernel takes the same memory; dropping weights needs the attention matrices of a block of queries."""
    exact = rows["softmax_nodropout"]
    assert exact.peak_mib == exact.sdpa_peak_mib == rows["vmean"].sdpa_peak_mib
    assert rows["softmax"].peak_mib and rows["softmax"].peak_mib * 2**20 > 2 * 2 * 128 * 128 * 4


def test_a_method_that_cannot_run_has_a_reason(rows: dict[str, Row]) -> None:
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
    assert (row.ms, row.sdpa_ms, row.ratio, row.low, row.high) == (6, 2, 3, 3, 3)


def test_ratios_are_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down halfway changes both times of a pair, and no ratio."""
    times = iter([4.0, 2.0, 8.0, 4.0, 40.0, 20.0])
    monkeypatch.setattr(benchmarking, "milliseconds", lambda call, device: next(times))
    (row,) = benchmark([AttentionSettings("vmean", features=4)], [32], repeats=3, threads=1)
    assert (row.ms, row.sdpa_ms) == (8, 4)
    assert (row.low, row.ratio, row.high) == (2, 2, 2)


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


@pytest.mark.parametrize(
    ("values", "wanted"), [([3.0], (3, 3, 3)), ([1.0, 3.0], (1.5, 2, 2.5)), ([5.0, 1.0, 2.0, 4.0, 3.0], (2, 3, 4))]
)
def test_quartiles(values: list[float], wanted: tuple[float, ...]) -> None:
    assert quartiles(values) == wanted


def test_csv(rows: dict[str, Row], tmp_path: Path) -> None:
    write_rows(list(rows.values()), tmp_path / "bench.csv")
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
