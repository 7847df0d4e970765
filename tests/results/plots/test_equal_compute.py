from __future__ import annotations

import json

import pytest

from lra.errors import LraError
from lra.files import sealed
from lra.results.plots import equal_compute
from lra.results.plots.equal_compute import best_so_far, read_costs
from results.builder import write_measure, write_run


def history(*rows):
    return [{"step": step, "dev_accuracy": value} for step, value in rows]


def test_the_best_until_then_is_averaged_over_the_seeds():
    """The checkpoint that is tested is the best so far, not the last."""
    steps, best = best_so_far([history((50, 0.4), (100, 0.2), (150, 0.6)), history((50, 0.2), (100, 0.4))])
    assert steps == [50, 100]
    assert best == pytest.approx([0.3, 0.4])
    assert best_so_far([[]]) == ([], [])


def test_the_cost_of_an_example(tmp_path):
    costs = read_costs(
        [
            write_measure(tmp_path, "text", "vmean", 7.0, flops_forward=5e6),
            write_measure(tmp_path, "text", "softmax", status="oom", reason="x"),
        ]
    )
    assert list(costs) == [("text", "vmean")]
    cost = costs["text", "vmean"]
    assert cost.flops == 15e6, "the backward pass costs two forward passes"
    assert cost.seconds == pytest.approx(7.0 * 128 / 1000 / 256)
    assert cost.size == "n = 2048, d = 32"
    (tmp_path / "measure.json").write_text(json.dumps(sealed({"status": "ok"})))
    with pytest.raises(LraError, match=r"is not a measurement \('flops_forward'\); measure this cell again\."):
        read_costs([tmp_path / "measure.json"])


@pytest.mark.parametrize(("against", "each"), [("flops", 15e6), ("seconds", 7.0 * 128 / 1000 / 256)])
def test_a_line_a_method_that_was_measured(tmp_path, monkeypatch, against, each):
    figures = []
    monkeypatch.setattr(equal_compute, "save", lambda figure, prefix: figures.append(figure))
    runs = [
        write_run(tmp_path / "runs", "text", attention, seed, 0.6)
        for attention in ("softmax_nodropout", "vmean", "linformer")
        for seed in (1, 2)
    ]
    measures = [
        write_measure(tmp_path / "measures", "text", attention, 7.0, flops_forward=5e6)
        for attention in ("softmax_nodropout", "vmean")
    ]
    equal_compute.draw(runs, measures, tmp_path / "figure", against)
    text, place = figures[0].axes[:2]
    exact, line, vmean = text.lines
    assert exact.get_xdata() == pytest.approx([step * 64 * each for step in range(50, 501, 50)])
    assert list(line.get_xdata()) == pytest.approx([500 * 64 * each] * 2), "exact attention is best at its end"
    assert vmean.get_ydata()[-1] == pytest.approx(58.9, abs=0.1)
    assert "(n = 2048, d = 32)\nnot shown: Linformer" in text.get_xlabel()
    entries = [entry.get_text() for entry in place.get_legend().get_texts()]
    assert entries == ["Standard w/o dropout", "V-Mean", "Standard w/o dropout at its best"]


def test_nothing_measured_is_a_figure_that_says_so(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(equal_compute, "save", lambda figure, prefix: figures.append(figure))
    equal_compute.draw([write_run(tmp_path, "text", "vmean")], [], tmp_path / "figure", "flops")
    assert figures[0].axes[0].get_xlabel() == "training FLOPs\nnot shown: V-Mean"
