"""A task of the user's own: one function, one block of config.yaml, and the whole arena runs with it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import LISTOPS, ROOT, Checkout, configuration

pytestmark = pytest.mark.slow

TARGETS = (
    "results/table.csv",
    "results/report.html",
    "tabulate",
    "results/plots/accuracy_time.svg",
    "results/plots/loss_steps.svg",
    "shards",
)
FEW = ("results/table.csv", "shards")
ONE = ("train_vmean_mine", "shards")
TRAINED = {"train_softmax_mine", "train_vmean_mine"}
MEASURED = {"measure_softmax", "measure_vmean"}

TASK = '''
"""Which of two words does a line have?"""


def words(split, source, longest):
    # One file a split.
    for line in (source / f"{split}.txt").read_text().splitlines():
        word, _, rest = line.partition(" ")
        yield rest.encode()[:longest], int(word)
'''


def lines(split: str, count: int) -> str:
    return "".join(f"{n % 2} {split} line {n} has {['an apple', 'a pear'][n % 2]}\n" for n in range(count))


def mine(**data: Any) -> dict[str, Any]:
    """The small arena with the task besides ListOps."""
    config = configuration(tasks=["listops", "mine"])
    block = {"module": "tasks/mine.py:words", "options": {"longest": 40}, "source": "my texts"}
    block |= {"classes": 2, "vocabulary": 256, "max_length": 40}
    scale = config["scales"]["mini"]
    scale["tasks"] = {"listops": LISTOPS, "mine": {"data": block | data, "train": LISTOPS["train"]}}
    return config


@pytest.fixture(scope="module")
def extended(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished arena with one more task, run."""
    checkout = finished.copy(tmp_path_factory.mktemp("extended") / "lra")
    for folder in ("tasks", "my texts"):
        (checkout.folder / folder).mkdir()
    (checkout.folder / "tasks" / "mine.py").write_text(TASK)
    for split, count in {"train": 100, "dev": 30, "test": 40}.items():
        (checkout.folder / "my texts" / f"{split}.txt").write_text(lines(split, count))
    checkout.configure(mine())
    assert checkout.ran(*TARGETS) == {"prepare_mine"} | TRAINED | MEASURED
    return checkout


@pytest.fixture
def copied(extended: Checkout, tmp_path: Path) -> Checkout:
    return extended.copy(tmp_path / "lra")


def test_it_is_a_task_like_any_other(extended: Checkout) -> None:
    rows = [row for row in csv.DictReader(extended.table().splitlines()) if row["task"] == "mine"]
    assert [row["attention"] for row in rows] == ["softmax", "vmean"]
    for row in rows:
        assert (row["status"], row["measure_status"], row["published_accuracy"]) == ("ok", "ok", "")
        assert (row["test_rows"], row["max_length"], float(row["majority_accuracy"])) == ("40", "40", 0.5)
        assert 0 <= float(row["accuracy"]) <= 1 and float(row["seconds_per_1000_steps"]) > 0
    for path in ("report.html", "tables/accuracy.md", "tables/time.csv", "tables/memory.tex"):
        assert "mine" in (extended.folder / "results" / path).read_text().lower(), path
    for path in ("plots/accuracy_time.svg", "plots/loss_steps.svg"):
        assert "Mine" in (extended.folder / "results" / path).read_text(), path
    assert extended.planned(*TARGETS) == set()


def test_it_is_planned_and_rehearsed(copied: Checkout) -> None:
    copied.snakemake("rehearse", "plan")
    assert "| mine | vmean | 1/1 |" in (copied.folder / "results/plan.md").read_text()
    rehearsed = json.loads((copied.folder / "results/rehearsal/mini/mine/vmean/metrics.json").read_text())
    assert rehearsed["status"] == "ok"


def test_rules_are_named_after_it(copied: Checkout) -> None:
    shutil.rmtree(copied.folder / "results/runs/mini/mine")
    assert copied.planned("prepare_mine", "train_vmean_mine") == {"train_vmean_mine"}


@pytest.mark.long
def test_only_what_makes_it_reruns_it(copied: Checkout) -> None:
    copied.edit("tasks/mine.py", "# One file a split.", "# A file for each.")
    assert copied.planned(*FEW) == set()
    copied.edit("tasks/mine.py", "[:longest]", "[: min(longest, 99)]")  # other code, the same rows
    assert copied.ran(*ONE) == {"prepare_mine"}
    copied.edit("tasks/mine.py", "int(word)", "1 - int(word)")
    assert copied.ran(*ONE) == {"prepare_mine", "train_vmean_mine"}
    copied.configure(mine(options={"longest": 30}))
    assert copied.ran(*ONE) == {"prepare_mine", "train_vmean_mine"}
    copied.edit("my texts/train.txt", "0 train line 0", "1 train line 0")
    assert copied.ran(*ONE) == {"prepare_mine", "train_vmean_mine"}
    copied.configure(mine(options={"longest": 30}, max_length=70))
    assert copied.ran(*FEW) == {"prepare_mine"} | TRAINED | MEASURED
    assert copied.planned(*FEW) == set()


def test_what_is_not_there_stops_before_any_work(copied: Checkout) -> None:
    copied.configure(mine(module="tasks/mine.py:wrods"))
    output = copied.snakemake("--dry-run", *TARGETS, code=1)
    assert "mine.data.module: tasks/mine.py defines no function 'wrods'. Did you mean 'words'?" in output
    assert "Traceback" not in output


def test_a_wrong_row_is_one_sentence(copied: Checkout) -> None:
    copied.configure(mine(vocabulary=99))
    copied.snakemake("prepare_mine", code=1)
    log = (copied.folder / "logs/mini/prepare_mine.log").read_text()
    assert log.startswith("Error: tasks/mine.py:words, train row 0: token id 116 is not 0 to 98; correct it, or")
    assert log.count("\n") == 1


def test_the_example(tmp_path: Path) -> None:
    """The block of the tutorial as it stands there, with its training cut short."""
    checkout = Checkout.create(tmp_path / "lra", configuration())
    (checkout.folder / "examples").mkdir()
    shutil.copy2(ROOT / "examples/standard_library.py", checkout.folder / "examples")
    config = configuration(tasks=["library"])
    data = {"module": "examples/standard_library.py:passages", "classes": 4, "vocabulary": 256, "max_length": 256}
    config["scales"]["mini"]["tasks"] = {"library": {"data": data, "train": LISTOPS["train"]}}
    checkout.configure(config)
    assert checkout.ran("train_vmean_library") == {"prepare_library", "train_vmean_library"}
