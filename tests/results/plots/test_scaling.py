from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest

from lra.cli.main import main
from lra.results.plots import scaling
from lra.sealing import SEAL
from results.builder import write_frame

LENGTHS = [512, 1024, 4096]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """What `lra bench` writes of a linear method, a quadratic one and one that cannot run; 8192 positions a batch."""
    rows = [
        {"attention": name, "length": n, "batch": 8192 // n, "ms": time(n) * 8192 / n, "peak_mib": 16.0}
        for name, time in {"skeinformer": lambda n: n / 100, "softmax": lambda n: n**2 / 1e5}.items()
        for n in LENGTHS
    ]
    rows.append({"attention": "vmean", "length": 512, "batch": 16, "reason": "it broke"})
    path = tmp_path / "bench.csv"
    write_frame(path, pd.DataFrame(rows).assign(device="cpu", dtype="float32"))
    return path


def test_what_is_drawn_is_a_sequence(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(scaling, "save", lambda figure, prefix: figures.append(figure))
    scaling.draw(table, table.with_name("plot"))
    time, memory, _ = figures[0].axes
    drawn = [line.get_ydata().tolist() for line in time.lines]
    assert all(line.get_xdata().tolist() == LENGTHS for line in (*time.lines, *memory.lines))
    for wanted in ([n / 100 for n in LENGTHS], [n**2 / 1e5 for n in LENGTHS]):
        assert any(values == pytest.approx(wanted) for values in drawn)
    assert [n / 512 for n in LENGTHS] in [line.get_ydata().tolist() for line in memory.lines]
    assert time.get_xscale() == time.get_yscale() == "log"


def test_the_distance_from_what_the_device_can_do(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence of 4096: 40.96 ms where its products take 20.48 and copying takes 5.12."""
    rows = pd.read_csv(table)
    exact = rows[rows["attention"] == "softmax"].assign(attention="softmax_nodropout")
    rows = pd.concat([rows, exact]).assign(copy_ms=8192 / 800, matmul_ms=8192 / 200)
    write_frame(table, rows.drop(columns=SEAL))
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(scaling, "save", lambda figure, prefix: figures.append(figure))
    scaling.draw(table, table.with_name("plot"))
    time, memory, place = figures[0].axes
    limits = {line.get_label(): line.get_ydata().tolist() for line in time.lines if line.get_color() == "0.5"}
    assert limits["reading and writing the tensors once"] == pytest.approx([n / 800 for n in LENGTHS])
    assert limits["matrix products of exact attention"] == pytest.approx([n / 200 for n in LENGTHS])
    assert not [line for line in memory.lines if line.get_color() == "0.5"]
    legend = place.get_legend()
    assert legend is not None and "time ÷ least time" in legend.get_title().get_text()
    labels = [text.get_text() for text in legend.get_texts()]
    assert "Skeinformer (1.00, 1.00; 2.0×)" in labels
    assert labels[-1] == "at least: matrix products of exact attention"


def test_both_files_are_written(table: Path, tmp_path: Path) -> None:
    assert main(["plot-bench", str(table), "--out", str(tmp_path / "plot")]) == 0
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "Skeinformer" in (tmp_path / "plot.svg").read_text()


def test_nothing_but_failures(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frame(table, pd.read_csv(table).drop(columns=SEAL).assign(ms=None))
    assert main(["plot-bench", str(table), "--out", str(tmp_path / "plot")]) == 1
    assert "has only failures" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [table]


def test_exponent() -> None:
    assert scaling.exponent(LENGTHS, [3 * n**1.5 for n in LENGTHS]) == pytest.approx(1.5)
    assert scaling.exponent([512, 512], [1, 2]) is None
