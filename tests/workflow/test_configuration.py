"""Settings from config.yaml, --configfile and --config, and what Snakemake says of those that are wrong."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

SMALL = "results/table.csv"


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with the project's own config.yaml, of which nothing is run."""
    fresh = Checkout.create(tmp_path_factory.mktemp("fresh") / "lra", {})
    (fresh.folder / "config.yaml").write_text((Path(__file__).parents[2] / "config.yaml").read_text())
    return fresh


def trained(checkout: Checkout, *arguments: str) -> set[str]:
    """Attentions and tasks that a run would train."""
    planned = checkout.planned(*arguments)
    return {rule.removeprefix("train_") for rule in planned if rule.startswith("train_")}


def test_fewer_attentions_from_a_file(fresh: Checkout, tmp_path: Path) -> None:
    """A mapping would be merged with that of config.yaml, so that all sixteen were trained without a word."""
    small = tmp_path / "small.yaml"
    small.write_text("tasks: [listops]\nattentions: [softmax, vmean]\n")
    assert trained(fresh, "--configfile", str(small)) == {"softmax_listops", "vmean_listops"}


def test_fewer_attentions_from_the_command_line(fresh: Checkout) -> None:
    given = ["--config", "attentions=[softmax, vmean]", "tasks=[image]"]
    assert trained(fresh, *given) == {"softmax_image", "vmean_image"}


def test_another_scale_from_the_command_line(fresh: Checkout) -> None:
    planned = fresh.planned("--config", "scale=paper", "tasks=[listops]", "attentions=[{nystrom: {features: 128}}]")
    assert "train_nystrom_listops" in planned and not any("image" in rule for rule in planned)


@pytest.mark.parametrize("order", ["{target} --config {settings}", "--config {settings} -- {target}"])
def test_numbers_from_the_command_line(order: str, fresh: Checkout) -> None:
    """Snakemake takes them for texts: the list of seeds was refused.

    It reads every word after --config as a setting, so docs/running.md says in which order they stand.
    """
    settings = "'seeds=[3, 4]' 'attentions=[vmean]' 'tasks=[listops]'"
    printed = fresh.snakemake("-n", *shlex.split(order.format(target=SMALL, settings=settings)))
    assert "seed-3" in printed and "seed-4" in printed


MISTAKES: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "a tab": (
        lambda path: path.write_text("scale: mini\n\ttasks: []\n"),
        [],
        "Error: config.yaml cannot be read: line 2, column 1: there is a tab; indent with spaces.",
    ),
    "indentation": (
        lambda path: path.write_text("a:\n  b: 1\n c: 2\n"),
        [],
        "Error: config.yaml cannot be read: line 3, column 2: expected <block end>",
    ),
    "latin-1": (
        lambda path: path.write_bytes(b"# caf\xe9\nscale: mini\n"),
        [],
        "Error: config.yaml cannot be read: line 1, column 6 is not UTF-8",
    ),
    "a folder": (lambda path: path.unlink() or path.mkdir(), [], "Error: config.yaml cannot be read: Is a directory."),
    "an empty file": (lambda path: path.write_text(""), [], "Error: config.yaml is empty;"),
    "no file": (lambda path: path.unlink(), [], "Error: config.yaml is not there;"),
    "a name for a list": (
        lambda path: path.write_text(yaml.safe_dump(configuration(attentions="softmax"))),
        [],
        "Error: config.yaml: attentions: 'softmax' is not a list; write [softmax].",
    ),
    "the old mapping": (
        lambda path: path.write_text(yaml.safe_dump(configuration(attentions={"vmean": None}))),
        [],
        "Error: config.yaml: attentions: this is a list now; write `attentions: [vmean]` instead of a mapping.",
    ),
    "the old mapping in another file": (
        lambda path: path.with_name("mine.yaml").write_text("attentions:\n  softmax:\n  nystrom: {features: 8}\n"),
        ["--configfile", "mine.yaml"],
        "Error: mine.yaml: attentions: this is a list now; write `attentions: [softmax, {nystrom: {features: 8}}]` ",
    ),
    "a mistake in another file": (
        lambda path: path.with_name("mine.yaml").write_text("scales: {mini: {model: {heads: 0}}}\n"),
        ["--configfile", "mine.yaml"],
        "Error: mine.yaml: scales.mini.model.heads: 0 is less than 1",
    ),
    "a mistake on the command line": (
        lambda path: None,
        ["--config", "seeds=[1, x]"],
        "Error: --config: seeds.1: 'x' is not a whole number",
    ),
    "a class that is no attention": (
        lambda path: [
            path.with_name("mine.py").write_text("class Mine:\n    pass\n"),
            path.write_text(yaml.safe_dump(configuration(attentions=[{"mine": {"module": "mine.py:Mine"}}]))),
        ],
        [],
        "Error: config.yaml: attentions.mine.module: 'Mine' of mine.py is no subclass of lra.attention.Attention.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str, tmp_path: Path) -> None:
    before, arguments, sentence = MISTAKES[mistake]
    checkout = Checkout.create(tmp_path / "lra", configuration())
    before(checkout.folder / "config.yaml")
    printed = checkout.snakemake("--dry-run", *arguments, code=1)
    assert sentence in printed
    assert "Traceback" not in printed
