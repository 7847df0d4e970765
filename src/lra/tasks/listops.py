"""ListOps: the value, 0 ... 9, of a long nested expression such as ``[MAX 2 9 [MIN 4 7 ] 0 ]``.

Tay et al. 2021 (arXiv 2011.04006), section 2.2.1. A token is a digit, an operator or, with ``brackets``, the bracket
that closes an operator's arguments. The Arena's released code drops that bracket, so that a sequence can stand for
several trees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from lra.errors import LraError
from lra.tasks.contract import SPLITS, Examples, Split, Task, list_array, record_batch
from lra.tasks.listops_trees import CLOSE, DIGIT, OPERATOR, TOKENS, generate
from lra.tasks.settings.listops import ListOpsSettings as Settings
from lra.tasks.settings.listops import Source
from lra.tasks.sources import BLOCK, check_source, folder_of, required_rows

SOURCES: tuple[str, ...] = get_args(Source)
FILE_NAMES: dict[Split, str] = {"train": "train", "dev": "val|valid|validation|dev", "test": "test"}
HEADER = ("Source", "Target")
LABELS = pa.array(TOKENS[DIGIT:OPERATOR])
WORDS = pa.array(["(", *TOKENS[1:], ")", ""])
"""What an expression is made of, a token where its id is; spaces at its ends leave an empty word."""
UNKNOWN = -1


def describe(settings: Settings) -> Task:
    """The task; ids are positions in ``TOKENS``, with the closing bracket last."""
    max_length = settings.generator.max_length if settings.source == "generate" else settings.max_length
    return Task("listops", classes=10, vocabulary=CLOSE + settings.brackets, max_length=max_length)


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits; generated sequences are all distinct.

    Args:
        settings: which source, and its settings.
        source: the folder to read, None to generate.
        workers: unused; one process is fast enough.

    Raises:
        LraError: an unknown source, missing settings or files, or, while iterating, a malformed row.
    """
    check_source("listops", settings.source, SOURCES, source)
    if source is None:
        return _generated(settings)
    folder = folder_of(source, "listops-1000")
    return {split: _Files(_find(folder, split), settings) for split in SPLITS}


def parse(expression: str, brackets: bool = True) -> list[int]:
    """Token ids of an expression, with or without the parentheses of the released files.

    Raises:
        LraError: a word is no token.
    """
    expressions = pa.array([expression], pa.string())
    ids, _ = _words(expressions)
    if UNKNOWN in ids:
        raise LraError(_unknown_word(expressions))
    return ids[_are_tokens(ids, brackets)].tolist()


def encode(settings: Settings, expression: str) -> npt.NDArray[np.uint8]:
    """Token ids (length,) of an expression such as ``[MAX 2 9 [MIN 4 7 ] 0 ]``.

    Raises:
        LraError: a word is no token, or the expression is empty, too long or, with brackets, not one whole tree.
    """
    tokens, longest = np.array(parse(expression, settings.brackets), np.uint8), describe(settings).max_length
    if not 1 <= len(tokens) <= longest:
        raise LraError(f"the expression has {len(tokens)} tokens, not 1 to {longest}.")
    if settings.brackets:
        opened = np.where(tokens >= OPERATOR, 1, 0) - np.where(tokens == CLOSE, 2, 0)
        depth = opened.cumsum()
        if depth[-1] != 0 or (depth[:-1] < 1).any():
            raise LraError("the expression is not one whole tree: each operator needs its own closing bracket.")
    return tokens


def _generated(settings: Settings) -> Examples:
    """Every split reads the same stream of distinct trees from its start; the short splits come first in it."""
    rows = required_rows("listops", settings.source, settings.rows or settings.expected_rows)
    return {
        "train": _Stretch(settings, rows.test + rows.dev, rows.train),
        "dev": _Stretch(settings, rows.test, rows.dev),
        "test": _Stretch(settings, 0, rows.test),
    }


@dataclass(frozen=True)
class _Stretch(Iterable[pa.RecordBatch]):
    """Trees ``start ... start + rows - 1`` of the stream that the settings define."""

    settings: Settings
    start: int
    rows: int

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        end = self.start + self.rows
        position = 0
        for batch in generate(self.settings.generator, self.settings.seed, self.settings.brackets):
            first, last = max(self.start - position, 0), min(end - position, batch.num_rows)
            if first < last:
                yield batch.slice(first, last - first)
            position += batch.num_rows
            if position >= end:
                return


def _find(folder: Path, split: Split) -> list[Path]:
    """The split's files, of the first format that has any."""
    name = re.compile(rf"(?<![a-z])({FILE_NAMES[split]})(?![a-z])", re.IGNORECASE)
    for ending in ("tsv", "csv", "parquet"):
        files = sorted(path for path in folder.rglob(f"*.{ending}") if name.search(path.name))
        if files:
            return files
    raise LraError(
        f"{folder} has no TSV, CSV or Parquet file of the {split} split, "
        f"with {FILE_NAMES[split].replace('|', ', ')} in its name."
    )


