"""Edits by hand of measurements and of tables of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lra.errors import LraError
from lra.sealing import read_measure, read_sealed_csv, write_measure, write_sealed_csv

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


LINES = [["a", "0.25"], ["a", ""], ["a,\n", "1e-07"], ["b", "2"]]


def sealed_table(folder: Path) -> Path:
    write_sealed_csv(folder / "table.csv", ["attention", "ms"], [["a", 0.25], ["a", None], ["a,\n", 1e-07], ["b", 2]])
    return folder / "table.csv"


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_sealed_csv(sealed_table(tmp_path), "lra bench") == (["attention", "ms"], LINES)


def test_a_table_without_rows(tmp_path: Path) -> None:
    write_sealed_csv(tmp_path / "empty.csv", ["ms"], [])
    assert read_sealed_csv(tmp_path / "empty.csv", "lra bench") == (["ms"], [])


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [*lines[:1], lines[1].replace("0.25", "0.24"), *lines[2:]],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [*lines[:3], lines[1], *lines[3:]],
        lambda lines: [*lines, "c,1.0,"],
        lambda lines: [line.rpartition(",")[0] for line in lines[:3]],
        lambda lines: lines[:3],
    ],
    ids=["a number", "a row less", "a row twice", "a foreign row", "no checksums", "the end less"],
)
def test_an_edited_table(edit: Edit, tmp_path: Path) -> None:
    path = sealed_table(tmp_path)
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    with pytest.raises(LraError, match=f"^{path} was edited; delete it, and write it again with `lra bench`"):
        read_sealed_csv(path, "lra bench")
