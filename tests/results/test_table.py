from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.multitest import multipletests

from lra.errors import LraError
from lra.results.basis import accuracy_basis, training_columns
from lra.results.reading import read_runs
from lra.results.rows import read_rows
from lra.results.statistics import compare, holm, mean_accuracy, pool
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


def test_means_and_intervals(metrics, table):
    row = read_rows(table)[0]
    answers = answers_on(metrics, "listops")
    interval = mean_accuracy(answers["softmax"], pool(answers.values()))
    assert (row.status, row.seeds_ok, row.seeds_run, row.reason) == ("ok", 3, 3, "")
    assert (row.accuracy, row.accuracy_std) == pytest.approx((0.40, 0.005))
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((interval.low, interval.high))
    assert (row.steps, row.parameters, row.train_seconds) == (500, 85898, 20)


def test_each_row_says_what_its_columns_stand_on(table):
    """Without it an accuracy on 128 generated tokens reads like one of the Arena's."""
    row = read_rows(table)[0]
    accuracy = (row.data_source, row.max_length, row.train_rows, row.test_rows, row.train_features, row.train_precision)
    assert accuracy == ("generate", 2048, 8000, 400, 32, "fp32")
    assert (row.cost_length, row.cost_features, row.cost_precision, row.cost_batch) == (2048, 32, "fp32", 2)


@pytest.mark.parametrize("rows", [{"rows": None}, {}])
def test_of_rows_that_are_read_the_expected_number_is_told(rows):
    """`rows: null` is allowed, and must not end the collecting after all training."""
    expected = {"source": "lra_release", "expected_rows": {"train": 96000, "dev": 2000, "test": 2000}}
    metrics = {"data_settings": expected | rows, "settings": {}, "test_rows": 2000}
    assert training_columns(metrics)["train_rows"] == 96000
    assert training_columns(metrics | {"data_settings": rows})["train_rows"] is None


def test_a_pretraining_is_told_apart_from_training(tmp_path):
    write_run(tmp_path, "text", "softmax")
    start = {"status": "ok", "steps": 132, "train_seconds": 8.0}
    write_run(tmp_path, "text", "softmax_pretrained", pretraining=start)
    paths = [tmp_path / "text" / name / "seed-1/metrics.json" for name in ("softmax", "softmax_pretrained")]
    rows = collected(paths, tmp_path)
    scratch, row = rows["text", "softmax"], rows["text", "softmax_pretrained"]
    assert (scratch.pretrained, scratch.pretrain_seconds) == (None, None)
    assert (row.pretrained, row.pretrain_seconds) == (132, 8)
    assert row.train_seconds == scratch.train_seconds
    assert accuracy_basis([scratch, row]).endswith(
        " Pretrained on hidden tokens of the training split; the times here leave this out: "
        "softmax_pretrained (Text 132 steps, 8 s)."
    )


def test_a_failed_run_is_also_counted_at_the_majoritys_accuracy(table):
    """Leaving it out alone would reward a method for diverging where it would have done badly."""
    partial, failed = read_rows(table)[4:6]
    majority = partial.majority_accuracy
    assert partial.accuracy_with_failures == pytest.approx((0.605 + 0.615 + majority) / 3)
    assert failed.accuracy_with_failures == pytest.approx(majority)
    assert read_rows(table)[0].accuracy_with_failures == pytest.approx(0.40)


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


def answers_on(metrics, task):
    """Which examples each run got right, by attention."""
    answers = {}
    for run in read_runs(metrics):
        if run.task == task and run.ok:
            answers.setdefault(run.attention, []).append(correct(run.folder))
    return {name: np.stack(runs) for name, runs in answers.items()}


def test_comparisons_with_softmax_are_adjusted_over_the_task(metrics, table):
    rows = {row.attention: row for row in read_rows(table) if row.task == "listops"}
    answers = answers_on(metrics, "listops")
    pooled = pool(answers.values())
    found = [compare(answers[name], answers["softmax"], pooled) for name in ("skeinformer", "vmean")]
    expected = multipletests([comparison.p for comparison in found], method="holm")[1]
    assert [rows["skeinformer"].adjusted_p, rows["vmean"].adjusted_p] == pytest.approx(list(expected))
    assert rows["skeinformer"].difference == pytest.approx(0.15)
    interval = rows["skeinformer"].difference_low, rows["skeinformer"].difference_high
    assert interval == pytest.approx((found[0].low, found[0].high))
    assert rows["skeinformer"].versus_softmax == "better"
    assert rows["vmean"].versus_softmax == "undecided"
    assert rows["skeinformer"].noise == "pooled seeds and examples"
    assert [rows[name].among_best for name in ("softmax", "skeinformer", "vmean")] == ["no", "yes", "no"]
    assert rows["softmax"].difference is rows["softmax"].adjusted_p is rows["softmax"].versus_softmax is None