@dataclass(frozen=True)
class _Files(Iterable[pa.RecordBatch]):
    """The rows of some files, in blocks."""

    paths: list[Path]
    settings: Settings

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for path in self.paths:
            parquet = path.suffix == ".parquet"
            where, number = f"{path}, {'row' if parquet else 'line'}", 1 if parquet else 2
            for rows in _parquet_rows(path) if parquet else _text_rows(path):
                yield _read_rows(rows, self.settings, where, number)
                number += rows.num_rows


def _text_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The columns Source and Target of a TSV or CSV file, all values as they stand; quotes mean nothing."""
    wrong: list[pa_csv.InvalidRow] = []

    def refuse(row: pa_csv.InvalidRow) -> str:
        wrong.append(row)
        return "error"

    separator = "\t" if path.suffix == ".tsv" else ","
    parse_options = pa_csv.ParseOptions(
        delimiter=separator, quote_char=False, ignore_empty_lines=False, invalid_row_handler=refuse
    )
    convert_options = pa_csv.ConvertOptions(check_utf8=False, column_types=dict.fromkeys(HEADER, pa.string()))
    try:
        read_options = pa_csv.ReadOptions(block_size=BLOCK, use_threads=False)  # threads do not count lines
        with pa_csv.open_csv(path, read_options, parse_options, convert_options) as reader:
            if reader.schema.names == list(HEADER):
                yield from reader
                return
    except (OSError, pa.ArrowException) as problem:
        if not wrong:
            raise LraError(f"{path} cannot be read: {problem}.") from problem
    row = wrong[0] if wrong else None
    if row and row.expected_columns == len(HEADER):
        raise LraError(f"{path}, line {row.number}: expected an expression and a label, not {row.text[:60]!r}.")
    raise LraError(f"{path}, line 1: expected the header {separator.join(HEADER)!r}.")


def _parquet_rows(path: Path) -> Iterator[pa.RecordBatch]:
    """The columns Source and Target of a Parquet file, as text."""
    schema = pa.schema(dict.fromkeys(HEADER, pa.string()))
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256, columns=list(HEADER)):
                yield batch.select(HEADER).cast(schema)
    except (OSError, KeyError, pa.ArrowException) as problem:
        raise LraError(f"{path} is not a Parquet file with the columns {' and '.join(HEADER)}: {problem}.") from problem


def _read_rows(rows: pa.RecordBatch, settings: Settings, where: str, number: int) -> pa.RecordBatch:
    """Tokens and labels of rows with the columns Source and Target, of which the first is called ``where number``."""
    expressions, labels = rows[HEADER[0]], pc.index_in(pc.ascii_trim_whitespace(rows[HEADER[1]]), value_set=LABELS)
    ids, ends = _words(expressions)
    kept = _are_tokens(ids, settings.brackets)
    lengths = np.diff(_counted(kept)[ends])
    unknown = np.diff(_counted(ids == UNKNOWN)[ends])
    wrong = labels.is_null().to_numpy(False) | (unknown > 0) | (lengths < 1) | (lengths > settings.max_length)
    if wrong.any():
        row = int(wrong.argmax())
        raise LraError(f"{where} {number + row}: {_complaint(rows.slice(row, 1), int(lengths[row]), settings)}")
    return record_batch(labels.to_numpy(), list_array(ids[kept].astype(np.uint8), lengths))


def _words(expressions: pa.StringArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Ids of the words of all expressions, 0 for parentheses, and where each expression begins, and the last ends."""
    words = pc.ascii_split_whitespace(expressions)
    ids = pc.index_in(words.flatten(), value_set=WORDS).fill_null(UNKNOWN).to_numpy()
    ends = words.offsets.to_numpy()
    return np.where(ids > CLOSE, 0, ids), ends - ends[0]


def _are_tokens(ids: npt.NDArray[np.int32], brackets: bool) -> npt.NDArray[np.bool_]:
    """Which ids a sequence keeps."""
    return (ids > 0) & (ids <= (CLOSE if brackets else CLOSE - 1))


def _counted(which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The number of true values among the first 0, 1, ... of ``which``."""
    return np.concatenate([[0], np.cumsum(which)])


def _complaint(row: pa.RecordBatch, length: int, settings: Settings) -> str:
    """A message about a malformed row, whose expression has ``known`` known tokens."""
    label = _decoded(row[HEADER[1]])[0]
    if label.strip() not in LABELS.to_pylist():
        return f"the label is {label!r}, not a digit."
    if UNKNOWN in _words(row[HEADER[0]])[0]:
        return _unknown_word(row[HEADER[0]])
    return f"the expression has {length} tokens, not 1 to `max_length` ({settings.max_length})."


def _unknown_word(expressions: pa.StringArray) -> str:
    ids, _ = _words(expressions)
    word = _decoded(pc.ascii_split_whitespace(expressions).flatten())[int(np.argmax(ids == UNKNOWN))]
    return f"{word!r} is not a token of ListOps; the tokens are {' '.join(TOKENS[1:])}, separated by spaces."


def _decoded(texts: pa.StringArray) -> list[str]:
    """Texts, which may not be UTF-8."""
    return [(text or b"").decode(errors="replace") for text in texts.cast(pa.binary()).to_pylist()]
