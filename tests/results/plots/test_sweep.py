from __future__ import annotations

import pytest
from statsmodels.stats.proportion import proportion_confint

from lra.errors import LraError
from lra.results.plots import sweep
from results.builder import write_run

RATES = (1e-3, 1e-4, 1e-5)


def write_swept(root, batch, rate, seed, accuracy, task="text", **more):
    """A run of the sweep; its settings are those of other runs but for batch and rate."""
    settings = {"task": task, "seed": seed, "train": {"batch": batch, "learning_rate": rate, "steps": 500}}
    folder = root / f"batch-{batch}_rate-{rate}"
    return write_run(folder, task, "skeinformer", seed, accuracy, settings=settings, **more)


@pytest.fixture
def swept(tmp_path):
    """Two batch sizes at three rates with three seeds; all runs of one pair failed, and one run of another."""
    paths = []
    for batch in (128, 64):
        for i, rate in enumerate(RATES):
            for seed in (1, 2, 3):
                failed = (batch, rate) == (64, 1e-5) or (batch, rate, seed) == (128, 1e-3, 2)
                bad = {"status": "diverged", "reason": "x"} if failed else {}
                accuracy = 0.7 - 0.05 * i + 0.01 * (seed - 2) + batch / 6400
                paths.append(write_swept(tmp_path, batch, rate, seed, accuracy, step_ms=batch + seed, **bad))
    return paths


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, without the saving."""
    figures = []
    monkeypatch.setattr(sweep, "save", lambda figure, prefix: figures.append(figure))
    return figures


def means(axis):
    """The lines of the batch sizes; the others are intervals."""
    return [line for line in axis.lines if line.get_marker() != "None"]


def test_a_line_a_batch_size_through_the_means_of_its_seeds(swept, drawn, tmp_path):
    sweep.draw(swept, tmp_path / "sweep")
    accuracy, time, place = drawn[0].axes
    small, large = means(accuracy)
    assert list(small.get_xdata()) == pytest.approx([1e-4, 1e-3], rel=0.05)
    assert list(large.get_xdata()) == pytest.approx([1e-5, 1e-4, 1e-3], rel=0.05)
    assert list(small.get_ydata()) == pytest.approx([66, 71], abs=0.2)
    assert list(large.get_ydata()) == pytest.approx([62, 67, 72], abs=0.2)
    assert list(means(time)[0].get_ydata()) == pytest.approx([66, 66])
    assert list(means(time)[1].get_ydata()) == pytest.approx([130, 130, 130])
    assert [entry.get_text() for entry in place.get_legend().get_texts()] == ["64", "128"]


def test_an_interval_ends_where_accuracies_do(drawn, tmp_path):
    sweep.draw([write_swept(tmp_path, 64, 1e-3, seed, 0.2 + 0.3 * seed) for seed in (1, 2)], tmp_path / "sweep")
    bottom, top = drawn[0].axes[0].get_ylim()
    assert -6 < bottom < 0 and 100 < top < 106


def test_eight_batch_sizes_look_different():
    chosen = sweep._styles("skeinformer", range(1, 9))
    assert len({(style.marker, style.dashes, style.hollow) for style in chosen.values()}) == 8


def test_the_axes_say_what_is_missing_and_how_time_was_taken(swept, drawn, tmp_path):
    sweep.draw(swept, tmp_path / "sweep")
    accuracy, time, _ = drawn[0].axes
    assert accuracy.get_title(loc="left") == "Skeinformer, Text"
    assert accuracy.get_xlabel() == "learning rate\nnot shown: batch 64 at 1e-05"
    assert (accuracy.get_xscale(), list(accuracy.get_xticks())) == ("log", [1e-5, 1e-4, 1e-3])
    assert "not measured alone" in time.get_ylabel()
    assert drawn[0].get_supxlabel().startswith("Data: Text: generated here, up to 2048 tokens")


def test_intervals_are_those_of_student(swept, drawn, tmp_path):
    sweep.draw(swept, tmp_path / "sweep")
    time = drawn[0].axes[1]
    intervals = [line.get_ydata() for line in time.lines if line.get_marker() == "None"]
    assert len(intervals) == 5
    half = 4.302653 * 1 / 3**0.5  # of 65, 66 and 67 seconds
    assert list(intervals[0]) == pytest.approx([66 - half, 66 + half])


def test_a_single_seed_has_the_binomial_interval_of_its_accuracy(drawn, tmp_path):
    sweep.draw([write_swept(tmp_path, 64, rate, 1, 0.6) for rate in RATES], tmp_path / "sweep")
    accuracy, time = (
        [line.get_ydata() for line in axis.lines if line.get_marker() == "None"] for axis in drawn[0].axes[:2]
    )
    low, high = proportion_confint(240, 400, method="wilson")
    assert list(accuracy[0]) == pytest.approx([100 * low, 100 * high])
    assert all(low == high for low, high in time)


def test_nothing_but_failures_is_a_figure_that_says_so(drawn, tmp_path):
    sweep.draw([write_swept(tmp_path, 64, 1e-3, 1, 0, status="oom", reason="x")], tmp_path / "sweep")
    assert "not shown: batch 64 at 0.001" in drawn[0].axes[0].get_xlabel()


def test_runs_of_other_tasks_or_settings_are_refused(swept, tmp_path):
    with pytest.raises(LraError, match="different tasks or attentions"):
        sweep.draw([*swept, write_swept(tmp_path, 64, 1e-3, 1, 0.4, task="listops")], tmp_path / "sweep")
    with pytest.raises(LraError, match="different settings or code"):
        sweep.draw([*swept, write_swept(tmp_path / "other", 64, 1e-3, 4, 0.4, code="y")], tmp_path / "sweep")


def test_files_are_written_whole(swept, tmp_path):
    sweep.draw(swept, tmp_path / "plots" / "sweep")
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["sweep.png", "sweep.svg"]
