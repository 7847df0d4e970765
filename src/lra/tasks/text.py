"""Text classification from bytes: the sentiment of IMDb reviews, or, at small scale, the origin of a snippet.

Tay et al. 2021 (arXiv 2011.04006), section 2.2.2: documents as bytes, id = byte + 1, 0 = padding, cut to 4000.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.errors import LraError
from lra.tasks.byte_tokens import VOCABULARY, byte_tokens, encode_bytes
from lra.tasks.contract import SPLITS, Examples, Split, Task, record_batch
from lra.tasks.prepared import prepared_folder, read_prepared
from lra.tasks.settings.text import Source
from lra.tasks.settings.text import TextSettings as Settings
from lra.tasks.snippets import KINDS, read_snippets
from lra.tasks.sources import archive_files, check_source, required_rows

SOURCES: tuple[str, ...] = get_args(Source)
BATCH = 1024
DEV_SHARE = 10
"""With ``dev: train``, one in this many reviews of the training set is held out."""
REVIEW = re.compile(r"(?:^|/)(?:train|test)/(?:neg|pos)/[^/]+\.txt$")
"""Names of the labelled reviews in aclImdb_v1.tar.gz."""

Labelled = tuple[bytes, int]


def describe(settings: Settings) -> Task:
    """The task; labels are positions in ``KINDS``, or 0 for a negative and 1 for a positive review."""
    classes = len(KINDS) if settings.source == "vader" else 2
    return Task("text", classes=classes, vocabulary=VOCABULARY, max_length=settings.max_length)


def encode(settings: Settings, text: str | bytes) -> npt.NDArray[np.uint16]:
    """Token ids (length,) of a text, cut to ``max_length`` bytes."""
    return encode_bytes(text, settings.max_length)


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits, read into memory (130 MB for IMDb) and shuffled.

    Args:
        settings: which source, and its settings.
        source: the archive or folder to read.
        workers: unused; one process is fast enough.

    Raises:
        LraError: an unknown source, missing settings, or a source with another layout.
    """
    check_source("text", settings.source, SOURCES, source)
    assert source is not None
    rows = _snippets(settings, source) if settings.source == "vader" else _reviews(settings, source)
    return {split: list(_batches(rows[split], settings.max_length)) for split in SPLITS}


def _batches(rows: Sequence[Labelled], max_length: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), BATCH):
        texts, labels = zip(*rows[start : start + BATCH], strict=True)
        yield record_batch(np.array(labels), byte_tokens(texts, max_length))


def _snippets(settings: Settings, archive: Path) -> dict[Split, list[Labelled]]:
    """Snippets of the four kinds in equal numbers, so that a constant answer is right for a quarter."""
    wanted = required_rows("text", settings.source, settings.rows)
    rng = np.random.default_rng(settings.seed)
    rows: dict[Split, list[Labelled]] = {split: [] for split in SPLITS}
    for kind, texts in enumerate(read_snippets(archive, KINDS, settings.max_length)):
        counts = [getattr(wanted, split) for split in SPLITS]
        shares = [count // len(KINDS) + (kind < count % len(KINDS)) for count in counts]
        if sum(shares) > len(texts):
            raise LraError(
                f"text: {archive} has {len(texts)} different {KINDS[kind]}, but `rows` asks for {sum(shares)} of each "
                "kind; ask for fewer rows."
            )
        order = rng.permutation(len(texts))[: sum(shares)]
        for split, chosen in zip(SPLITS, np.split(order, np.cumsum(shares)[:-1]), strict=True):
            rows[split] += [(texts[i], kind) for i in chosen]
    for split in SPLITS:
        rng.shuffle(rows[split])
    return rows


def _reviews(settings: Settings, source: Path) -> dict[Split, list[Labelled]]:
    """IMDb, shuffled by the seed and the texts alone, so that both forms of the source give the same splits."""
    key = settings.seed.to_bytes(8, "little")
    reviews: dict[str, list[Labelled]] = {"train": [], "test": []}
    for part, text, label in _read_prepared(source) if source.is_dir() else _read_archive(source):
        reviews[part].append((text[: settings.max_length], label))
    for part, rows in reviews.items():
        if not rows:
            raise LraError(
                f"{source} has no {part} reviews; it must be aclImdb_v1.tar.gz, or a folder prepared by TFDS."
            )
        rows.sort(key=lambda row: (hashlib.blake2b(row[0], digest_size=16, key=key).digest(), row))
    train, test = reviews["train"], reviews["test"]
    if settings.dev == "test":
        return {"train": train, "dev": test, "test": test}
    dev: list[Labelled] = []
    rest: list[Labelled] = []
    for _, group in itertools.groupby(train, key=lambda row: row[0]):  # equal texts stay in one split
        same = list(group)
        (dev if len(dev) + len(same) <= len(train) // DEV_SHARE else rest).extend(same)
    return {"train": rest, "dev": dev, "test": test}


def _read_archive(archive: Path) -> Iterator[tuple[str, bytes, int]]:
    """Part (train or test), text and label of each labelled review in aclImdb_v1.tar.gz.

    White space around a review is removed, as tensorflow_datasets does.
    """
    for name, review in archive_files(archive, REVIEW.search):
        part, kind = name.split("/")[-3:-1]
        yield part, review.strip(), int(kind == "pos")


def _read_prepared(source: Path) -> Iterator[tuple[str, bytes, int]]:
    """Part, text and label of each review that tensorflow_datasets prepared."""
    folder = prepared_folder(source, "imdb_reviews/plain_text")
    for part in ("train", "test"):
        for review, label in read_prepared(folder, part, "text"):
            yield part, review, label
