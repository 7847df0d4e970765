"""Edits by hand of measurements and of tables of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lra.errors import LraError
from lra.sealing import read_measure, refuse_edited_csv, write_measure, write_sealed_csv

Edit = Callable[[list[str]], list[str]]


def test_a_measurement_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_measure(tmp_path / "measure.json", {"status": "ok", "ms": 0.1, "batch": None})
    assert read_measure(tmp_path / "measure.json").items() >= {"status": "ok", "ms": 0.1, "batch": None}.items()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "is not a measurement"),
        ([], "is not a measurement"),
        ({"status": "ok"}, "is not what `lra measure` wrote: its checksum differs"),
        ({"status": "ok", "checksum": "0" * 64}, "is not what `lra measure` wrote: its checksum differs"),
    ],
)
def test_an_edited_measurement(content: object, says: str, tmp_path: Path) -> None:
    path = tmp_path / "measure.json"
    path.write_text(json.dumps(content))
    with pytest.raises(LraError, match=f"^{path} {says}"):
        read_measure(path)


def two_files_in_one(folder: Path) -> Path:
    """As the workflow puts the rows of all methods below one line of headings."""
    texts = []
    for name in "ab":
        write_sealed_csv(folder / name, ["attention", "ms"], [[name, 0.25], [name, None], [f"{name},\n", 1e-07]])
        texts.append((folder / name).read_text())
    (folder / "both.csv").write_text(texts[0] + texts[1].partition("\n")[2])
    return folder / "both.csv"


def test_several_sealed_files_in_one(tmp_path: Path) -> None:
    refuse_edited_csv(two_files_in_one(tmp_path), "lra bench")


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [*lines[:1], lines[1].replace("0.25", "0.24"), *lines[2:]],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:3], lines[1], *lines[3:]],
        lambda lines: [*lines, "c,1.0,"],
        lambda lines: [line.rpartition(",")[0] for line in lines[:3]],
    ],
    ids=["a number", "a row less", "a row twice", "a foreign row", "no checksums"],
)
def test_an_edited_table(edit: Edit, tmp_path: Path) -> None:
    path = two_files_in_one(tmp_path)
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    with pytest.raises(LraError, match=f"^{path} was edited; delete it, and write it again with `lra bench`"):
        refuse_edited_csv(path, "lra bench")
