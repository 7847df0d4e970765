from __future__ import annotations

import json

import pytest

from lra.config.settings import AttentionSettings, MeasureSettings, ModelSettings
from lra.cost.training_step import measure
from lra.errors import LraError
from lra.files import sealed
from lra.results.measures import read_measures
from results.builder import write_measure


def test_cells_by_task_and_attention(measures):
    columns = read_measures(measures)
    assert columns["listops", "vmean"]["ms_per_step"] == 5
    assert columns["text", "softmax"]["measure_status"] == "oom"
    assert "ms_per_step" not in columns["text", "softmax"]


def test_where_not_one_example_fits_the_batch_is_zero(tmp_path):
    path = write_measure(tmp_path, "text", "softmax", accumulation_steps=None)
    assert read_measures([path])["text", "softmax"]["fitting_batch"] == 0


def test_the_batch_that_fits_is_rounded_up(tmp_path):
    path = write_measure(tmp_path, "text", "softmax", paper_batch=10, accumulation_steps=4)
    assert read_measures([path])["text", "softmax"]["fitting_batch"] == 3


def test_a_cell_measured_twice_is_refused(measures):
    with pytest.raises(LraError, match="as an earlier file does"):
        read_measures([measures[0], measures[0]])


def test_another_file_is_named(tmp_path):
    path = tmp_path / "measure.json"
    path.write_text(json.dumps(sealed({"status": "ok", "task": "text"})))
    with pytest.raises(LraError, match=r"measure.json is not a measurement \('attention'\)"):
        read_measures([path])


def test_it_reads_what_measuring_writes(tmp_path):
    path = tmp_path / "measure.json"
    model = ModelSettings(layers=1, embedding=16, hidden=16, heads=1, head_dim=16)
    settings = MeasureSettings(AttentionSettings("vmean"), {"source": "cifar10"}, 256, model=model, seconds=0.0)
    written = measure("image", settings, path, code="", threads=1)
    columns = read_measures([path])["image", "vmean"]
    assert columns["measure_status"] == "ok"
    assert columns["ms_low"] <= columns["ms_per_step"] <= columns["ms_high"]
    assert columns["peak_memory_mib"] * 2**20 == written["peak_memory_bytes"]
    examples = written["batch"] * written["memory_per_example_bytes"]
    rest = written["peak_memory_bytes"] - written["fixed_memory_bytes"] - examples
    assert columns["workspace_mib"] * 2**20 == max(0, rest)
    assert columns["cost_length"] == 1024
    assert columns["flops_formula"] == written["flops_formula"]
    assert columns["cost_features"] == 256
    assert (columns["cost_precision"], columns["extrapolated"]) == ("fp32", "yes")
    assert columns["time_ratio_low"] <= columns["time_ratio"] <= columns["time_ratio_high"]
    assert columns["time_ratio"] == written["ratio"]
    assert columns["real_time_ratio"] is None  # images have no padding


def test_a_time_of_the_papers_own_batch_is_not_called_extrapolated(tmp_path):
    path = write_measure(tmp_path, "text", "softmax", extrapolated=False)
    assert read_measures([path])["text", "softmax"]["extrapolated"] == "no"
