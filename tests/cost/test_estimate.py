"""The plan's FLOPs are those that run, its hours those that were measured, and what is done is counted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lra.cli import main as cli
from lra.config.arena import Arena, arena, load
from lra.config.settings import AttentionSettings
from lra.cost import estimate as planning
from lra.cost.cards import CARDS, Card
from lra.cost.estimate import markdown, plan
from lra.cost.flops import count_flops
from lra.cost.training_step import Measurement
from lra.data.synthetic import describe
from lra.errors import LraError
from lra.files import sealed
from lra.model import build_model, forward_flops, padded_length

ROOT = Path(__file__).parents[2]
GIB = 2**30


@pytest.fixture
def paper() -> Arena:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    attentions = ["softmax", "vmean"]
    return arena(config | {"scale": "paper", "tasks": ["image"], "attentions": attentions, "seeds": [1, 2]})


def measured(results: Path, attention: str, **changes: Any) -> None:
    """A measurement of the image task that took 2 ms a training example, and 1 GiB for each besides 1 GiB."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    method = arena(config | {"scale": "paper"}).attentions[attention]
    model = {"layers": 2, "embedding": 64, "hidden": 128, "heads": 2, "head_dim": 32, "dropout": 0.1}
    measure = {
        "status": "ok",
        "device": "cpu",
        "length": 1024,
        "precision": "bf16",
        "settings": {"attention": vars(method), "model": model | {"embedding_std": 0.02, "positions": "learned"}},
        "batch": 4,
        "flops_forward": 10**6,
        "train_ms_per_example": 2.0,
        "inference_ms_per_example": 0.5,
        "memory_per_example_bytes": GIB,
        "peak_memory_bytes": 4 * GIB,
        "overhead_bytes": GIB,
    }
    path = results / "measures" / "image" / attention / "measure.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sealed(measure | changes)))


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "default_device", lambda: torch.device("cpu"))


def test_hours_and_memory_of_a_measured_cell(paper: Arena, tmp_path: Path) -> None:
    measured(tmp_path, "softmax")
    cell = plan(paper, tmp_path, memory=17 * GIB)[0]
    training, evaluation = 50000 * 256 * 2.0, (1000 * 5000 + 10000) * 0.5
    assert cell.measured
    assert cell.seconds == pytest.approx((training + evaluation) / 1000)
    assert cell.micro_batch == 16


def test_hours_by_the_rate_of_what_was_measured(paper: Arena, tmp_path: Path) -> None:
    measured(tmp_path, "softmax", length=512)
    cells = plan(paper, tmp_path, memory=17 * GIB)
    rate = 3 * 10**6 / 0.002
    for cell in cells:
        assert not cell.measured and cell.micro_batch is None
        assert cell.seconds == pytest.approx(cell.flops / rate)


def test_hours_where_nothing_was_measured(paper: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "_rate_of_exact_attention", lambda arena: 1e9)
    assert plan(paper, tmp_path, memory=GIB)[0].seconds == pytest.approx(plan(paper, tmp_path, GIB)[0].flops / 1e9)


