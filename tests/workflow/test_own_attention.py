"""An attention of the user's own: one file, one line of config.yaml, and the whole arena runs with it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

TARGETS = ("results/table.csv", "results/report.html", "tabulate", "results/plots/accuracy_time.svg")
CELLS = {"train_mine_listops", "measure_mine"}

METHOD = '''
"""Attention to the mean of what is real."""

from dataclasses import dataclass

from lra.attention import Attention
from means import mean


@dataclass
class Sizes:
    factor: "float" = 1.0


class Mine(Attention):
    reference = "none"

    def __init__(self, *, factor, **common):
        super().__init__(**common)
        self.sizes = Sizes(factor)

    def attend(self, query, key, value, mask, draws):
        return value * self.sizes.factor + mean(value, mask)

    def multiply_adds(self, length):
        return 2 * length * self.head_dim
'''
BESIDE = """
from lra.attention.vmean import mean_value


def mean(value, mask):
    return mean_value(value, mask)
"""


def mine(module: str = "methods/mine.py:Mine") -> dict[str, Any]:
    own = {"module": module, "features": 4, "options": {"factor": 0.5}}
    bench = {"lengths": [32, 64], "repeats": 1}
    return configuration(attentions=["softmax", "vmean", {"mine": own}], bench=bench)


@pytest.fixture(scope="module")
def extended(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished arena with one more attention, run."""
    checkout = finished.copy(tmp_path_factory.mktemp("extended") / "lra")
    (checkout.folder / "methods").mkdir()
    (checkout.folder / "methods" / "mine.py").write_text(METHOD)
    (checkout.folder / "methods" / "means.py").write_text(BESIDE)
    checkout.configure(mine())
    assert checkout.ran(*TARGETS) == CELLS
    return checkout


@pytest.fixture
def copied(extended: Checkout, tmp_path: Path) -> Checkout:
    return extended.copy(tmp_path / "lra")


def test_it_is_a_row_like_any_other(extended: Checkout) -> None:
    row = next(row for row in csv.DictReader(extended.table().splitlines()) if row["attention"] == "mine")
    assert (row["status"], row["measure_status"], row["published_accuracy"]) == ("ok", "ok", "")
    assert 0 <= float(row["accuracy"]) <= 1 and float(row["ms_per_step"]) > 0
    for path in ("report.html", "tables/accuracy.md", "tables/time.csv", "plots/accuracy_time.svg"):
        assert "mine" in (extended.folder / "results" / path).read_text(), path
    assert extended.planned(*TARGETS) == set()


def test_its_file_is_beside_the_settings_wherever_the_results_go(copied: Checkout) -> None:
    """As `make demo` and `make shown` run."""
    elsewhere = ("--directory", "elsewhere", "--configfile", "config.yaml")
    assert "train_mine_listops" in copied.planned("results/table.csv", *elsewhere)


def test_its_core_is_timed_beside_the_others(copied: Checkout) -> None:
    table = "results/benchmarks/attention.csv"
    copied.snakemake("results/plots/bench.svg")
    rows = list(csv.DictReader((copied.folder / table).read_text().splitlines()))
    cells = [(name, length) for name in ("softmax", "vmean", "mine") for length in ("32", "64")]
    assert [(row["attention"], row["length"]) for row in rows] == cells
    assert not any(row["reason"] for row in rows)
    assert "mine" in (copied.folder / "results/plots/bench.svg").read_text()
    copied.edit("src/lra/results/published/accuracy.csv", "V-Mean", "Mean of V")
    assert "rule plot:" in copied.snakemake("--dry-run", "results/plots/bench.svg")
    copied.edit("methods/mine.py", "self.sizes.factor + ", "self.sizes.factor - ")
    copied.snakemake(table)
    log = (copied.folder / "logs/bench.log").read_text().splitlines()
    kept = [line.partition(":")[0] for line in log if "timed already" in line]
    assert kept == ["softmax", "vmean"]


def test_only_its_code_reruns_it(copied: Checkout) -> None:
    copied.edit("methods/mine.py", "what is real", "all that is real")
    assert copied.planned(*TARGETS) == set()
    copied.edit("methods/means.py", "return mean_value", "return 2 * mean_value")
    assert copied.planned(*TARGETS) == CELLS
    copied.edit("methods/mine.py", "self.sizes.factor + ", "self.sizes.factor - ")
    assert copied.ran(*TARGETS) == CELLS


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (
            "methods/mine.py:Mien",
            "attentions.mine.module: methods/mine.py defines no class 'Mien'. Did you mean 'Mine'?",
        ),
        ("methods/our.py:Mine", "attentions.mine.module: the file 'methods/our.py' is not there; correct its path"),
    ],
)
def test_what_is_not_there_stops_before_any_work(copied: Checkout, module: str, sentence: str) -> None:
    copied.configure(mine(module))
    output = copied.snakemake("--dry-run", *TARGETS, code=1)
    assert sentence in output
    assert "Traceback" not in output


def test_a_file_that_breaks_is_a_row(copied: Checkout) -> None:
    copied.edit("methods/mine.py", "reference = ", "reference = undefined + ")
    assert copied.ran(*TARGETS) == CELLS
    assert "NameError: name 'undefined' is not defined" in copied.table()
