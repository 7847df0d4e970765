from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lra.cli.main import main
from lra.training import run
from lra.training.evaluation import Score

NOTHING = np.zeros(0, np.uint8)


@pytest.mark.parametrize(
    ("draws", "accuracies", "told"),
    [
        (0, [0.5], ""),
        (3, [0.5, 0.4, 0.5, 0.6], "3 other sets of random numbers: mean 0.5000, standard deviation 0.1000, from 0.4"),
        (1, [0.5, 0.25], "1 other sets of random numbers: mean 0.2500, from 0.2500 to 0.2500"),
        (2, [0.5], "softmax draws no random numbers in evaluation"),
    ],
)
def test_draws(
    draws: int,
    accuracies: list[float],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def score_run(folder: Path, data: object, split: object, **given: object) -> object:
        assert given["draws"] == draws
        metrics = {"task": "text", "attention": "softmax", "seed": 1}
        return metrics, [Score(0.0, accuracy, NOTHING, NOTHING) for accuracy in accuracies]

    monkeypatch.setattr(run, "score_run", score_run)
    assert main(["evaluate", "folder", *(["--draws", str(draws)] if draws else [])]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert (
        first == "text softmax seed 1: test accuracy 0.5000" and told in "".join(others) and bool(others) == bool(told)
    )
