"""Everything that is made from finished runs, and what reruns when its code is edited."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

FIGURES = {
    f"plot {name}" for name in ("accuracy_time", "accuracy_flops", "accuracy_seconds", "loss_seconds", "loss_steps")
}


@pytest.fixture(scope="module")
def reported(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = finished.copy(tmp_path_factory.mktemp("reported") / "lra")
    checkout.snakemake("results/report.html", "tabulate", "results/plots/loss_steps.svg")
    return checkout


@pytest.fixture
def copied(reported: Checkout, tmp_path: Path) -> Checkout:
    return reported.copy(tmp_path / "lra")


def planned(checkout: Checkout, *targets: str) -> set[str]:
    output = checkout.snakemake("--dry-run", *(targets or ("results/report.html", "tabulate")))
    jobs = re.findall(r"^rule (\w+):\n(?:    (?!wildcards).*\n)*(?:    wildcards: figure=(\w+))?", output, re.MULTILINE)
    return {f"{rule} {figure}".strip() for rule, figure in jobs}


def test_after_that_nothing_is_to_be_done(reported: Checkout) -> None:
    assert planned(reported) == set()


@pytest.mark.parametrize(
    ("path", "rules"),
    [
        ("plots/loss.py", {"plot loss_seconds", "plot loss_steps", "report"}),
        ("plots/style.py", FIGURES | {"report"}),
        ("templates/report.html", {"report", "tabulate"}),
        ("statistics.py", {"collect", "tabulate", "plot accuracy_time", "report"}),
        ("published/time.csv", FIGURES | {"collect", "tabulate", "report"}),
    ],
)
def test_an_edit_remakes_what_it_can_change(copied: Checkout, path: str, rules: set[str]) -> None:
    file = copied.folder / "src/lra/results" / path
    file.write_text(file.read_text() + ("\n\nMORE = 1\n" if path.endswith(".py") else "\n"))
    assert planned(copied) == rules


@pytest.mark.parametrize("path", ["plots/loss_steps.png", "tables/time.tex"])
def test_a_file_is_made_again_alone(copied: Checkout, path: str) -> None:
    (copied.folder / "results" / path).unlink()
    assert planned(copied, f"results/{path}") == {"tabulate" if path.startswith("tables") else "plot loss_steps"}


def test_a_removed_attention_leaves_table_and_report(copied: Checkout) -> None:
    assert "V-Mean" in (copied.folder / "results/report.html").read_text()
    copied.configure(configuration(attentions=["softmax"]))
    assert copied.ran("results/report.html") == set()
    assert "vmean" not in copied.table()
    assert "V-Mean" not in (copied.folder / "results/report.html").read_text()
