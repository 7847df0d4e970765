from __future__ import annotations

import re

import pytest

from lra.cli.main import main
from lra.results.plots import published as figure
from lra.results.plots.published import OWN, PUBLISHED, REFERENCED, draw
from lra.results.reference import read_cells
from lra.results.rows import read_rows
from results.builder import write_run
from results.publishing import publish


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    for seed in (1, 2):
        publish(write_run(folder / "runs", "listops", "vmean", seed, 0.28 + 0.01 * seed), folder)
    return folder


def test_a_cell_has_a_mark_for_each_thing_that_is_known(table, reference):
    names = ["softmax", "vmean", "bigbird"]
    marks = figure._marks("listops", names, read_rows(table), read_cells("paper", reference))
    assert {name: set(mine) for name, mine in marks.items()} == {
        "softmax": {PUBLISHED, OWN},
        "vmean": {PUBLISHED, REFERENCED, OWN},
        "bigbird": {PUBLISHED},
    }
    mark = marks["vmean"][PUBLISHED]
    assert mark.mean == pytest.approx(28.78) and mark.low < 28.78 < mark.high
    assert marks["vmean"][REFERENCED].mean == pytest.approx(29.5)


def texts(path):
    """All texts of a figure: matplotlib draws letters as paths and keeps each line of text as a comment."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text()))


def test_cells_that_nobody_has_run_are_counted(table, reference, tmp_path):
    draw(table, tmp_path / "own", reference)
    assert (tmp_path / "own.png").stat().st_size > 10_000
    text = texts(tmp_path / "own.svg")
    assert "your runs" in text and "reference results" in text
    assert "3 of 16 run" in text and "75 of 80 cells were not run" in text
    assert "Your runs are left out" not in text


def test_rows_of_another_scale_are_left_out(reference, tmp_path, monkeypatch):
    from lra.results.table import collect

    collect([write_run(tmp_path, "listops", "vmean")], tmp_path / "table.csv", scale="mini")
    monkeypatch.chdir(tmp_path)
    command = ["plots", "published", "--table", "table.csv", "--reference", str(reference), "--out", "."]
    assert main(command) == 0
    text = texts(tmp_path / "published.svg")
    assert "your runs" not in text and "reference results" in text
    assert "Your runs are left out: their scale is not paper, so they are not comparable." in text
