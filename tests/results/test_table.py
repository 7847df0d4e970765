from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from lra.errors import LraError
from lra.results.reading import read_runs
from lra.results.rows import read_rows
from lra.results.statistics import compare, mcnemar
from lra.results.table import collect
from lra.training.run import train_run
from results.builder import labels, reseal, write_run


def collected(paths, tmp_path, **options):
    collect(paths, tmp_path / "table.csv", **options)
    return {(row.task, row.attention): row for row in read_rows(tmp_path / "table.csv")}


def correct(folder):
    table = pq.read_table(folder / "predictions.parquet")
    return table["label"].to_numpy() == table["prediction"].to_numpy()


def test_one_row_a_cell_in_the_order_given(table):
    rows = [(row.task, row.attention) for row in read_rows(table)]
    assert rows == [(task, name) for task in ("listops", "text") for name in ("softmax", "skeinformer", "vmean")]


def test_means_and_intervals_over_seeds(table):
    row = read_rows(table)[0]
    values = [0.395, 0.40, 0.405]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (row.status, row.seeds_ok, row.seeds_run, row.reason) == ("ok", 3, 3, "")
    assert (row.accuracy, row.accuracy_std) == pytest.approx((0.40, 0.005))
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((low, high))
    assert (row.steps, row.parameters, row.train_seconds) == (500, 85898, 20)


def test_an_interval_ends_where_accuracies_do(tmp_path):
    paths = [write_run(tmp_path, "text", "vmean", seed, accuracy) for seed, accuracy in ((1, 0.1), (2, 0.9))]
    row = collected(paths, tmp_path)["text", "vmean"]
    assert (row.accuracy_low, row.accuracy_high) == (0.0, 1.0)


def test_a_failed_run_is_counted_and_enters_no_mean(table):
    row = read_rows(table)[4]
    assert (row.task, row.attention, row.status, row.seeds_ok, row.seeds_run) == (
        "text",
        "skeinformer",
        "partial",
        2,
        3,
    )
    assert row.accuracy == pytest.approx((0.605 + 0.615) / 2)
    assert row.reason == "seed 2 diverged: the training loss was not finite at step 50"


def test_a_failed_cell_is_a_row_with_its_reason(table):
    row = read_rows(table)[5]
    assert (row.attention, row.status, row.seeds_ok) == ("vmean", "diverged", 0)
    assert row.reason == "seeds 1, 2, 3 diverged: the training loss was not finite at step 50"
    assert row.accuracy is row.difference is row.versus_softmax is row.versus_majority is row.steps is None


def test_different_failures_are_all_named(tmp_path):
    paths = [
        write_run(tmp_path, "text", "vmean", 1, status="oom", reason="a single example does not fit in memory"),
        write_run(tmp_path, "text", "vmean", 2, status="failed", reason="ValueError: no"),
    ]
    row = collected(paths, tmp_path)["text", "vmean"]
    assert row.status == "failed"
    assert row.reason == "seed 1 oom: a single example does not fit in memory; seed 2 failed: ValueError: no"


def test_comparisons_with_softmax_are_adjusted_over_the_task(metrics, table):
    rows = {row.attention: row for row in read_rows(table) if row.task == "listops"}
    runs = read_runs(metrics)
    answers = {
        name: np.stack([correct(run.folder) for run in runs if (run.task, run.attention) == ("listops", name)])
        for name in rows
    }
    p = [compare(answers[name], answers["softmax"]).p for name in ("skeinformer", "vmean")]
    expected = multipletests(p, method="holm")[1]
    assert [rows["skeinformer"].adjusted_p, rows["vmean"].adjusted_p] == pytest.approx(list(expected))
    assert rows["skeinformer"].difference == pytest.approx(0.15)
    assert rows["skeinformer"].versus_softmax == "better"
    assert rows["vmean"].versus_softmax == "undecided"
    assert rows["skeinformer"].noise == "seeds and examples"
    assert rows["softmax"].difference is rows["softmax"].adjusted_p is rows["softmax"].versus_softmax is None


def test_one_seed_compares_examples_by_mcnemar(tmp_path):
    paths = [write_run(tmp_path, "text", "softmax", 1, 0.6), write_run(tmp_path, "text", "vmean", 1, 0.5)]
    row = collected(paths, tmp_path)["text", "vmean"]
    assert row.adjusted_p == pytest.approx(mcnemar(correct(paths[1].parent), correct(paths[0].parent)))
    assert (row.versus_softmax, row.noise) == ("worse", "examples")
    assert row.accuracy_std is row.accuracy_low is row.accuracy_high is None


def test_without_softmax_nothing_is_compared_with_it(tmp_path):
    paths = [
        write_run(tmp_path, "text", "softmax", 1, status="diverged", reason="x"),
        write_run(tmp_path, "text", "vmean", 1, 0.9),
    ]
    rows = collected(paths, tmp_path)
    assert rows["text", "vmean"].difference is None
    assert rows["text", "vmean"].versus_majority == "better"


def test_the_majority_class_is_beaten_only_beyond_noise(tmp_path):
    majority = np.bincount(labels("text")).max() / 400
    paths = [
        write_run(tmp_path, "text", "softmax", 1, 0.9),
        write_run(tmp_path, "text", "vmean", 1, majority + 0.01),
        write_run(tmp_path, "text", "linformer", 1, 0.2),
    ]
    rows = collected(paths, tmp_path)
    verdicts = [rows["text", name].versus_majority for name in ("softmax", "vmean", "linformer")]
    assert verdicts == ["better", "undecided", "worse"]
    assert rows["text", "vmean"].majority_accuracy == pytest.approx(majority)


