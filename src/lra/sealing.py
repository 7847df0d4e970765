"""Small results that notice an edit by hand: JSON with a checksum, CSV with one in each row."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.files import checksum, read_json, sealed, write_csv, write_json

SEAL = "checksum"
"""Last column of a sealed CSV file: a digest of all rows that were written with it, the same in each."""


def write_measure(path: Path, measure: dict[str, Any]) -> dict[str, Any]:
    """Write ``measure.json``; returns its content, which ends with its checksum."""
    content = sealed(measure)
    write_json(path, content)
    return content


def read_measure(path: Path) -> dict[str, Any]:
    """The content of a ``measure.json``.

    Raises:
        LraError: it is missing, no measurement, or was edited.
    """
    measure = read_json(path)
    if not isinstance(measure, dict) or "status" not in measure:
        raise LraError(f"{path} is not a measurement; delete it, and it is made anew.")
    if measure.get(SEAL) != checksum(measure):
        raise LraError(f"{path} is not what `lra measure` wrote: its checksum differs; delete it, and it is made anew.")
    return measure


def write_sealed_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file with a line of headings, of which the last is :data:`SEAL`; None is an empty field."""
    lines = [["" if value is None else str(value) for value in row] for row in rows]
    write_csv(path, [*columns, SEAL], ([*line, digest(lines)] for line in lines))


def digest(lines: Sequence[Sequence[str | None]]) -> str:
    """SHA-256 of rows of texts, its first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()[:16]


def read_sealed_csv(path: Path, command: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a sealed CSV file, both without :data:`SEAL`; an empty field is an empty text.

    Raises:
        LraError: a row was edited, added or left out.
        OSError, ValueError, csv.Error: it cannot be read.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        header, *lines = csv.reader(stream)
    rows = [line[:-1] for line in lines]
    if header[-1] != SEAL or {line[-1] for line in lines} - {digest(rows)}:
        raise LraError(f"{path} was edited; delete it, and write it again with `{command}`.")
    return header[:-1], rows
