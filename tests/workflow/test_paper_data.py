"""The data of the paper's scale: from raw sources of the true layouts to the shards of all five tasks, by Snakemake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.site import Answer, Site, serve

from workflow import paper
from workflow.arena import Checkout
from workflow.paper import ROWS, SPLITS, TASKS, Sources, prepared

pytestmark = [pytest.mark.slow, pytest.mark.long]
pytest.importorskip("tensorflow_datasets")

TARGETS = [f"prepare_{task}" for task in TASKS]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return Sources.create(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def site(sources: Sources) -> Iterator[Site]:
    with serve(sources.lra_release.read_bytes()) as site:
        yield site


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout.create(tmp_path / "lra", {})


@pytest.fixture(scope="module")
def built(sources: Sources, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """All five tasks: the release by way of HTTP, IMDb and CIFAR-10 as tensorflow_datasets prepared them."""
    config = paper.paper(
        {
            "lra_release": [{"url": f"{site.address}/lra_release.gz"}],
            "imdb": [{"path": str(sources.imdb)}],
            "cifar10": [{"path": str(sources.cifar10)}],
        }
    )
    checkout = Checkout.create(tmp_path_factory.mktemp("built") / "lra", config)
    checkout.snakemake(*TARGETS)
    return checkout


def sizes(checkout: Checkout, task: str) -> list[int]:
    return [len(rows) for rows in prepared(checkout.folder, task).values()]


def test_every_task_has_its_rows(built: Checkout) -> None:
    assert {task: sizes(built, task) for task in TASKS} == ROWS


@pytest.mark.parametrize("split", SPLITS)
def test_listops_and_retrieval_are_the_files_rows_in_order(built: Checkout, split: str) -> None:
    assert prepared(built.folder, "listops")[split] == paper.expected_listops(split)
    assert prepared(built.folder, "retrieval")[split] == paper.expected_retrieval(split)


def test_text_is_every_review_once(built: Checkout) -> None:
    rows = prepared(built.folder, "text")
    assert sorted(rows["train"] + rows["dev"]) == sorted(paper.expected_text("train"))
    assert sorted(rows["test"]) == sorted(paper.expected_text("test"))


def test_images_are_every_picture_once(built: Checkout) -> None:
    for task, expected in (("image", paper.expected_images()), ("pathfinder", paper.expected_pathfinder())):
        rows = prepared(built.folder, task)
        assert sorted(row for split in SPLITS for row in rows[split]) == sorted(expected)


def test_a_contact_sheet_of_pathfinder(built: Checkout) -> None:
    built.snakemake("contact_sheet_pathfinder")
    with Image.open(built.folder / "results/plots/pathfinder_examples.png") as sheet:
        pixels = np.asarray(sheet)
    # Six times as large, with a frame of two pixels and two pixels of white around it, eight in a row.
    place = 32 * 6 + 8
    assert pixels.shape == (2 * place, 8 * place, 3)
    for i, (tokens, label) in enumerate(prepared(built.folder, "pathfinder")["train"]):
        top, left = i // 8 * place + 2, i % 8 * place + 2
        assert pixels[top, left].tolist() == ([0, 160, 0] if label else [200, 0, 0])
        inside = pixels[top + 2 : top + 2 + 32 * 6 : 6, left + 2 : left + 2 + 32 * 6 : 6]
        assert inside[..., 0].ravel().tolist() == tokens


def test_a_second_run_does_nothing(built: Checkout, site: Site) -> None:
    asked = len(site.ranges)
    assert "Nothing to be done" in built.snakemake(*TARGETS)
    assert len(site.ranges) == asked


def test_an_edit_of_what_extracts_prepares_anew_what_was_extracted(built: Checkout, tmp_path: Path) -> None:
    checkout = built.copy(tmp_path / "lra")
    release = checkout.folder / "src/lra/data/release.py"
    release.write_text(release.read_text() + "\n\nMORE = 1\n")
    planned = checkout.snakemake("--dry-run", *TARGETS)
    assert "rule extract:" in planned
    assert checkout.planned(*TARGETS) == {f"prepare_{task}" for task in ("listops", "retrieval", "pathfinder")}


def test_other_forms_of_the_sources_give_the_same_rows(
    built: Checkout, sources: Sources, checkout: Checkout, tmp_path: Path
) -> None:
    """The release unpacked, IMDb's own archive, and pathfinder as tensorflow_datasets has it."""
    checkout.configure(
        paper.paper(
            {
                "lra_release": [{"path": str(sources.unpacked(tmp_path / "unpacked"))}],
                "imdb": [{"path": str(sources.imdb_archive)}],
                "pathfinder_tfds": [{"path": str(sources.pathfinder_tfds)}],
            },
            pathfinder={"source": "pathfinder_tfds"},
        )
    )
    tasks = ["listops", "text", "retrieval", "pathfinder"]
    checkout.snakemake(*(f"prepare_{task}" for task in tasks))
    for task in tasks:
        assert prepared(checkout.folder, task) == prepared(built.folder, task)


@pytest.mark.parametrize(
    ("known", "answer", "reason"),
    [
        ({}, Answer(status=403), "answered 403 Forbidden"),
        ({"sha256": "0" * 64}, Answer(), "has the sha256 "),
    ],
    ids=["403", "checksum"],
)
def test_a_source_that_does_not_work(
    site: Site, checkout: Checkout, known: dict[str, str], answer: Answer, reason: str
) -> None:
    site.first = [answer]
    source = {"url": f"{site.address}/lra_release.gz", **known}
    checkout.configure(paper.paper({"lra_release": [source]}))
    checkout.snakemake("prepare_listops", "prepare_retrieval", code=1)
    log = (checkout.folder / "logs/download_lra_release.log").read_text()
    assert f"{source['url']}: {reason}" in log.partition("Error: lra_release could not be had")[2]
    assert "Traceback" not in log
    assert [path for path in (checkout.folder / "data").rglob("*") if path.is_file()] == []


def test_other_rows_than_expected(sources: Sources, checkout: Checkout) -> None:
    expected = {"train": 7, "dev": 3, "test": 5}
    config = paper.paper({"lra_release": [{"path": str(sources.lra_release)}]}, listops={"expected_rows": expected})
    config["scales"]["paper"]["tasks"]["listops"]["train"]["batch"] = 7
    checkout.configure(config)
    checkout.snakemake("prepare_listops", code=1)
    log = (checkout.folder / "logs/paper/prepare_listops.log").read_text()
    assert "Error: listops test has 4 rows, not the expected 5;" in log
    assert not (checkout.folder / "data/paper/listops/manifest.json").exists()
    assert json.loads((checkout.folder / "data/sources/lock.json").read_text())["lra_release"]["kind"] == "file"
