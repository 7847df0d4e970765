"""A small finished arena: three attentions on two tasks, three seeds, one failed run and one failed cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from lra.results.table import collect
from results.builder import write_measure, write_run

ACCURACIES = {
    "listops": {"softmax": 0.40, "skeinformer": 0.55, "vmean": 0.395},
    "text": {"softmax": 0.60, "skeinformer": 0.61, "vmean": 0.52},
}
STEP_MS = {"softmax": 40.0, "skeinformer": 20.0, "vmean": 5.0}


@pytest.fixture(scope="session")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("arena") / "results" / "runs" / "paper"
    paths = []
    for task, accuracies in ACCURACIES.items():
        for attention, accuracy in accuracies.items():
            for seed in (1, 2, 3):
                failed = (task, attention) == ("text", "vmean") or (task, attention, seed) == ("text", "skeinformer", 2)
                bad = {"status": "diverged", "reason": "the training loss was not finite at step 50"}
                paths.append(
                    write_run(
                        root,
                        task,
                        attention,
                        seed,
                        accuracy + 0.005 * (seed - 2),
                        step_ms=STEP_MS[attention],
                        **(bad if failed else {}),
                    )
                )
    return paths


@pytest.fixture(scope="session")
def measures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("measures")
    paths = [write_measure(root, "listops", name, ms) for name, ms in STEP_MS.items()]
    oom = {"status": "oom", "reason": "out of memory"}
    return [*paths, write_measure(root, "text", "softmax", 80.0, **oom), write_measure(root, "text", "vmean", 9.0)]


@pytest.fixture(scope="session")
def table(metrics: list[Path], measures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collected table at the paper's scale, with measurements."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    collect(metrics, path, measures=measures, scale="paper")
    return path
