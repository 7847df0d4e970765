"""``--configfile config/without-the-bucket.yaml``: planned as it stands, and run to the last row with small sources."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.data import archives_builder as builder
from tests.data.site import serve

from tasks.image_files import write_cifar10
from workflow.arena import ROOT, Checkout
from workflow.paper import REVIEWS, TASKS

pytestmark = [pytest.mark.slow, pytest.mark.long]

WITHOUT = "config/without-the-bucket.yaml"
SMALL = {"train": 24, "dev": 8, "test": 8}


def checkout_of(folder: Path) -> Checkout:
    """A checkout with the configurations that come with the project."""
    checkout = Checkout.create(folder, yaml.safe_load((ROOT / "config.yaml").read_text()))
    shutil.copytree(ROOT / "config", folder / "config")
    return checkout


def test_the_whole_papers_scale_is_planned_without_the_bucket(tmp_path: Path) -> None:
    checkout = checkout_of(tmp_path / "lra")
    planned = checkout.snakemake("--dry-run", "--configfile", WITHOUT)
    assert "storage.googleapis.com" not in planned and "rule extract:" not in planned
    counts = dict(line.split() for line in planned.splitlines() if len(line.split()) == 2)
    assert counts["download"] == "3"  # aan, imdb, cifar10
    assert [counts[f"prepare_{task}"] for task in TASKS] == ["1"] * 5


def test_it_runs_to_the_last_row(tmp_path: Path) -> None:
    """With sources of the true layouts on loopback; the table says which source each number stands on."""
    checkout = checkout_of(tmp_path / "lra")
    rng = np.random.default_rng(0)
    images = [rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8) for count in (50, 20)]
    classes = [rng.integers(10, size=count).tolist() for count in (50, 20)]
    pairs = dict(builder.release_files())[f"{builder.INNER}/tsv_data/new_aan_pairs.train.tsv"]
    imdb = builder.write_tar_gz(tmp_path / "imdb.tar.gz", REVIEWS.items()).read_bytes()
    cifar10 = write_cifar10(tmp_path / "cifar10.tar.gz", *images, classes).read_bytes()
    with serve(pairs) as aan_site, serve(imdb) as imdb_site, serve(cifar10) as cifar10_site:
        sources = {
            "aan": [{"url": f"{aan_site.address}/new_aan_pairs.{{train,eval,test}}.tsv"}],
            "imdb": [{"url": f"{imdb_site.address}/aclImdb_v1.tar.gz"}],
            "cifar10": [{"url": f"{cifar10_site.address}/cifar-10-python.tar.gz"}],
        }
        (checkout.folder / "small.yaml").write_text(yaml.safe_dump(small(sources)))
        targets = ("results/table.csv", "results/plots/published.svg")
        checkout.snakemake("--configfile", WITHOUT, "small.yaml", "--", *targets, timeout=900)
    rows = list(csv.DictReader(checkout.table().splitlines()))
    assert {row["task"]: (row["status"], row["data_source"]) for row in rows} == {
        "listops": ("ok", "generate"),
        "text": ("ok", "imdb"),
        "retrieval": ("ok", "aan"),
        "pathfinder": ("ok", "generate"),
        "image": ("ok", "cifar10"),
    }
    beside = {row["task"]: (row["published_accuracy"], row["published_compatible"]) for row in rows}
    assert beside["listops"] == ("0.2878", "too few seeds")
    assert {row["task"]: row["published_differs"].partition(", train.batch 4 (")[0] for row in rows} == {
        "listops": "test examples",
        "text": "test examples, dev split",
        "retrieval": "test examples",
        "pathfinder": "test examples",
        "image": "test examples",
    }
    assert (checkout.folder / "results/plots/published.svg").read_text().count("<!-- 1 of 16 run -->") == 5


def small(sources: dict[str, Any]) -> dict[str, Any]:
    """The same with one attention, few rows and few steps."""
    train = {"batch": 4, "warmup": 1, "steps": 2, "evaluate_every": 2, "precision": "fp32"}
    data: dict[str, dict[str, Any]] = {
        "listops": {"rows": SMALL, "generator": {"min_length": 5, "max_length": 60, "digit_probability": 0.5}},
        "text": {"expected_rows": None, "max_length": 64},
        "retrieval": {"expected_rows": None, "max_length": 64},
        "pathfinder": {"rows": SMALL},
        "image": {"expected_rows": None},
    }
    tasks = {task: {"data": data[task], "train": train} for task in TASKS}
    return {"attentions": ["vmean"], "sources": sources, "bench": None, "scales": {"paper": {"tasks": tasks}}}