def test_a_timed_step_of_exact_attention_is_the_last_resort(paper: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    class Seen(Measurement):
        def run(self) -> dict[str, Any]:
            found.append((self, super().run()))
            return found[-1][1]

    monkeypatch.setattr(planning, "Measurement", Seen)
    rate = planning._rate_of_exact_attention(replace(paper, measure={"batch": 1, "repeats": 2, "seconds": 0.0}))
    ((measurement, results),) = found
    assert rate == pytest.approx(3 * results["flops_forward"] / (results["train_ms_per_example"] / 1000))
    assert (measurement.settings.attention.name, measurement.length) == ("softmax_nodropout", 1024)


def test_a_measurement_in_another_precision_is_not_taken_for_the_runs(paper: Arena, tmp_path: Path) -> None:
    """A CPU measures in fp32 what trains in bf16; its hours are then an estimate, and called so."""
    measured(tmp_path, "softmax", precision="fp32")
    assert [cell.measured for cell in plan(paper, tmp_path, memory=GIB)] == [False, False]


def test_pretrainings_are_counted(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    rows = ["vmean", {"vmean_pretrained": {"method": "vmean", "pretrain": True}}]
    chosen = arena(config | {"tasks": ["image"], "attentions": rows, "seeds": [1, 2]})
    folder = tmp_path / "pretrain/mini/image/vmean_pretrained/seed-2"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    measured(tmp_path, "vmean")
    cells = plan(chosen, tmp_path, memory=GIB)
    (cell,) = (cell for cell in cells if cell.changes == "pretraining")
    assert (cell.attention, cell.steps, cell.runs, cell.done) == ("vmean_pretrained", 200, 2, 1)


def test_finished_runs_are_counted(paper: Arena, tmp_path: Path) -> None:
    measured(tmp_path, "softmax")
    folder = tmp_path / "runs/paper/image/softmax/seed-2"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    assert [(cell.done, cell.runs) for cell in plan(paper, tmp_path, memory=GIB)] == [(1, 2), (0, 2)]
    page = planning.markdown(paper, plan(paper, tmp_path, memory=GIB), GIB)
    assert "4 runs, 1 of them done" in page
    assert "none fits" in page


def test_a_sweep_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the batch takes twice the time, and no run of the table counts as one of the sweep."""
    monkeypatch.setattr(planning, "_rate_of_exact_attention", lambda arena: 1e9)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    chosen = arena(config | {"scale": "paper", "tasks": ["text"], "attentions": ["skeinformer"]})
    (tmp_path / "sweep/paper/batch-64_rate-0.001/seed-1").mkdir(parents=True)
    (tmp_path / "sweep/paper/batch-64_rate-0.001/seed-1/metrics.json").write_text("{}")
    table, *sweep = plan(chosen, tmp_path, memory=GIB)
    assert (table.changes, table.done) == ("", 0)
    assert [cell.done for cell in sweep] == [1, 0, 0, 0, 0, 0]
    assert sweep[0].changes == "batch 64, rate 0.001"
    assert sweep[3].seconds == pytest.approx(2 * sweep[0].seconds, rel=0.1)
    assert "| text | skeinformer (batch 64, rate 0.001) | 1/1 |" in planning.markdown(chosen, [table, *sweep], GIB)


def test_tuning_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a cell, however many rates are tried; its hours are named."""
    monkeypatch.setattr(planning, "_rate_of_exact_attention", lambda arena: 1e9)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["scales"]["paper"]["tune"] = {"learning_rate": [1e-4, 1e-3, 1e-2], "steps": 5000, "seed": 9}
    chosen = arena(config | {"scale": "paper", "tasks": ["image"], "attentions": ["vmean"], "seeds": [1, 2]})
    folder = tmp_path / "tune/paper/image/vmean/rate-0.001"
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text("{}")
    table, tuning = plan(chosen, tmp_path, memory=GIB)
    assert (table.runs, tuning.runs, tuning.done, tuning.steps) == (2, 3, 1, 5000)
    assert tuning.seconds == pytest.approx(table.seconds / 10, rel=0.01)
    page = planning.markdown(chosen, [table, tuning], GIB)
    assert "| image | vmean (tuning) | 1/3 | 5000 |" in page
    assert f"; {2 * tuning.seconds / 3600:.1f} of these hours choose learning rates." in page
    assert "choose" not in planning.markdown(chosen, [table], GIB)


def test_bounds_bound_the_plan(paper: Arena, tmp_path: Path) -> None:
    """FLOPs allow fewer steps, seconds less training; both keep their evaluations."""
    measured(tmp_path, "softmax")
    whole = plan(paper, tmp_path, memory=GIB)[0]
    train = paper.settings["tasks"]["image"]["train"]
    train["flops"] = whole.flops / 2
    half = plan(paper, tmp_path, memory=GIB)[0]
    assert whole.steps / 4 < half.steps < whole.steps and half.flops < whole.flops
    train.update(flops=None, seconds=1.0)
    brief = plan(paper, tmp_path, memory=GIB)[0]
    assert (brief.steps, brief.flops) == (whole.steps, whole.flops) and 1 < brief.seconds < whole.seconds


@pytest.mark.parametrize("attention", ["softmax", "vmean", "linformer"])
def test_the_formula_is_near_what_is_counted(attention: str) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"attentions": [attention]}
    chosen = arena(config)
    experiment, task = chosen.experiment(attention, "retrieval", 1), describe("retrieval", chosen.data("retrieval"))
    assert isinstance(experiment.attention, AttentionSettings)
    model = build_model(task, experiment.model, experiment.attention)
    tokens = [torch.ones(1, padded_length(task), dtype=torch.long) for _ in range(task.towers)]
    counted = count_flops(model, tokens, [torch.ones_like(tower, dtype=torch.bool) for tower in tokens])
    wanted = counted["flops_forward"] - counted["flops_attention"] + counted["flops_formula"]
    assert planning.forward_flops(model, task) == pytest.approx(wanted, rel=0.02)


def test_the_command_writes_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    measured(tmp_path / "results", "softmax")
    config = ROOT / "config.yaml"
    assert cli.main(["plan", "--config", str(config), "--out", "plan.md"]) == 0
    assert "# Plan of the arena at scale `mini`" in (tmp_path / "plan.md").read_text()


def test_a_measurement_without_its_device_is_named(paper: Arena, tmp_path: Path) -> None:
    path = tmp_path / "measures/image/softmax/measure.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sealed({"status": "ok"})))
    with pytest.raises(LraError, match=rf"^{path} is not a measurement \('device'\); measure this cell again\."):
        plan(paper, tmp_path, memory=GIB)


def test_a_method_that_refuses_its_options_is_named(tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    wrong = arena(config | {"tasks": ["image"], "attentions": [{"performer": {"options": {"kernel": "x"}}}]})
    with pytest.raises(LraError, match=r"^performer on image cannot be built: .*kernel"):
        plan(wrong, tmp_path, memory=GIB)


def test_a_plan_for_a_card_takes_its_rates_and_no_measurement(paper: Arena, tmp_path: Path) -> None:
    measured(tmp_path, "softmax")
    card = Card("a card", GIB, {"softmax": 4e12, "linformer": 2e12, "performer": 1e12})
    one, other = plan(paper, tmp_path, card.memory, card)
    assert (one.attention, one.measured, one.seconds) == ("softmax", False, pytest.approx(one.flops / 4e12))
    assert (other.attention, other.seconds) == ("vmean", pytest.approx(other.flops / 2e12))  # the median
    page = markdown(paper, [one, other], card.memory, card)
    assert "hours on a card, one run" in page and "rates of the paper's model on ListOps on a card." in page


def test_rates_of_a_card_are_those_of_the_documented_steps() -> None:
    """FLOPs of a step by formula, divided by its time in docs/scaling.md; a star marks what did not compile."""
    configured = load(ROOT / "config.yaml", "scale=paper")
    table = (ROOT / "docs/scaling.md").read_text().partition("| method | then, ms")[2].partition("\n\n")[0]
    steps = dict(re.findall(r"^\| (\w+) \| [\d.]+ \| ([\d.]+) \|", table, re.MULTILINE))
    assert set(steps) == set(CARDS["h200"].rates)
    task = describe("listops", configured.data("listops"))
    for attention, milliseconds in steps.items():
        experiment = configured.experiment(attention, "listops", seed=0)
        flops = (
            3 * experiment.train.batch * forward_flops(build_model(task, experiment.model, experiment.attention), task)
        )
        rate = flops / float(milliseconds) * 1000
        assert CARDS["h200"].rates[attention] == pytest.approx(rate, rel=2e-3), attention
