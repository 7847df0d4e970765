"""The workflow as a module of the user's own: `use rule * from lra` in another folder gives the same numbers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from workflow.arena import Checkout, configuration

pytestmark = [pytest.mark.slow, pytest.mark.long]

RUN = "results/runs/mini/listops/softmax/seed-1"
MODULE = """
configfile: "config.yaml"

module lra:
    snakefile: {snakefile}
    config: config
"""
PLAIN = MODULE + "\nuse rule * from lra\n"
# Under a prefix, without the target `all`, and with a rule of the user's own that goes on from a run.
PREFIXED = (
    MODULE
    + """
use rule * from lra exclude all as lra_*

onstart:
    lra.hold_lock()

rule mine:
    default_target: True
    input:
        expand("results/runs/mini/listops/softmax/seed-{{seed}}/metrics.json", seed=config["seeds"])
    output:
        "mine.json"
    shell:
        "cp {{input}} {{output}}"
"""
)


def user(folder: Path, text: str, snakefile: str) -> Checkout:
    """A folder of the user's own, with nothing in it but their Snakefile and their settings."""
    folder.mkdir()
    (folder / "Snakefile").write_text(text.format(snakefile=snakefile))
    mine = Checkout(folder)
    mine.configure(configuration())
    return mine


def beside(checkout: Checkout) -> str:
    return repr(str(checkout.folder / "workflow" / "Snakefile"))


def assert_same_run(ours: Checkout, theirs: Checkout) -> None:
    for name in ("predictions.parquet", "model.safetensors"):
        assert (ours.folder / RUN / name).read_bytes() == (theirs.folder / RUN / name).read_bytes()
    metrics = [json.loads((place.folder / RUN / "metrics.json").read_text()) for place in (ours, theirs)]
    for key in ("status", "test_accuracy", "test_loss", "code", "data"):
        assert metrics[0][key] == metrics[1][key], key


def test_without_a_prefix(finished: Checkout, tmp_path: Path) -> None:
    mine = user(tmp_path / "mine", PLAIN, beside(finished))
    targets = ("train_softmax_listops", "shards", "results/plots/loss_steps.svg")
    assert mine.ran(*targets) == {"prepare_listops", "train_softmax_listops", "train_vmean_listops"}
    assert_same_run(mine, finished)
    assert (mine.folder / "results/plots/loss_steps.svg").is_file()
    assert "Nothing to be done" in mine.snakemake("--dry-run", *targets)
    planned = mine.snakemake("--dry-run")
    assert "rule all:" in planned and "rule report:" in planned


def test_under_a_prefix(finished: Checkout, tmp_path: Path) -> None:
    mine = user(tmp_path / "mine", PREFIXED, beside(finished))
    output = mine.snakemake()
    assert "checkpoint lra_prepare_listops:" in output and "rule lra_train_softmax_listops:" in output
    assert_same_run(mine, finished)
    assert (mine.folder / ".snakemake/arena.lock").is_file()
    assert (mine.folder / "mine.json").read_bytes() == (mine.folder / RUN / "metrics.json").read_bytes()
    assert "Nothing to be done" in mine.snakemake("--dry-run")


def test_from_a_tag(finished: Checkout, tmp_path: Path) -> None:
    """Rules that are read out of a Git repository run the installed package, and see nothing else beside it."""
    repository = Checkout.create(tmp_path / "repository", configuration()).folder
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    for command in (["init", "--quiet"], ["add", "--all"], [*author, "commit", "--quiet", "-m", "all"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    snakefile = f'gitfile({str(repository)!r}, path="workflow/Snakefile", tag="v1")'
    mine = user(tmp_path / "mine", PREFIXED, snakefile)
    mine.snakemake()
    assert_same_run(mine, finished)
    package = mine.folder / ".snakemake" / "package"
    assert [path.name for path in package.iterdir()] == ["lra"]
    assert (package / "lra" / "config" / "blocks.py").is_file()


def test_jobs_look_for_modules_in_no_current_folder(finished: Checkout, tmp_path: Path) -> None:
    """On a node, `python -m snakemake` would run a stray tokenize.py; executors pass on what is declared."""
    text = PLAIN + "\nimport os\nprint('told:', os.environ['PYTHONSAFEPATH'], *workflow.envvars)\n"
    mine = user(tmp_path / "mine", text, beside(finished))
    assert "told: 1 PYTHONSAFEPATH" in mine.snakemake("--dry-run", "train_softmax_listops")


def test_a_mistake_in_the_settings_is_one_sentence(finished: Checkout, tmp_path: Path) -> None:
    mine = user(tmp_path / "mine", PLAIN, beside(finished))
    mine.configure(configuration(seeds=["one"]))
    output = mine.snakemake("--dry-run", code=1)
    assert "Error: config.yaml: seeds" in output
    assert "Traceback" not in output
