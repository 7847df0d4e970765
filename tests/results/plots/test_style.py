from __future__ import annotations

import hashlib
import itertools

import matplotlib
import pytest

from lra.attention.registry import METHODS
from lra.results.plots.style import BEYOND, STYLES, figure_settings, label_x, legend, panels, save, styles


def identity(style):
    return style.marker, style.dashes, style.hollow


def test_every_method_has_a_style_of_its_own_even_in_grey():
    assert set(STYLES | BEYOND) == set(METHODS)
    assert len({identity(style) for style in styles(METHODS).values()}) == len(METHODS)


def test_a_method_looks_the_same_whatever_is_beside_it():
    assert styles(["vmean"])["vmean"] == styles(STYLES)["vmean"] == styles(["mine", "vmean"])["vmean"]


def test_methods_of_ones_own_get_styles_in_the_order_of_their_names():
    names = [f"mine{i:02}" for i in range(8)]
    chosen = styles([*STYLES, *reversed(names)])
    assert list(chosen) == [*STYLES, *reversed(names)]
    assert chosen["mine00"] == styles(names)["mine00"]
    assert len({identity(style) for style in chosen.values()}) == len(STYLES) + 8
    assert len(set(styles(f"m{i}" for i in range(32)).values())) == 32
    assert len(styles(f"m{i}" for i in range(40))) == 40


@pytest.mark.parametrize("rows", [STYLES, METHODS], ids=["paper", "all"])
@pytest.mark.parametrize("own", [0, 4])
@pytest.mark.parametrize("number", range(1, 6))
def test_panels_leave_room_for_the_legend(number, own, rows):
    tasks = [f"task{i}" for i in range(number)]
    with figure_settings():
        figure, axes, place = panels(tasks)
        assert list(axes) == tasks
        assert place not in axes.values()
        for axis in axes.values():
            axis.plot([1, 2], [1, 2])
            axis.set_xlabel("x")
        legend(place, styles([*rows, *(f"mine{i}" for i in range(own))]))
        figure.draw_without_rendering()
    text = place.get_legend().get_window_extent()
    box = figure.bbox
    assert box.x0 <= text.x0 and text.x1 <= box.x1 and box.y0 <= text.y0 and text.y1 <= box.y1
    assert not any(text.overlaps(axis.get_tightbbox()) for axis in axes.values())


def test_what_is_not_shown_stays_within_its_panel():
    with figure_settings():
        figure, axes, _ = panels([f"task{i}" for i in range(5)])
        for axis in axes.values():
            label_x(axis, "x", [*STYLES, "a_name_without_any_space_that_is_long_and_goes_on_and_on"])
            axis.set_ylabel("y")
        figure.draw_without_rendering()
    texts = [axis.xaxis.label.get_window_extent() for axis in axes.values()]
    assert all(text.x0 >= 0 and text.x1 <= figure.bbox.x1 for text in texts)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(texts, 2))


def test_the_same_figure_gives_the_same_files(tmp_path):
    digests = []
    for name in ("a", "b"):
        with figure_settings():
            figure, axes, place = panels(["text"])
            axes["text"].plot([1, 2, 3], [3, 1, 2], **STYLES["skeinformer"].line())
            legend(place, styles(["skeinformer"]))
            save(figure, tmp_path / name / "figure")
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((tmp_path / name).iterdir())])
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_settings_of_the_users_change_no_figure(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "lines.linewidth", 9)
    with figure_settings():
        assert matplotlib.rcParams["lines.linewidth"] == matplotlib.rcParamsDefault["lines.linewidth"]
        assert matplotlib.rcParams["svg.hashsalt"] == "lra"
    assert matplotlib.rcParams["lines.linewidth"] == 9
