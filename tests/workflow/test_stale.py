"""Only stale experiments rerun: a run is stale when something that can change its numbers changed."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from workflow.arena import Checkout, configuration

pytestmark = pytest.mark.slow

TARGETS = ("results/table.csv", "shards")
SOFTMAX, VMEAN = "train_softmax_listops", "train_vmean_listops"
COST_OF_SOFTMAX, COST_OF_VMEAN = "measure_softmax", "measure_vmean"


def changed(**data_or_train: Any) -> dict[str, Any]:
    """The configuration with other settings of listops."""
    config = copy.deepcopy(configuration())
    for block, values in data_or_train.items():
        config["scales"]["mini"]["tasks"]["listops"][block] |= values
    return config


def test_after_a_full_run_nothing_is_to_be_done(finished: Checkout) -> None:
    assert "Nothing to be done" in finished.snakemake("--dry-run", *TARGETS)


def test_touching_files_reruns_nothing(checkout: Checkout) -> None:
    for folder in ("src", "data", "results", "workflow", "envs"):
        for path in (checkout.folder / folder).rglob("*"):
            os.utime(path)
    os.utime(checkout.folder / "config.yaml")
    assert checkout.planned(*TARGETS) == set()


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("src/lra/attention/vmean.py", '"""', '"""Another sentence. '),
        ("src/lra/model.py", "import torch\n", "import torch  # a comment\n\n"),
        ("src/lra/training/evaluation.py", '"""Score every row', '"""Score each row'),
        ("src/lra/results/table.py", "import numpy as np\n", "import numpy as np\n\nMORE = 1\n"),
        ("src/lra/cli/train.py", "STOPPED = 75\n", "STOPPED = 75\nMORE = 1\n"),
        ("src/lra/attention/linformer.py", "import torch\n", "import torch\n\nMORE = 1\n"),
        (
            "src/lra/attention/registry.py",
            "METHODS = {\n",
            'METHODS = {\n    "new": Method("lra.attention.vmean:VMean"),\n',
        ),
        ("src/lra/tasks/image.py", "import", "MORE = 1\nimport"),
        ("workflow/rules/train.smk", "# One rule", "# Just one rule"),
    ],
    ids=lambda value: value if str(value).startswith(("src", "workflow")) else "",
)
def test_edits_that_change_no_numbers(checkout: Checkout, path: str, old: str, new: str) -> None:
    if path.endswith("image.py"):
        (checkout.folder / path).write_text("MORE = 1\n")
    else:
        checkout.edit(path, old, new)
    assert checkout.planned(*TARGETS) == set()


def test_a_readme_changes_nothing(checkout: Checkout) -> None:
    (checkout.folder / "README.md").write_text("Another README.\n")
    assert checkout.planned(*TARGETS) == set()


def test_editing_an_attention_reruns_its_experiments(checkout: Checkout) -> None:
    checkout.edit("src/lra/attention/softmax.py", "if self.training else 0.0", "if self.training else 0.5")
    # Exact attention is measured beside every method.
    assert checkout.planned(*TARGETS) == {SOFTMAX, COST_OF_SOFTMAX, COST_OF_VMEAN}


@pytest.mark.parametrize(
    ("module", "costs"),
    [("model", True), ("training/trainer", False), ("data/batches", False), ("attention/contract", True)],
)
def test_editing_what_all_share_reruns_all(checkout: Checkout, module: str, costs: bool) -> None:
    path = checkout.folder / "src" / "lra" / f"{module}.py"
    path.write_text(path.read_text() + "\n\nMORE = 1\n")
    assert checkout.planned(*TARGETS) == {SOFTMAX, VMEAN} | ({COST_OF_SOFTMAX, COST_OF_VMEAN} if costs else set())


def test_a_tasks_training_settings_rerun_that_task(checkout: Checkout) -> None:
    config = configuration(tasks=["listops", "image"])
    checkout.configure(config)
    checkout.snakemake(*TARGETS)
    config = copy.deepcopy(config)
    config["scales"]["mini"]["tasks"]["listops"]["train"]["learning_rate"] = 2e-3
    checkout.configure(config)
    assert checkout.planned(*TARGETS) == {SOFTMAX, VMEAN}


def test_additions_run_only_the_new_cells(checkout: Checkout) -> None:
    checkout.configure(configuration(attentions=["softmax", "vmean", "linformer"]))
    assert checkout.planned(*TARGETS) == {"train_linformer_listops", "measure_linformer"}
    checkout.configure(configuration(tasks=["listops", "image"]))
    new = {"prepare_image", "train_softmax_image", "train_vmean_image"}
    new |= {COST_OF_SOFTMAX, COST_OF_VMEAN}
    assert checkout.planned(*TARGETS) == new
    measured = checkout.folder / "results/measures/listops/vmean/measure.json"
    before = measured.read_bytes()
    checkout.snakemake("results/measures/image/vmean/measure.json")
    assert measured.read_bytes() == before  # kept, by the job that measured the new task
    checkout.configure(configuration(seeds=[1, 2]))
    output = checkout.snakemake("--dry-run", *TARGETS)
    assert "wildcards: seed=2" in output and "wildcards: seed=1" not in output


def test_removing_an_attention_drops_it_from_the_table_only(checkout: Checkout) -> None:
    assert "vmean" in checkout.table()
    checkout.configure(configuration(attentions=["softmax"]))
    assert checkout.ran(*TARGETS) == set()
    assert "vmean" not in checkout.table()
    assert (checkout.folder / "results/runs/mini/listops/vmean/seed-1/metrics.json").exists()
    checkout.configure(configuration())
    assert checkout.ran(*TARGETS) == set()
    assert "vmean" in checkout.table()


def test_a_deleted_shard_is_made_again_and_nothing_else(checkout: Checkout) -> None:
    shard = checkout.folder / "data/mini/listops/train/part-00000.parquet"
    before = shard.read_bytes()
    shard.unlink()
    assert checkout.ran(*TARGETS) == {"prepare_listops"}
    assert shard.read_bytes() == before


def test_an_edit_of_a_task_that_gives_the_same_shards_retrains_nothing(checkout: Checkout) -> None:
    path = checkout.folder / "src/lra/tasks/listops.py"
    path.write_text(path.read_text() + "\n\nMORE = 1\n")
    assert checkout.ran(*TARGETS) == {"prepare_listops"}


def test_other_data_retrain_what_depends_on_them(checkout: Checkout) -> None:
    checkout.configure(changed(data={"seed": 1}))
    assert checkout.ran(*TARGETS) == {"prepare_listops", SOFTMAX, VMEAN}
    assert "Nothing to be done" in checkout.snakemake("--dry-run", *TARGETS)


def test_one_cell_by_its_name(checkout: Checkout) -> None:
    checkout.configure(configuration(seeds=[1, 2]))
    output = checkout.snakemake("--dry-run", "train_vmean_listops")
    assert "wildcards: seed=2" in output
    assert "softmax" not in output


def test_another_order_is_another_order_of_the_table(checkout: Checkout) -> None:
    """Snakemake sorts the inputs that it compares."""
    checkout.configure(configuration(attentions=["vmean", "softmax"]))
    assert checkout.ran(*TARGETS) == set()
    assert [line.split(",")[2] for line in checkout.table().splitlines()[1:]] == ["vmean", "softmax"]


def test_what_is_deleted_of_a_run_is_made_again(checkout: Checkout) -> None:
    """The weights too, which no other rule reads."""
    assert checkout.planned("all") == set()
    (checkout.folder / "results/runs/mini/listops/vmean/seed-1/model.safetensors").unlink()
    assert checkout.planned("all") == {VMEAN}


def test_a_folder_may_have_spaces_and_quotes_in_its_name(tmp_path: Path) -> None:
    checkout = Checkout.create(tmp_path / "it's mine" / "lra", configuration())
    assert checkout.ran("prepare_listops") == {"prepare_listops"}


def test_without_the_block_nothing_is_timed(finished: Checkout) -> None:
    assert "bench" in finished.snakemake("--dry-run", "bench", code=1)
    assert "rule bench:" not in finished.snakemake("--dry-run", "all")


def test_a_moved_checkout_makes_nothing_again(tmp_path: Path) -> None:
    """Also where results lie in a folder of their own, and the reference results in the checkout."""
    config = configuration(attentions=["vmean"])
    checkout = Checkout.create(tmp_path / "lra", config)
    (checkout.folder / "reference").mkdir()
    there = ("results/table.csv", "--directory", "apart", "--configfile", "config.yaml")
    checkout.snakemake(*there)
    moved = Checkout(checkout.folder.rename(tmp_path / "moved"))
    assert "Nothing to be done" in moved.snakemake("--dry-run", *there)
    (moved.folder / "reference").rmdir()
    assert "rule collect:" in moved.snakemake("--dry-run", *there), "which shows that the folder counts"
