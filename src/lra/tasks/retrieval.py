"""Document matching with two towers: does one paper cite the other, or, at small scale, are two snippets of one kind?

Tay et al. 2021 (arXiv 2011.04006), section 2.2.3: pairs of documents as bytes, id = byte + 1, 0 = padding, each cut to
4000.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.byte_tokens import VOCABULARY, byte_tokens, encode_bytes
from lra.tasks.contract import SPLITS, Examples, Split, Task, record_batch
from lra.tasks.settings.retrieval import RetrievalSettings as Settings
from lra.tasks.settings.retrieval import Source
from lra.tasks.snippets import read_snippets
from lra.tasks.sources import check_source, folder_of, line_blocks, required_rows

SOURCES: tuple[str, ...] = get_args(Source)
KINDS = ("nytEditorialSnippets", "tweets")
FILE_NAMES: dict[Split, str] = {
    "train": "new_aan_pairs.train.tsv",
    "dev": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}
FIELDS = 5
LABELS = {b"0.0": 0, b"1.0": 1}
BATCH = 256

Pair = tuple[int, bytes, bytes]
"""Label and two texts."""


def describe(settings: Settings) -> Task:
    """The task; label 1 is "cites" or "same kind"."""
    return Task("retrieval", classes=2, vocabulary=VOCABULARY, max_length=settings.max_length, towers=2)


def encode(settings: Settings, text: str | bytes) -> npt.NDArray[np.uint16]:
    """Token ids (length,) of one of the two texts, cut to ``max_length`` bytes."""
    return encode_bytes(text, settings.max_length)


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits.

    Args:
        settings: which source, and its settings.
        source: the archive or folder to read.
        workers: unused; one process is fast enough.

    Raises:
        LraError: an unknown source, missing settings, a source with another layout, or, while iterating, a malformed
            row.
    """
    check_source("retrieval", settings.source, SOURCES, source)
    assert source is not None
    if settings.source == "vader":
        return _snippet_pairs(settings, source)
    folder = folder_of(source, "tsv_data")
    return {split: _File(folder / FILE_NAMES[split], settings.max_length) for split in SPLITS}


def _snippet_pairs(settings: Settings, archive: Path) -> Examples:
    """Different pairs, equally many of each combination of kinds, so that one text alone does not predict the label.

    The snippets are first divided among the splits in proportion to ``rows``; within a split a snippet can be in
    several pairs.
    """
    wanted = required_rows("retrieval", settings.source, settings.rows)
    rng = np.random.default_rng(settings.seed)
    rows = np.array([getattr(wanted, split) for split in SPLITS])
    shares = np.cumsum(rows) / max(rows.sum(), 1)
    kinds = read_snippets(archive, KINDS, settings.max_length)
    pools = [np.split(rng.permutation(len(texts)), (shares * len(texts)).astype(int)) for texts in kinds]
    batches = {}
    for index, split in enumerate(SPLITS):
        texts = [[kinds[kind][i] for i in pools[kind][index]] for kind in range(len(KINDS))]
        batches[split] = [_pairs(texts, int(rows[index]), rng, settings.max_length)]
    return batches


def _pairs(texts: list[list[bytes]], rows: int, rng: np.random.Generator, max_length: int) -> pa.RecordBatch:
    """``rows`` pairs of texts, given for each kind."""
    combinations = [(first, second) for first in range(len(texts)) for second in range(len(texts))]
    pairs = []
    for index, (first, second) in enumerate(combinations):
        count = rows // len(combinations) + (index < rows % len(combinations))
        left, right = _different(len(texts[first]), len(texts[second]), first == second, count, rng)
        pairs += [(texts[first][i], texts[second][j], first == second) for i, j in zip(left, right, strict=True)]
    order = rng.permutation(len(pairs))
    lefts, rights, labels = zip(*(pairs[i] for i in order), strict=True)
    return record_batch(np.array(labels), byte_tokens(lefts, max_length), byte_tokens(rights, max_length))


def _different(
    lefts: int, rights: int, same: bool, count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """``count`` different pairs (i, j) with i < ``lefts``, j < ``rights`` and, if ``same``, i != j."""
    width = max(rights - same, 0)
    if count > lefts * width:
        raise LraError(
            f"retrieval: `rows` asks for more pairs than the snippets of {', '.join(KINDS)} give; ask for fewer rows."
        )
    left, right = np.divmod(rng.choice(lefts * width, count, replace=False), width)
    return left, right + (same & (right >= left))


@dataclass(frozen=True)
class _File(Iterable[pa.RecordBatch]):
    """The rows of one of the released files: label, two ids and two texts, with a tab between and no quoting.

    The texts are Python bytes literals. Like the Arena's own pipeline, this keeps the prefix ``b'`` and all escapes.
    """

    path: Path
    max_length: int

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        rows = self._rows()
        while some := list(itertools.islice(rows, BATCH)):
            labels, lefts, rights = zip(*some, strict=True)
            yield record_batch(
                np.array(labels), byte_tokens(lefts, self.max_length), byte_tokens(rights, self.max_length)
            )

    def _rows(self) -> Iterator[Pair]:
        number = 1
        for lines in line_blocks(self.path):
            begin = 0
            while begin < len(lines):
                end = lines.index(b"\n", begin)
                yield self._row(lines, begin, end, number)
                begin, number = end + 1, number + 1

    def _row(self, lines: bytes, begin: int, end: int, number: int) -> Pair:
        """The row in ``lines[begin:end]``; only the kept part of its texts is copied, which is often small."""
        fields = [begin]
        while tab := lines.find(b"\t", fields[-1], end) + 1:
            fields.append(tab)
        if len(fields) != FIELDS:
            raise LraError(
                f"{self.path}, line {number}: expected label, two ids and two texts between tabs, not {len(fields)} "
                "fields."
            )
        label = lines[begin : fields[1] - 1]
        if label not in LABELS:
            raise LraError(
                f"{self.path}, line {number}: the label is {label.decode(errors='replace')!r}, not 0.0 or 1.0."
            )
        left = lines[fields[3] : min(fields[3] + self.max_length, fields[4] - 1)]
        right = lines[fields[4] : min(fields[4] + self.max_length, end - (lines[end - 1] == ord("\r")))]
        if not (left and right):
            raise LraError(f"{self.path}, line {number}: a text is empty.")
        return LABELS[label], left, right
