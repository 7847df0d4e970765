"""Tuning reruns where something changed, and the runs follow the learning rate that was chosen, nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]

TRIED = "results/tune/mini/listops/{}/{}"
RUNS = [f"results/runs/mini/listops/{attention}/seed-1/metrics.json" for attention in ("softmax", "vmean")]
TARGETS = ("tune", *RUNS)


def tuned(*rates: float, **changes: Any) -> dict[str, Any]:
    config = configuration(**changes)
    config["scales"]["mini"]["tune"] = {"learning_rate": list(rates), "steps": 2, "seed": 9}
    return config


def jobs(checkout: Checkout, *arguments: str) -> set[str]:
    """What a run of Snakemake tried (attention and rate), chose (attention) and trained (rule)."""
    output = checkout.snakemake(*(arguments or TARGETS))
    blocks = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", output, re.MULTILINE)
    found = set()
    for rule, block in blocks:
        wildcards = re.search(r"wildcards: task=\w+, attention=(\w+)(?:, rate=(\S+))?", block)
        if wildcards and rule in ("try_rate", "choose_rate"):
            found.add(" ".join(filter(None, wildcards.groups())))
        elif rule.startswith("train_"):
            found.add(rule)
    return found


@pytest.fixture(scope="module")
def done(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The finished arena, which had one rate for all, tuned."""
    checkout = finished.copy(tmp_path_factory.mktemp("tuned") / "lra")
    checkout.configure(tuned(1e-3, 1e-2))
    planned = jobs(checkout, "--dry-run", *TARGETS)
    tries = {f"{attention} rate-{rate}" for attention in ("softmax", "vmean") for rate in (0.001, 0.01)}
    assert planned == tries | {"softmax", "vmean", "train_softmax_listops", "train_vmean_listops"}
    assert jobs(checkout) >= tries | {"softmax", "vmean"}
    return checkout


def chosen(checkout: Checkout, attention: str) -> dict[str, Any]:
    choice: dict[str, Any] = json.loads((checkout.folder / TRIED.format(attention, "choice.json")).read_text())
    return choice


def test_runs_have_the_chosen_rate(done: Checkout) -> None:
    for path, attention in zip(RUNS, ("softmax", "vmean"), strict=True):
        choice = chosen(done, attention)
        best = max(one["dev_accuracy"] for one in choice["tries"])
        wanted = min(one["learning_rate"] for one in choice["tries"] if one["dev_accuracy"] == best)
        train = json.loads((done.folder / path).read_text())["settings"]["train"]
        assert choice["learning_rate"] == train["learning_rate"] == wanted and train["steps"] == 4
    assert jobs(done, "--dry-run", *TARGETS) == set()


def test_another_rate_is_tried_alone(done: Checkout, tmp_path: Path) -> None:
    """Back at the rates of before nothing is trained at all: tries and runs are in the store."""
    checkout = done.copy(tmp_path / "lra")
    before = {attention: chosen(checkout, attention)["learning_rate"] for attention in ("softmax", "vmean")}
    checkout.configure(tuned(1e-3, 1e-2, 1e-9))
    ran = jobs(checkout)
    new = {"softmax rate-1e-09", "vmean rate-1e-09", "softmax", "vmean"}
    changed = {
        f"train_{attention}_listops"
        for attention, rate in before.items()
        if chosen(checkout, attention)["learning_rate"] != rate
    }
    assert ran == new | changed
    checkout.configure(tuned(1e-3, 1e-2))
    jobs(checkout)
    assert {attention: chosen(checkout, attention)["learning_rate"] for attention in before} == before
    for log in (checkout.folder / "logs/mini/tune").rglob("rate-0*.log"):
        assert "step" in log.read_text()


def test_an_edited_attention_is_tuned_anew_and_no_other(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    file = checkout.folder / "src/lra/attention/vmean.py"
    file.write_text(file.read_text() + "\n\nMORE = 1\n")
    assert jobs(checkout) == {"vmean rate-0.001", "vmean rate-0.01", "vmean", "train_vmean_listops"}


def test_a_choice_that_stays_repeats_no_run(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    (checkout.folder / TRIED.format("vmean", "choice.json")).unlink()
    assert jobs(checkout) == {"vmean"}
    assert jobs(checkout, "--dry-run", *TARGETS) == set()


def test_a_damaged_choice_is_one_sentence(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    choice = checkout.folder / TRIED.format("vmean", "choice.json")
    choice.write_bytes(choice.read_bytes()[:100])
    printed = checkout.snakemake("--dry-run", "train_vmean_listops", code=1)
    assert "Error: results/tune/mini/listops/vmean/choice.json cannot be read" in printed
    assert "Traceback" not in printed


def test_several_seeds_share_a_choice(done: Checkout, tmp_path: Path) -> None:
    checkout = done.copy(tmp_path / "lra")
    checkout.configure(tuned(1e-3, 1e-2, seeds=[1, 2]))
    assert jobs(checkout, "results/table.csv") >= {"train_vmean_listops_seed"}
    heading, *lines = checkout.table().splitlines()
    place = heading.split(",").index("tuned")
    assert [line.split(",")[place] for line in lines] == ["2", "2"]
    for seed in (1, 2):
        metrics = json.loads((checkout.folder / RUNS[1].replace("seed-1", f"seed-{seed}")).read_text())
        assert metrics["settings"]["train"]["learning_rate"] == chosen(checkout, "vmean")["learning_rate"]


def test_without_the_block_nothing_is_tuned(finished: Checkout) -> None:
    assert jobs(finished, "--dry-run", *RUNS) == set()
