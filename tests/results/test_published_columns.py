"""At the paper's scale a row stands beside the published value and the reference result; at others beside nothing."""

from __future__ import annotations

import json

import pytest

from lra.errors import LraError
from lra.results.reference import read_cells, unpack_answers
from lra.results.rows import COLUMNS, read_rows
from lra.results.table import collect
from results.builder import reseal, write_run
from results.publishing import publish

BESIDE = [name for name in COLUMNS if name.startswith(("published_", "reference_"))]


def row_of(paths, tmp_path, reference, scale="paper"):
    collect(paths, tmp_path / "table.csv", scale=scale, reference=reference)
    return read_rows(tmp_path / "table.csv")[0]


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / "runs", "listops", "vmean", seed, 0.29 + 0.01 * seed) for seed in (1, 2, 3)]


@pytest.fixture
def reference(tmp_path):
    for seed in (4, 5):
        publish(write_run(tmp_path / "theirs", "listops", "vmean", seed, 0.28 + 0.01 * seed), tmp_path / "reference")
    return tmp_path / "reference"


def test_what_stands_beside_a_row(runs, reference, tmp_path):
    row = row_of(runs, tmp_path, reference)
    assert (row.published_accuracy, row.published_difference) == pytest.approx((0.2878, 0.31 - 0.2878))
    assert row.published_source == "Chen et al. 2022 (arXiv 2112.05359), table 1"
    assert row.published_differs.startswith("test examples, attention.features 32 (256)")
    assert row.published_compatible == "yes"
    assert row.reference_accuracy == pytest.approx(0.325)
    assert row.reference_low < 0.325 < row.reference_high
    assert (row.reference_seeds, row.reference_test_rows, row.reference_differs) == (2, 400, None)
    assert row.reference_compatible == "yes"


def test_another_scale_compares_with_nothing(runs, reference, tmp_path):
    row = row_of(runs, tmp_path, reference, scale="mini")
    assert {getattr(row, name) for name in BESIDE} == {None}


def test_without_a_result_nothing_is_said_to_agree(reference, tmp_path):
    row = row_of([write_run(tmp_path / "runs", "listops", "vmean", status="oom")], tmp_path, reference)
    assert row.published_accuracy and row.reference_accuracy
    assert row.published_difference is row.published_compatible is row.reference_compatible is None


def test_what_differs_from_the_reference_result(reference, tmp_path):
    """One run of ours, which says nothing of seeds: the two of the reference do."""
    run = write_run(tmp_path / "runs", "listops", "vmean", 1, 0.33, data="e" * 64, code="other", steps=70)
    row = row_of([run], tmp_path, reference)
    assert row.reference_differs == "data, code, train.steps is 70, not 500"
    assert (row.published_compatible, row.reference_compatible) == ("too few seeds", "yes")


def test_many_settings_are_counted(reference, tmp_path):
    settings = {"task": "listops", "attention": {}, "seed": 1, "model": {}, "train": {}}
    run = write_run(tmp_path / "runs", "listops", "vmean", 1, 0.33, settings=settings)
    assert row_of([run], tmp_path, reference).reference_differs.endswith(", 6 more settings")


def test_path_x_says_who_published_what(tmp_path):
    run = reseal(write_run(tmp_path / "runs", "listops", "softmax", 1, 0.5), task="pathx")
    row = row_of([run], tmp_path, tmp_path / "nothing")
    assert row.published_accuracy is None
    assert row.published_source == "Tay et al. 2021 (arXiv 2011.04006), table 1: fails, no better than chance"


def test_an_edited_reference_result_is_refused(reference):
    path = reference / "paper/listops/vmean/seed-5.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"correct": "AAAA"}))
    with pytest.raises(LraError, match=r"seed-5.json is damaged or was edited \(its checksum differs\); get it again."):
        read_cells("paper", reference)


def test_reference_results_of_other_examples_are_not_averaged(reference, tmp_path):
    publish(write_run(tmp_path / "third", "listops", "vmean", 6, 0.3, rows=200), reference, data="f" * 64)
    with pytest.raises(LraError, match="were tested on different examples"):
        read_cells("paper", reference)


@pytest.mark.parametrize(("packed", "words"), [("-", "not base64"), ("AAA=", "not 3 bits"), ("Hw==", "not 3 bits")])
def test_answers_are_as_many_bits_as_test_rows(packed, words):
    with pytest.raises(ValueError, match=words):
        unpack_answers(packed, 3)
