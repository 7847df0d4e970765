from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from lra.results.plots import accuracy_time
from lra.results.plots.accuracy_time import Point, pareto_front, possible_front
from lra.results.rows import read_rows, write_rows


def test_the_front_is_what_no_other_point_beats():
    rng = np.random.default_rng(0)
    points = [(float(time), float(accuracy)) for time, accuracy in rng.integers(0, 12, (40, 2))]
    front = [(point.time, point.accuracy) for point in pareto_front([Point(t, a, a, a, 3) for t, a in points])]
    beaten = {
        (t, a) for (t, a), (u, b) in itertools.product(points, points) if (u <= t and b >= a and (u, b) != (t, a))
    }
    assert set(front) == set(points) - beaten
    assert front == sorted(front)
    assert pareto_front([]) == []


def test_what_may_be_on_the_front_is_all_that_no_faster_one_surely_beats():
    fast, near, far = Point(1, 70, 68, 72, 3), Point(2, 69, 67, 71, 3), Point(2, 60, 58, 62, 3)
    assert possible_front([fast, near, far]) == [fast, near]
    slow = Point(3, 90, 88, 92, 3)
    assert possible_front([fast, slow]) == [fast, slow]


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
    assert points(listops) == {(5120, 40), (2560, 55), (640, 39.5)}
    assert points(text) == set()
    assert listops.get_xlabel() == "seconds per 1000 steps (n = 2048, d = 32)"
    assert listops.get_ylabel() == "test accuracy [%]\nn ≤ 2048, d = 32"
    assert "majority class" in listops.get_title(loc="right")
    assert "not shown: Standard, Skeinformer, V-Mean" in text.get_xlabel().replace("\n", " ")
    front = next(line for line in listops.lines if line.get_color() == accuracy_time.FRONT["color"])
    assert list(front.get_xdata()) == [640, 2560]


def test_the_figure_names_the_data_below_itself(table, drawn, tmp_path):
    """A picture is passed on without its page, and its panels are called as the Arena's tasks are."""
    accuracy_time.draw(table, tmp_path / "x")
    text = drawn[0].get_supxlabel().replace("\n", " ")
    assert text.startswith("Data: ListOps: generated here, up to 2048 tokens, 400 test examples; Text: generated here")
    assert "Measured alone on the machine (a processor, 2 threads)" in text


def front_lines(axis):
    return [line for line in axis.lines if line.get_color() == accuracy_time.FRONT["color"]]


def redrawn(table, tmp_path, **columns):
    rows = [dataclasses.replace(row, **columns) for row in read_rows(table)]
    write_rows(rows, tmp_path / "table.csv")
    accuracy_time.draw(tmp_path / "table.csv", tmp_path / "x")


def test_a_front_of_short_runs_and_long_measurements_is_not_drawn(table, drawn, tmp_path):
    """Its points would pair the accuracy at 128 tokens with the time at 2048: no model that anyone trained."""
    redrawn(table, tmp_path, max_length=128)
    listops = drawn[0].axes[0]
    assert front_lines(listops) == []
    assert (listops.get_ylabel(), listops.get_xlabel()) == (
        "test accuracy [%]\nn ≤ 128, d = 32",
        "seconds per 1000 steps (n = 2048, d = 32)",
    )


def test_below_three_seeds_there_is_no_front(table, drawn, tmp_path):
    redrawn(table, tmp_path, seeds_ok=2)
    assert front_lines(drawn[0].axes[0]) == []


def test_what_only_noise_keeps_off_the_front_has_a_ring(table, drawn, tmp_path):
    redrawn(table, tmp_path, accuracy_low=0.3, accuracy_high=0.6)
    *_, ring = front_lines(drawn[0].axes[0])
    assert (ring.get_marker(), list(ring.get_xdata())) == ("o", [5120])
    labels = [text.get_text() for text in drawn[0].axes[2].get_legend().get_texts()]
    assert labels[-2:] == ["Pareto front", "possibly on the front"]


def test_the_time_of_exact_attention_is_marked(table, drawn, tmp_path):
    rows = read_rows(table)
    rows.append(dataclasses.replace(rows[0], attention="softmax_nodropout", seconds_per_1000_steps=2000))
    write_rows(rows, tmp_path / "table.csv")
    accuracy_time.draw(tmp_path / "table.csv", tmp_path / "x")
    assert any(list(line.get_xdata()) == [2000, 2000] for line in drawn[0].axes[0].lines)


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
