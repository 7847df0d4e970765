from __future__ import annotations

import dataclasses

import pytest

from lra.results.findings import findings
from lra.results.rows import Row, read_rows


@pytest.fixture(scope="module")
def found(table):
    return {
        finding.heading: " ".join(finding.sentences).replace("\u00a0", " ") for finding in findings(read_rows(table))
    }


def test_the_best_of_each_task(found):
    text = found["Best on each task"]
    assert "ListOps: Skeinformer with 55.00 % (95 % interval 53.76 % to 56.24 %), before Standard with 40.00 %" in text
    assert "Text: Skeinformer with 61.00 %" in text


def test_who_is_better_than_softmax(found):
    text = found["Against Standard, beyond noise"]
    assert "ListOps – better: Skeinformer (+15.00); worse: none; undecided: 1 of 2." in text
    assert "Text – better: none; worse: none; undecided: 1 of 1." in text


def test_who_beats_the_majority_class(found):
    assert (
        "ListOps: every attention with a result is better." in found["Against always answering the most frequent class"]
    )


def test_what_failed_and_why(found):
    text = found["What failed"]
    assert "Skeinformer on Text: 1 of 3 runs gave no result (seed 2 diverged: the training loss was not finite" in text
    assert "V-Mean on Text: 3 of 3 runs gave no result" in text
    assert "Standard on Text could not be measured: oom (out of memory)." in text


def test_costs_and_published_values(found):
    text = found["Time and memory"]
    assert "ListOps: V-Mean is the fastest, at 0.12 of Standard's time, which 2 of 2 others undercut" in text
    assert "V-Mean takes the least memory" in text
    assert "Over 5 cells" in found["Against the published values"]
    assert "(Skeinformer on ListOps)" in found["Against the published values"]


def test_a_task_without_a_measurement_has_no_cheapest(table):
    rows = [
        dataclasses.replace(row, seconds_per_1000_steps=None) if row.task == "text" else row for row in read_rows(table)
    ]
    costs = next(finding for finding in findings(rows) if finding.heading == "Time and memory")
    text = " ".join(costs.sentences)
    assert "ListOps: V-Mean" in text.replace("\u00a0", " ") and "Text" not in text


def test_three_seeds_with_a_result_need_no_warning_and_fewer_do(table):
    rows = [dataclasses.replace(row, seeds_ok=3 if row.seeds_ok else 0) for row in read_rows(table)]
    assert "How far the seeds carry" not in {finding.heading for finding in findings(rows)}
    for seeds, words in ((1, "how much another seed would change is not known"), (2, "too few to know")):
        rows[0] = dataclasses.replace(rows[0], seeds_ok=seeds)
        warning = findings(rows)[0]
        assert warning.warning
        assert f"{seeds} to 3 runs with a result" in warning.sentences[0]
        assert words in warning.sentences[0]


def test_what_ties_is_called_so():
    rows = [
        Row("mini", "text", name, "ok", "", 1, 1, accuracy=accuracy, measured_on="a", seconds_per_1000_steps=seconds,
            memory_per_example_mib=1.0)
        for name, accuracy, seconds in (
            ("softmax", 0.5, 1.0), ("vmean", 0.7, 2.0), ("bigbird", 0.5, 3.0), ("performer", 0.700001, 4.0)
        )
    ]  # fmt: skip
    found = {f.heading: [s.replace("\u00a0", " ") for s in f.sentences] for f in findings(rows)}
    assert found["Best on each task"] == [
        "Text: Performer and V-Mean with 70.00 %, before Standard and BigBird with 50.00 %."
    ]
    assert found["Time and memory"] == [
        "Text: Standard is the fastest; Standard, V-Mean, BigBird and Performer take the least memory an example."
    ]


def test_an_arena_without_results_says_so():
    rows = [Row("mini", "text", "softmax", "oom", "seed 1 oom: no memory", 0, 1)]
    found = {finding.heading: finding.sentences for finding in findings(rows)}
    assert found["Best on each task"] == ("Text: no run gave a result.",)
    assert "nothing to compare" in found["Against Standard, beyond noise"][0]
    assert "no claim about time or memory" in found["Time and memory"][0]
    assert "Against the published values" not in found


def against_majority(rows):
    found = {finding.heading: finding.sentences for finding in findings(rows)}
    return found["Against always answering the most frequent class"][0]


def test_who_does_not_beat_the_majority_class_is_named():
    rows = [
        Row("mini", "text", name, "ok", "", 1, 1, accuracy=0.5, majority_accuracy=0.5, versus_majority=verdict)
        for name, verdict in (("softmax", "better"), ("vmean", "undecided"), ("bigbird", "worse"))
    ]
    assert against_majority(rows) == "Text: 1 of 3 are better; not better beyond noise: V-Mean, BigBird."
    rows = [dataclasses.replace(row, versus_majority="undecided") for row in rows]
    assert against_majority(rows) == "Text: none of 3 attentions is better beyond noise."


def test_different_machines_are_warned_of(table):
    rows = read_rows(table)
    rows[0] = dataclasses.replace(rows[0], measured_on="another processor, 1 thread")
    rows += [dataclasses.replace(rows[1], task="image", measured_on="a third, 1 thread")]
    text = next(finding.sentences for finding in findings(rows) if finding.heading == "Time and memory")
    assert "ListOps: measured on different machines" in text[0] and "times do not compare" in text[0]
    assert "fastest" not in text[0] and text[-1].startswith("Image: Skeinformer is the fastest")