def test_published_values_stand_beside_those_of_the_papers_scale_only(metrics, table, tmp_path):
    row = read_rows(table)[0]
    assert row.published_accuracy == pytest.approx(0.3815)
    assert row.published_difference == pytest.approx(0.40 - 0.3815)
    assert read_rows(table)[5].published_difference is None
    assert collected(metrics, tmp_path, scale="mini")["listops", "softmax"].published_accuracy is None


def test_measurements_fill_the_cost_columns_and_run_times_never_do(metrics, table, tmp_path):
    rows = {(row.task, row.attention): row for row in read_rows(table)}
    row = rows["listops", "skeinformer"]
    assert (row.ms_per_step, row.ms_low, row.ms_high) == pytest.approx((20, 18, 24))
    assert (row.seconds_per_1000_steps, row.peak_memory_mib, row.memory_per_example_mib) == (2560, 64, 20)
    assert (row.fitting_batch, row.fitting_memory_gib, row.length, row.batch) == (64, 16, 2048, 2)
    assert row.measured_on == "a processor, 2 threads"
    failed = rows["text", "softmax"]
    assert (failed.measure_status, failed.measure_reason, failed.ms_per_step) == ("oom", "out of memory", None)
    bare = collected(metrics, tmp_path)["listops", "skeinformer"]
    assert bare.train_seconds is not None
    assert bare.ms_per_step is bare.seconds_per_1000_steps is bare.peak_memory_mib is bare.measure_status is None


def test_it_reads_what_training_writes(tmp_path, toy_shards, toy_experiment):
    for attention in ("softmax", "vmean"):
        for seed in (1, 2):
            experiment = toy_experiment(attention, seed=seed)
            train_run(experiment, toy_shards.folder, tmp_path / f"{attention}-{seed}", code=attention, threads=1)
    rows = collected(sorted(tmp_path.glob("*/metrics.json")), tmp_path)
    row = rows["toy", "vmean"]
    accuracies = [json.loads((tmp_path / f"vmean-{s}/metrics.json").read_text())["test_accuracy"] for s in (1, 2)]
    assert row.accuracy == pytest.approx(np.mean(accuracies))
    assert row.steps == 12
    assert 0 <= row.adjusted_p <= 1
    assert not math.isnan(row.difference)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "e" * 64}, "different data"),
        ({"code": "other"}, "different settings or code"),
        ({"settings": {"seed": 2, "train": {"steps": 1}}}, "different settings or code"),
        ({"test_accuracy": 0.1}, "does not belong to the metrics.json"),
        ({"test_rows": 399}, "does not belong to the metrics.json"),
    ],
)
def test_runs_that_do_not_belong_together_are_refused(tmp_path, change, words):
    paths = [write_run(tmp_path, "text", "vmean", 1, 0.6), write_run(tmp_path, "text", "vmean", 2, 0.6, **change)]
    with pytest.raises(LraError, match=words):
        collect(paths, tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize("name", ["history.csv", "predictions.parquet", "model.safetensors"])
def test_a_file_that_another_run_wrote_is_refused(tmp_path, name):
    """An emptied history was drawn, and weights of another run were counted."""
    path = write_run(tmp_path, "text", "vmean", 1, 0.6)
    (path.parent / "model.safetensors").write_bytes(b"weights")
    reseal(path)
    read_runs([path])
    (path.parent / name).write_bytes(b"")
    with pytest.raises(LraError, match=rf"seed-1/{name} is damaged or another run's: .*; train this run again"):
        read_runs([path])


def test_a_run_cut_short_counts_in_no_table(tmp_path):
    """Five steps were averaged with the 132 of other seeds, status ok."""
    path = write_run(tmp_path, "text", "vmean", 3, 0.6, max_steps=5)
    with pytest.raises(LraError, match=r"vmean/seed-3 was cut short at 5 steps by --max-steps"):
        collect([write_run(tmp_path, "text", "vmean", 1, 0.6), path], tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def test_a_run_given_twice_is_refused(tmp_path):
    path = write_run(tmp_path, "text", "vmean", 1, 0.6)
    with pytest.raises(LraError, match="the same task, attention and seed"):
        collect([path, path], tmp_path / "table.csv")


def test_other_labels_are_refused(tmp_path):
    paths = [write_run(tmp_path, "text", "softmax", 1, 0.6), write_run(tmp_path, "text", "vmean", 1, 1.0)]
    label = 1 - labels("text")
    pq.write_table(pa.table({"label": label, "prediction": label}), paths[1].parent / "predictions.parquet")
    reseal(paths[1])
    with pytest.raises(LraError, match="other labels"):
        collect(paths, tmp_path / "table.csv")


def test_damaged_files_are_named(tmp_path):
    path = write_run(tmp_path, "text", "vmean", 1, 0.6)
    (path.parent / "predictions.parquet").write_bytes(b"PAR1")
    reseal(path)
    with pytest.raises(LraError, match=r"predictions.parquet cannot be read"):
        collect([path], tmp_path / "table.csv")
    path.write_text('{"status": "ok"}')
    with pytest.raises(LraError, match=r"metrics.json is not the metrics.json of a run \(it has no 'reason'\)"):
        collect([path], tmp_path / "table.csv")
