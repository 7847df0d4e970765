from __future__ import annotations

import json

import pytest

from lra.errors import LraError
from lra.files import sealed
from lra.results.equal_compute import best_so_far, equal_compute, read_costs
from lra.results.reading import read_runs
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


def sheet(tmp_path, attentions, costs, **more):
    runs = [write_run(tmp_path / "runs", "text", name, 1, 0.6, **more) for name in attentions]
    measures = [write_measure(tmp_path / "measures", "text", name, ms, flops_forward=ms) for name, ms in costs.items()]
    return equal_compute(read_runs(runs), measures)


def test_what_a_method_has_reached_when_exact_attention_is_at_its_best(tmp_path):
    """A method of a tenth of the cost is at its end by then; one of twice the cost at half; one of 20 times nowhere."""
    costs = {"softmax_nodropout": 10.0, "vmean": 1.0, "bigbird": 20.0, "informer": 200.0}
    found = sheet(tmp_path, [*costs, "performer"], costs)
    assert [view.label for view in found.views] == ["At equal FLOPs", "At equal seconds"]
    for view in found.views:
        reached = dict(zip(found.attentions, [line[0] for line in view.lines], strict=True))
        assert reached["softmax_nodropout"].value == reached["vmean"].value == pytest.approx(58.9, abs=0.1)
        assert reached["bigbird"].value == pytest.approx(51.9, abs=0.1)
        assert reached["informer"].text == reached["performer"].text == "–"
    assert found.views[0].columns[0].note == f"{500 * 64 * 30:.2g} FLOPs"


def test_without_exact_attention_there_is_no_such_table(tmp_path):
    assert sheet(tmp_path, ["vmean"], {"vmean": 1.0}) is None


def test_seeds_without_a_shared_evaluation_have_none(tmp_path):
    runs = [
        write_run(tmp_path, "text", "softmax_nodropout", seed, 0.6, every=every) for seed, every in ((1, 300), (2, 200))
    ]
    measure = write_measure(tmp_path / "measures", "text", "softmax_nodropout")
    assert equal_compute(read_runs(runs), [measure]) is None