def test_a_family_over_all_tasks_is_adjusted_for_more(tmp_path):
    paths = [
        write_run(tmp_path, task, name, seed, accuracy + 0.01 * (seed - 2))
        for task in ("text", "listops")
        for name, accuracy in (("softmax", 0.5), ("vmean", 0.53), ("linformer", 0.54))
        for seed in (1, 2, 3)
    ]
    rows = [row for row in collected(paths, tmp_path).values() if row.attention != "softmax"]
    raw = []
    for task in ("text", "listops"):
        answers = answers_on(paths, task)
        pooled = pool(answers.values())
        raw.append([compare(answers[name], answers["softmax"], pooled).p for name in ("vmean", "linformer")])
    assert [row.adjusted_p for row in rows] == pytest.approx([p for family in raw for p in holm(family)])
    assert [row.adjusted_p_all_tasks for row in rows] == pytest.approx(holm([p for family in raw for p in family]))
    assert all(row.adjusted_p_all_tasks >= row.adjusted_p for row in rows)


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_there_are_intervals_and_no_verdicts(tmp_path, seeds):
    """With one seed the choice of the baseline's decided whether 9 of 15 or 1 of 15 rows were called better."""
    paths = [
        write_run(tmp_path, "text", name, seed, accuracy)
        for name, accuracy in (("softmax", 0.6), ("vmean", 0.2))
        for seed in range(1, seeds + 1)
    ]
    row = collected(paths, tmp_path)["text", "vmean"]
    assert (row.adjusted_p, row.adjusted_p_all_tasks, row.versus_softmax) == (None, None, None)
    assert (row.versus_majority, row.among_best) == (None, None)
    assert row.difference_low < row.difference < row.difference_high < 0
    assert row.accuracy_low < 0.2 < row.accuracy_high
    assert (row.noise == "examples") == (seeds == 1)


def test_an_attention_with_too_few_results_is_not_compared(table):
    softmax, partial = read_rows(table)[3:5]
    assert (partial.attention, partial.seeds_ok) == ("skeinformer", 2)
    assert (partial.difference, partial.adjusted_p) == (pytest.approx(0.01), None)
    assert (partial.versus_softmax, partial.versus_majority, partial.among_best) == (None, None, None)
    assert softmax.versus_majority == "better"


def test_without_softmax_nothing_is_compared_with_it(tmp_path):
    paths = [
        write_run(tmp_path, "text", "softmax", 1, status="diverged", reason="x"),
        *(write_run(tmp_path, "text", "vmean", seed, 0.9) for seed in (1, 2, 3)),
    ]
    rows = collected(paths, tmp_path)
    assert rows["text", "vmean"].difference is None
    assert rows["text", "vmean"].versus_majority == "better"


def test_the_majority_class_is_beaten_only_beyond_noise(tmp_path):
    majority = np.bincount(labels("text")).max() / 400
    paths = [
        write_run(tmp_path, "text", name, seed, accuracy)
        for name, accuracy in (("softmax", 0.9), ("vmean", majority + 0.01), ("linformer", 0.2))
        for seed in (1, 2, 3)
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
    assert (row.seconds_per_1000_steps, row.peak_memory_mib, row.memory_per_example_mib) == (2560, 128, 20)
    assert row.workspace_mib == 128 - 1 - 2 * 20
    assert (row.fitting_batch, row.fitting_memory_gib) == (64, 16)
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
    assert row.difference_low <= row.difference <= row.difference_high
    assert (row.max_length, row.test_rows, row.train_features, row.train_precision) == (24, 40, 8, "fp32")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "e" * 64}, "different data"),
        ({"code": "other"}, "different settings or code"),
        ({"data_settings": {"source": "other"}}, "have equal examples from two sources"),
        ({"settings": {"seed": 2, "train": {"steps": 1}}}, "different settings or code"),
        ({"test_accuracy": 0.1}, "does not match the metrics.json"),
        ({"test_rows": 399}, "does not match the metrics.json"),
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
