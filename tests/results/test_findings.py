from __future__ import annotations

import dataclasses

import pytest

from lra.results.findings import findings
from lra.results.rows import TableRow, read_rows


def by_heading(rows):
    """The text below each heading."""
    return {finding.heading: " ".join(finding.sentences).replace("\u00a0", " ") for finding in findings(rows)}


@pytest.fixture(scope="module")
def found(table):
    return by_heading(read_rows(table))


def test_the_best_are_all_that_cannot_be_told_from_it(found):
    text = found["Not distinguishable from the best"]
    assert text == "ListOps: Skeinformer (55.00 %); the most frequent class alone gives 12.50 %."


def test_where_all_may_be_best_it_is_said(table):
    rows = [dataclasses.replace(row, among_best="yes") for row in read_rows(table)[:3]]
    text = by_heading(rows)["Not distinguishable from the best"]
    assert text.startswith(
        "ListOps: Skeinformer (55.00 %), Standard (40.00 %), V-Mean (39.50 %); these are all 3 compared att"
    )


def test_who_is_better_than_softmax(found):
    text = found["Significant differences to Standard"]
    assert "ListOps – better: Skeinformer (+15.00); worse: none; undecided: 1 of 2." in text
    assert "Text" not in text


def test_a_verdict_that_fails_over_all_tasks_is_marked(table):
    rows = [dataclasses.replace(row, adjusted_p_all_tasks=0.06) for row in read_rows(table)[:3]]
    assert "better: Skeinformer (+15.00; not over all tasks)" in by_heading(rows)["Significant differences to Standard"]


def test_who_beats_the_majority_class(found):
    text = found["Compared with the most frequent class"]
    assert "ListOps: every attention with 3 or more finished runs is better." in text


def test_other_data_than_the_arenas_is_warned_of(table):
    """Without it "Pathfinder: Nystromformer 98.70 %" at mini reads like a result on the Arena."""
    rows = read_rows(table)
    text = by_heading(rows)["Data and sizes"]
    assert text.startswith("These are not results on the Long Range Arena")
    assert "(ListOps: generated here, n ≤ 2048; Text: generated here, n ≤ 2048)" in text
    assert "do not belong to one trained model" not in text
    arena = [dataclasses.replace(row, data_source="lra_release") for row in rows]
    assert "Data and sizes" not in by_heading(arena)
    short = [dataclasses.replace(row, max_length=128) for row in arena]
    text = by_heading(short)["Data and sizes"]
    assert "These are not results on the Long Range Arena" in text
    assert "(ListOps: n = 2048, d = 32; Text: n = 2048, d = 32), so accuracy and cost of a row do not belong to" in text


def test_single_runs_are_described_and_not_ranked():
    rows = [
        TableRow("mini", "text", name, "ok", "", 1, 1, accuracy=accuracy, accuracy_low=accuracy - 0.05,
                 accuracy_high=accuracy + 0.05, majority_accuracy=0.5, difference=accuracy - 0.6)
        for name, accuracy in (("softmax", 0.6), ("vmean", 0.52), ("bigbird", 0.9))
    ]  # fmt: skip
    found = by_heading(rows)
    assert found["Tasks with too few runs to compare"] == (
        "Text: accuracies from 52.00 % to 90.00 %; the most frequent class alone gives 50.00 %, and the 95 % intervals "
        "of 2 of 3 attentions lie above that."
    )
    assert not {"Not distinguishable from the best", "Significant differences to Standard"} & found.keys()
    assert "too little is known about how results vary with the seed" in found["Number of seeds"]


def test_what_failed_and_why(found):
    text = found["Failures"]
    assert "Skeinformer on Text: 1 of 3 runs failed (seed 2 diverged: the training loss was not finite" in text
    assert "V-Mean on Text: 3 of 3 runs failed" in text
    assert "Standard on Text could not be measured: oom (out of memory)." in text


def test_costs_and_published_values(found):
    text = found["Time and memory"]
    assert text.startswith(
        "ListOps (n = 2048, d = 32): V-Mean takes the least time, 0.12 (0.12 to 0.13) times that of exact attention "
        "without dropout (95 % interval); 2 of 2 approximations are faster than exact attention without dropout; "
        "V-Mean takes the least memory per further example (5.0 MiB), plus a workspace that does not grow with the "
        "batch (V-Mean 117.0 MiB); in a step of 2 examples Standard, Skeinformer and V-Mean hold the least (128.0 MiB)."
    )
    assert "Over 5 cells" in found["Compared with published values"]
    assert "(Skeinformer on ListOps)" in found["Compared with published values"]


def test_the_yardstick_of_time_is_exact_attention_without_dropout(table):
    """Dropout on attention weights doubles exact attention's time or more, and flatters what is divided by it."""
    rows = read_rows(table)[:3]
    exact = dataclasses.replace(
        rows[0], attention="softmax_nodropout", time_ratio=1.0, time_ratio_low=0.99, time_ratio_high=1.01
    )
    wide = dataclasses.replace(rows[1], attention="bigbird", time_ratio_low=0.12, time_ratio_high=1.2)
    text = by_heading([*rows, exact, wide])["Time and memory"]
    assert "V-Mean takes the least time, 0.12 (0.12 to 0.13) times that of exact attention without dropout" in text
    assert "(95 % interval), and BigBird cannot be distinguished from it; 2 of 3 approximations are faster" in text
    assert "than exact attention without dropout, 1 cannot be distinguished from it;" in text
    short = dataclasses.replace(rows[1], attention="reformer", time_ratio_low=None, time_ratio_high=None)
    text = by_heading([*rows, exact, wide, short])["Time and memory"]
    assert "1 cannot be distinguished from it; too few steps were timed to compare 1 more rows;" in text
    slow = [dataclasses.replace(row, time_ratio=2.0, time_ratio_low=1.9, time_ratio_high=2.1) for row in rows]
    text = by_heading([*slow, exact])["Time and memory"]
    assert "Standard w/o dropout takes the least time; 0 of 2 approximations are faster" in text


