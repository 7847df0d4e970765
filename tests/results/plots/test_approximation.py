from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import pandas as pd
import pytest

from lra.errors import LraError
from lra.results.plots import approximation
from results.builder import write_frame


def table(path: Path, attention: str, means: list[float | None], weights: str = "random") -> Path:
    """What `lra approximate` writes of one length, a row a budget."""
    rows = {"attention": attention, "weights": weights, "length": 32, "features": [8 * 2**i for i in range(len(means))]}
    write_frame(path, pd.DataFrame({**rows, "mean": means, "standard_error": 0.1}))
    return path


def test_failed_cells_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(approximation, "save", lambda figure, prefix: figures.append(figure))
    vmean = table(tmp_path / "vmean.csv", "vmean", [0.5, 0.25, None])
    nystrom = table(tmp_path / "nystrom.csv", "nystrom", [None, None, None])
    approximation.draw([vmean, nystrom], tmp_path / "plot")
    panel = figures[0].axes[0]
    assert panel.get_title(loc="left") == "random weights, n = 32"
    (drawn,) = panel.containers
    assert drawn.lines[0].get_xydata().tolist() == [[8, 0.5], [16, 0.25]]
    assert "Nystr" in panel.get_xlabel()


def test_nothing_but_failures(tmp_path: Path) -> None:
    path = table(tmp_path / "vmean.csv", "vmean", [None, None])
    with pytest.raises(LraError, match=rf"^{path} has only failures; read its column `reason`"):
        approximation.draw([path], tmp_path / "plot")
    assert list(tmp_path.iterdir()) == [path]
