from __future__ import annotations

import itertools

import numpy as np
import pytest

from lra.results.plots import accuracy_time
from lra.results.plots.accuracy_time import pareto_front
from lra.results.rows import read_rows, write_rows


def test_the_front_is_what_no_other_point_beats():
    rng = np.random.default_rng(0)
    points = [(float(time), float(accuracy)) for time, accuracy in rng.integers(0, 12, (40, 2))]
    front = pareto_front(*map(list, zip(*points, strict=True)))
    beaten = {
        (t, a) for (t, a), (u, b) in itertools.product(points, points) if (u <= t and b >= a and (u, b) != (t, a))
    }
    assert {points[i] for i in front} == set(points) - beaten
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)
    assert pareto_front([], []) == []


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(accuracy_time, "save", lambda figure, prefix: figures.append(figure))
    return figures


def points(axis):
    return {
        (round(line.get_xdata()[0], 6), round(line.get_ydata()[0], 6))
        for line in axis.lines
        if line.get_linestyle() == "None"
    }


def test_measured_times_where_there_are_any(table, drawn, tmp_path):
    accuracy_time.draw(table, tmp_path / "x")
    listops, text, _ = drawn[0].axes[:3]
    assert points(listops) == {(5120, 40), (2560, 55), (640, 39)}
    assert points(text) == set()
    assert listops.get_xlabel() == "seconds per 1000 steps"
    assert "majority class" in listops.get_title(loc="right")
    assert "not shown: Standard, Skeinformer, V-Mean" in text.get_xlabel().replace("\n", " ")
    front = next(line for line in listops.lines if line.get_color() == accuracy_time.FRONT["color"])
    assert list(front.get_xdata()) == [640, 2560]


def test_else_the_runs_own_times_and_the_axis_says_so(metrics, drawn, tmp_path, table):
    rows = [row for row in read_rows(table) if row.task == "text"]
    write_rows(
        [type(row)(**{**vars(row), "measure_status": None, "seconds_per_1000_steps": None}) for row in rows],
        tmp_path / "table.csv",
    )
    accuracy_time.draw(tmp_path / "table.csv", tmp_path / "x")
    axis = drawn[0].axes[0]
    assert axis.get_xlabel().startswith("seconds per 1000 steps (not measured alone)")
    assert points(axis) == {(40, 60), (20, 61)}