def test_a_workspace_is_told_apart_from_what_grows_with_the_batch(table):
    """Exact attention in blocks adds little an example and holds much whatever the batch: it is not cheap in memory."""
    rows = [dataclasses.replace(row, memory_per_example_mib=9.0, workspace_mib=0.5) for row in read_rows(table)[:3]]
    rows[0] = dataclasses.replace(rows[0], memory_per_example_mib=4.0, workspace_mib=30.0, peak_memory_mib=35.0)
    rows[1] = dataclasses.replace(rows[1], peak_memory_mib=19.0)
    text = by_heading(rows)["Time and memory"]
    assert "Standard takes the least memory per further example (4.0 MiB), plus a workspace that does not" in text
    assert "(Standard 30.0 MiB); in a step of 2 examples Skeinformer holds the least (19.0 MiB)." in text


def test_a_task_without_a_measurement_has_no_cheapest(table):
    rows = [
        dataclasses.replace(row, seconds_per_1000_steps=None) if row.task == "text" else row for row in read_rows(table)
    ]
    costs = next(finding for finding in findings(rows) if finding.heading == "Time and memory")
    text = " ".join(costs.sentences)
    assert "ListOps (n = 2048, d = 32): V-Mean" in text.replace("\u00a0", " ") and "Text" not in text


def test_three_seeds_with_a_result_need_no_warning_and_fewer_do(table):
    rows = [dataclasses.replace(row, seeds_ok=3 if row.seeds_ok else 0) for row in read_rows(table)]
    assert "Number of seeds" not in {finding.heading for finding in findings(rows)}
    for seeds in (1, 2):
        rows[0] = dataclasses.replace(rows[0], seeds_ok=seeds)
        warning = next(finding for finding in findings(rows) if finding.heading == "Number of seeds")
        assert warning.warning
        assert f"{seeds} to 3 finished runs" in warning.sentences[0]


def test_what_ties_is_called_so():
    rows = [
        TableRow("mini", "text", name, "ok", "", 1, 1, accuracy=accuracy, measured_on="a",
                 seconds_per_1000_steps=seconds, memory_per_example_mib=1.0)
        for name, accuracy, seconds in (
            ("softmax_nodropout", 0.5, 1.0), ("vmean", 0.7, 2.0), ("bigbird", 0.5, 3.0), ("performer", 0.7, 4.0)
        )
    ]  # fmt: skip
    found = {f.heading: [s.replace("\u00a0", " ") for s in f.sentences] for f in findings(rows)}
    assert found["Time and memory"] == [
        "Text: Standard w/o dropout takes the least time; Standard w/o dropout, V-Mean, BigBird and Performer take "
        "the least memory per further example (1.0 MiB)."
    ]


def test_an_arena_without_results_says_so():
    rows = [TableRow("mini", "text", "softmax", "oom", "seed 1 oom: no memory", 0, 1)]
    found = {finding.heading: finding.sentences for finding in findings(rows)}
    assert found["Tasks with too few runs to compare"] == ("Text: all runs failed.",)
    assert "nothing is claimed about time or memory" in found["Time and memory"][0]
    assert "Compared with published values" not in found


def against_majority(rows):
    found = {finding.heading: finding.sentences for finding in findings(rows)}
    return found["Compared with the most frequent class"][0]


def test_who_does_not_beat_the_majority_class_is_named():
    rows = [
        TableRow("mini", "text", name, "ok", "", 1, 1, accuracy=0.5, majority_accuracy=0.5, versus_majority=verdict)
        for name, verdict in (("softmax", "better"), ("vmean", "undecided"), ("bigbird", "worse"))
    ]
    assert against_majority(rows) == "Text: 1 of 3 are better; not significantly better: V-Mean, BigBird."
    rows = [dataclasses.replace(row, versus_majority="undecided") for row in rows]
    assert against_majority(rows) == "Text: none of 3 attentions is significantly better."


def test_different_machines_are_warned_of(table):
    rows = read_rows(table)
    rows[0] = dataclasses.replace(rows[0], measured_on="another processor, 1 thread")
    rows += [dataclasses.replace(rows[1], task="image", measured_on="a third, 1 thread")]
    text = next(finding.sentences for finding in findings(rows) if finding.heading == "Time and memory")
    assert "ListOps: measured on different machines" in text[0] and "times are not comparable" in text[0]
    assert "least time" not in text[0]
    assert text[-1].startswith("Image (n = 2048, d = 32): Skeinformer takes the least time")


def test_whether_learning_rates_were_tuned_is_said(table):
    heading = "Choice of learning rates"
    rows = [dataclasses.replace(row, learning_rate=1e-3) for row in read_rows(table)[:3]]
    assert heading not in by_heading(read_rows(table))
    assert by_heading(rows)[heading].startswith("Learning rates were not tuned: the methods of a task share one")
    tuned = [dataclasses.replace(row, tuned=3, tuning_seconds=20.4) for row in rows]
    text = by_heading(tuned)[heading]
    assert "tried 3 learning rates" in text and text.endswith("These runs trained for 61 seconds in total.")
    text = by_heading([*tuned[:2], rows[2]])[heading]
    assert text.endswith("Not tuned, and so not comparable with the other rows: V-Mean on ListOps.")
