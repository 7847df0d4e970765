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
import pyarrow.parquet as pq

from lra.errors import LraError
from lra.tasks.contract import SPLITS, Examples, Split, Task, list_array, record_batch
from lra.tasks.listops_trees import CLOSE, DIGIT, OPERATOR, TOKENS, generate
from lra.tasks.settings.listops import ListOpsSettings as Settings
from lra.tasks.settings.listops import Source
from lra.tasks.sources import check_source, folder_of, line_blocks, required_rows

SOURCES: tuple[str, ...] = get_args(Source)
FILE_NAMES: dict[Split, str] = {"train": "train", "dev": "val|valid|validation|dev", "test": "test"}
HEADER = ("Source", "Target")
OPERATORS = TOKENS[OPERATOR:CLOSE]
TAB, NEWLINE, UNKNOWN = 0xFD, 0xFE, 0xFF


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
    words = [word for word in expression.split() if word not in ("(", ")")]
    for word in words:
        if word not in _IDS:
            raise LraError(
                f"{word!r} is not a token of ListOps; the tokens are {' '.join(TOKENS[1:])}, separated by spaces."
            )
    return [_IDS[word] for word in words if brackets or word != "]"]


_IDS = {token: i for i, token in enumerate(TOKENS) if i}


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
    rows = required_rows("listops", settings.source, settings.rows)
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
            for lines in _parquet_lines(path) if parquet else _text_lines(path):
                batch = _read_lines(lines, self.settings)
                if batch is None:
                    raise LraError(_complaint(lines, where, number, self.settings))
                yield batch
                number += batch.num_rows


def _text_lines(path: Path) -> Iterator[bytes]:
    """Blocks of lines ``Source <TAB> Target`` of a TSV or CSV file, without the header."""
    separator = b"\t" if path.suffix == ".tsv" else b","
    expected = separator.join(name.encode() for name in HEADER)
    for i, lines in enumerate(line_blocks(path)):
        if i == 0:
            header, _, lines = lines.partition(b"\n")
            if header.strip() != expected:
                raise LraError(f"{path}, line 1: expected the header {expected.decode()!r}.")
        if lines:
            yield lines if separator == b"\t" else lines.replace(separator, b"\t")


def _parquet_lines(path: Path) -> Iterator[bytes]:
    """Blocks of lines ``Source <TAB> Target`` made of a Parquet file's rows."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256, columns=list(HEADER)):
                rows = zip(*(batch[name].to_pylist() for name in HEADER), strict=True)
                yield "".join(f"{source}\t{target}\n" for source, target in rows).encode()
    except (OSError, KeyError, pa.ArrowException) as problem:
        raise LraError(f"{path} is not a Parquet file with the columns {' and '.join(HEADER)}: {problem}.") from problem


def _read_lines(lines: bytes, settings: Settings) -> pa.RecordBatch | None:
    """The rows of some lines, read all at once; None if something is wrong with one of them."""
    ids = _tokenise(lines)
    if ids is None:
        return None
    ends = np.flatnonzero(ids == NEWLINE)
    labels = ids[ends - 1] - np.uint8(DIGIT)
    if np.count_nonzero(ids == TAB) != len(ends) or (ids[ends - 2] != TAB).any() or (labels > 9).any():
        return None
    kept = ids <= (CLOSE if settings.brackets else CLOSE - 1)
    kept[ends - 1] = False
    lengths = np.add.reduceat(kept, np.concatenate([[0], ends[:-1] + 1]), dtype=np.int64)
    if lengths.min() < 1 or lengths.max() > settings.max_length:
        return None
    return record_batch(labels, list_array(ids[kept], lengths))


def _tokenise(lines: bytes) -> npt.NDArray[np.uint8] | None:
    """Ids of all words of some lines, tabs and newlines included; None if one is no token."""
    # One letter of an operator becomes its id and its others vanish; digits, brackets and separators become ids.
    compact = lines.translate(None, delete=b" ()\r")
    ids = np.frombuffer(compact.translate(_BYTE_IDS, delete=_VANISHING), dtype=np.uint8)
    # So every such letter must stand in its operator, and letters may touch only there: not in "12" nor in "[M IN".
    counts = [_occurrences(compact, operator.encode()) for operator in OPERATORS]
    vanished = sum(count * (len(operator) - 1) for count, operator in zip(counts, OPERATORS, strict=True))
    ink = np.frombuffer(lines, dtype=np.uint8) > ord(" ")
    valid = (
        UNKNOWN not in ids
        and counts == [np.count_nonzero(ids == i) for i in range(OPERATOR, CLOSE)]
        and len(compact) - len(ids) == vanished == np.count_nonzero(ink[1:] & ink[:-1])
    )
    return ids if valid else None


def _occurrences(text: bytes, word: bytes) -> int:
    """How often ``word`` stands in ``text``."""
    characters = np.frombuffer(text, dtype=np.uint8)
    places = max(len(text) - len(word) + 1, 0)
    found = np.ones(places, dtype=bool)
    for i, letter in enumerate(word):
        found &= characters[i : i + places] == letter
    return int(np.count_nonzero(found))


_LETTERS = b"IAES"
"""What tells the operators apart."""

_VANISHING = bytes(set("".join(OPERATORS).encode()) - set(_LETTERS))


def _byte_ids() -> bytes:
    """What each byte that does not vanish becomes."""
    table = bytearray([UNKNOWN] * 256)
    table[ord("\t")], table[ord("\n")] = TAB, NEWLINE
    for i, token in enumerate(TOKENS):
        if len(token) == 1:
            table[ord(token)] = i
    for i, letter in enumerate(_LETTERS, start=OPERATOR):
        table[letter] = i
    return bytes(table)


_BYTE_IDS = _byte_ids()


def _complaint(lines: bytes, where: str, number: int, settings: Settings) -> str:
    """What is wrong with the first malformed row of some lines, found one by one."""
    for row, line in enumerate(lines.decode(errors="replace").removesuffix("\n").split("\n"), start=number):
        fields = line.split("\t")
        if len(fields) != 2:
            return f"{where} {row}: expected an expression and a label, not {line[:60]!r}."
        if fields[1].strip() not in set("0123456789"):
            return f"{where} {row}: the label is {fields[1]!r}, not a digit."
        try:
            length = len(parse(fields[0], settings.brackets))
        except LraError as problem:
            return f"{where} {row}: {problem}"
        if not 1 <= length <= settings.max_length:
            return f"{where} {row}: the expression has {length} tokens, not 1 to `max_length` ({settings.max_length})."
    return f"{where} {number} and after: not ListOps expressions and labels."
