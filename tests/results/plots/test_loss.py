from __future__ import annotations

import pytest

from lra.errors import LraError
from lra.results.plots import loss
from lra.results.plots.loss import mean_curve
from results.builder import reseal, write_run


def history(*rows):
    return [{"step": step, "seconds": seconds, "dev_loss": value} for step, seconds, value in rows]


def test_the_curve_is_the_mean_over_seeds_of_the_steps_that_all_evaluated():
    curve = mean_curve([history((50, 1, 2.0), (100, 2, 1.0), (150, 3, 0.5)), history((50, 3, 1.0), (100, 4, 0.5))])
    assert curve == {
        "step": [50, 100],
        "seconds": [2, 3],
        "dev_loss": [1.5, 0.75],
        "lowest": [1.0, 0.5],
        "highest": [2.0, 1.0],
    }


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, without the saving."""
    figures = []
    monkeypatch.setattr(loss, "save", lambda figure, prefix: figures.append(figure))
    return figures


@pytest.mark.parametrize("against", ["seconds", "step"])
def test_one_panel_a_task_and_one_line_a_method(metrics, drawn, tmp_path, against):
    loss.draw(metrics, tmp_path / "loss", against)
    listops, text, place = drawn[0].axes[:3]
    assert [axis.get_title(loc="left") for axis in (listops, text)] == ["ListOps", "Text"]
    assert [len([line for line in axis.lines if line.get_marker() != "None"]) for axis in (listops, text)] == [3, 2]
    assert drawn[0].get_supxlabel().startswith("Data: ListOps: generated here, up to 2048 tokens")
    low, high = listops.lines[1].get_ydata()  # the range of the seeds, at the end of the first curve
    assert low < listops.lines[0].get_ydata()[-1] < high
    assert [entry.get_text() for entry in place.get_legend().get_texts()] == ["Standard", "Skeinformer", "V-Mean"]
    assert "not shown: V-Mean" in text.get_xlabel()
    assert listops.get_xlabel() == ("training time [s]" if against == "seconds" else "training step")
    last = listops.lines[0].get_xdata()[-1]
    assert last == pytest.approx(20 if against == "seconds" else 500, rel=0.05)


def test_files_are_written_whole(metrics, tmp_path):
    loss.draw(metrics, tmp_path / "loss", "seconds")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loss.png", "loss.svg"]
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "loss.svg").read_text()


def test_nothing_but_failures_is_a_figure_that_says_so(tmp_path, drawn):
    loss.draw([write_run(tmp_path, "text", "vmean", status="oom", reason="x")], tmp_path / "loss", "seconds")
    assert "not shown: V-Mean" in drawn[0].axes[0].get_xlabel()


def test_a_damaged_history_is_named(tmp_path):
    path = write_run(tmp_path, "text", "vmean")
    (path.parent / "history.csv").write_text("step,seconds\n50,x\n")
    with pytest.raises(LraError, match=r"history.csv is damaged or another run's"):
        loss.draw([path], tmp_path / "loss", "seconds")
    reseal(path)  # as whoever writes such a file could
    with pytest.raises(LraError, match=r"history.csv cannot be read \(.*\); train this run again."):
        loss.draw([path], tmp_path / "loss", "seconds")
