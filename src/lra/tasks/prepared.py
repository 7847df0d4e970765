"""Data sets that tensorflow_datasets prepared, read as they are stored: images undecoded, texts as bytes.

Versions before 4.0 wrote no ``features.json``, which today's versions require; tensorflow itself reads such a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lra.errors import LraError

BATCH = 256
"""Examples that are read at once."""


def prepared_folder(source: Path, name: str) -> Path:
    """Folder of the newest prepared version of the data set ``name``: ``source``, or a folder in it.

    Raises:
        LraError: there is no such folder.
    """
    for pattern in ("dataset_info.json", "*/dataset_info.json", f"{name}/*/dataset_info.json"):
        if found := sorted(source.glob(pattern)):
            return found[-1].parent
    raise LraError(f"{source} holds no {name}/<version>/dataset_info.json, which tensorflow_datasets writes.")


def read_prepared(folder: Path, split: str, feature: str) -> Iterator[tuple[bytes, int]]:
    """Stored bytes and label of each example of a split, in the order in which they are stored.

    Args:
        folder: as :func:`prepared_folder` finds it.
        split: a split or a slice of one, such as ``hard[:80%]``.
        feature: name of the input, such as ``image`` or ``text``.

    Raises:
        LraError: tensorflow_datasets is missing, or cannot read the folder.
    """
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as problem:
        raise LraError(
            f"Reading {folder} needs tensorflow_datasets ({problem}); install it, or give the original archive instead."
        ) from problem
    try:
        if not (folder / "features.json").exists():
            yield from _records(tf, folder, split, feature)
            return
        builder = tfds.builder_from_directory(folder)
        dataset = builder.as_dataset(
            split=split,
            batch_size=BATCH,
            decoders={feature: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        for batch in tfds.as_numpy(dataset):
            yield from zip(batch[feature].tolist(), batch["label"].tolist(), strict=True)
    except LraError:
        raise
    except Exception as problem:  # tensorflow raises various exceptions for a damaged file
        sentence = str(problem).strip().partition("\n")[0]
        raise LraError(f"{folder} cannot be read by tensorflow_datasets: {sentence}") from problem


def _records(tf: Any, folder: Path, split: str, feature: str) -> Iterator[tuple[bytes, int]]:
    """The same from the TFRecord files alone, with declared features: bytes and a label."""
    name, *shares = re.split(r"[\[:\]]", split.replace("%", ""))
    files = sorted(str(file) for file in folder.glob(f"*-{name}.tfrecord-*"))
    if not files:
        raise LraError(f"{folder} has neither features.json nor a file *-{name}.tfrecord-*; prepare it again.")
    records = tf.data.TFRecordDataset(files)
    count = int(records.reduce(0, lambda total, _: total + 1))
    begin, end = shares[:2] or ("", "")
    start, stop = round(count * int(begin or 0) / 100), round(count * int(end or 100) / 100)
    declared = {feature: tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}
    for batch in records.skip(start).take(stop - start).batch(BATCH):
        parsed = tf.io.parse_example(batch, declared)
        yield from zip(parsed[feature].numpy().tolist(), parsed["label"].numpy().tolist(), strict=True)
