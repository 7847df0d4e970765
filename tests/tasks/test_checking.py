"""``lra check`` of a task of the user's own: a line a check, and what is otherwise is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lra.cli.main import main

TASK = """
from random import Random


def bits(split, seed="", label=None):
    random = Random({"changing": None, "hash": hash(split)}.get(seed, seed or split))
    for _ in range(60):
        row = [random.randint(1, 2) for _ in range(40)]
        yield row, label if label is not None else row[0] - 1


def pairs(split):
    for number in range(3):
        yield ([1, 2], [1 + (split == "test"), 1 + number]), number % 2
"""


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs ``lra check mine`` with a ``data`` block; returns its exit code and what it printed, errors too."""
    (tmp_path / "mine.py").write_text(TASK)

    def run(name: str = "mine", **changes: Any) -> tuple[int, str]:
        data = {"module": "mine.py:bits", "classes": 2, "vocabulary": 4, "max_length": 40} | changes
        train = {"batch": 8, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2}
        scale = {"features": 8, "threads": 1, "runtime": 5, "memory": 2000, "model": {}}
        scale |= {"tasks": {"mine": {"data": data, "train": train}}}
        config = {"scale": "mini", "tasks": ["mine"], "attentions": ["vmean"], "seeds": [1]}
        (tmp_path / "config.yaml").write_text(json.dumps(config | {"scales": {"mini": scale}}))
        code = main(["check", name, "--config", str(tmp_path / "config.yaml")])
        return code, "".join(capsys.readouterr())

    return run


@pytest.mark.parametrize("changes", [{}, {"module": "mine.py:pairs", "towers": 2}], ids=["one tower", "two towers"])
def test_a_line_a_check(check: Any, changes: dict[str, Any]) -> None:
    code, printed = check(**changes)
    if changes:  # the same pairs are in train and dev
        assert code == 1 and "an earlier split has 3 of 3 dev rows too: row 0 is train row 0" in printed
        assert printed.count("ok     ") == 3
    else:
        assert code == 0
        assert printed.count("ok     ") == 4 and "FAILS" not in printed


@pytest.mark.parametrize(
    ("changes", "failure"),
    [
        ({"options": {"seed": "changing"}}, "train row 0 differs in a second process; seed random choices"),
        ({"options": {"seed": "hash"}}, "train row 0 differs in a second process; seed random choices"),
        ({"options": {"seed": "same"}}, "an earlier split has 60 of 60 dev rows too: row 0 is train row 0"),
        ({"classes": 3}, "the first 60 rows lack label 2"),
        ({"options": {"label": 0}, "classes": 2}, "the first 60 rows lack label 1"),
    ],
)
def test_what_fails_is_said(check: Any, changes: dict[str, Any], failure: str) -> None:
    code, printed = check(**changes)
    assert code == 1
    assert printed.count("FAILS  ") == 1 and printed.count("ok     ") == 3
    assert f"       But {failure}" in printed


def test_nothing_more_is_checked_of_rows_that_are_wrong(check: Any) -> None:
    code, printed = check(vocabulary=2)
    assert code == 1
    assert "FAILS  The first 10000 rows of each split are token ids and labels" in printed
    assert "mine.py:bits, train row 0: token id 2 is not 0 to 1" in printed
    assert printed.count("\n") == 2


def test_what_there_is_not_to_check(check: Any) -> None:
    code, printed = check(name="mien")
    assert code == 1
    assert "unknown attention or task 'mien'. Did you mean 'mine'?" in printed
