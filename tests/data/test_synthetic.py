"""Random shards look like the task's, at its full length."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lra.cli.main import main
from lra.config.arena import load
from lra.data.shards import read_shards, verify
from lra.data.synthetic import describe, random_shards
from lra.tasks.contract import Rows, Task


@pytest.mark.parametrize("task", [Task("a", 10, 16, 50), Task("b", 2, 257, 70, towers=2)], ids=lambda task: task.name)
def test_random_shards(task: Task, tmp_path: Path) -> None:
    random_shards(task, Rows(32, 8, 8), tmp_path / task.name)
    shards = read_shards(tmp_path / task.name)
    verify(shards)
    assert shards.task == task
    assert [shards.rows(split) for split in ("train", "dev", "test")] == [32, 8, 8]
    table = pq.read_table(shards.files("train")[0])
    for column in ("tokens", "tokens_2")[: task.towers]:
        assert pc.max(pc.list_value_length(table[column])).as_py() == task.max_length
        assert 0 < pc.max(pc.list_flatten(table[column])).as_py() < task.vocabulary


def test_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "config.yaml"
    assert main(["rehearsal-data", "retrieval", "--rows", "5", "--config", str(config)]) == 0
    shards = read_shards(Path("data/rehearsal/mini/retrieval"))
    assert main(["rehearsal-data", "retrieval", "--rows", "5", "--config", str(config)]) == 0, "it replaces its own"
    assert shards.task == describe("retrieval", load(config).data("retrieval"))
    assert [shards.rows(split) for split in ("train", "dev", "test")] == [5, 8, 8]
