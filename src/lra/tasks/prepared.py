"""Data sets that tensorflow_datasets prepared, read as they are stored: images undecoded, texts as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lra.errors import LraError

BATCH = 256
"""Examples that are read at once."""


def prepared_folder(source: Path, name: str) -> Path:
    """Where tensorflow_datasets prepared the newest version of the data set ``name``: ``source``, or a folder in it.

    Raises:
        LraError: it is not there.
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
        feature: what is read beside the label, such as ``image`` or ``text``.

    Raises:
        LraError: tensorflow_datasets is missing, or cannot read the folder.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as problem:
        raise LraError(
            f"Reading {folder} needs tensorflow_datasets ({problem}); install it, or give the original archive instead."
        ) from problem
    try:
        builder = tfds.builder_from_directory(folder)
        dataset = builder.as_dataset(
            split=split,
            batch_size=BATCH,
            decoders={feature: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(interleave_cycle_length=1),
        )
        for batch in tfds.as_numpy(dataset):
            yield from zip(batch[feature].tolist(), batch["label"].tolist(), strict=True)
    except Exception as problem:  # whatever tensorflow raises for a damaged file
        sentence = str(problem).strip().partition("\n")[0]
        raise LraError(f"{folder} cannot be read by tensorflow_datasets: {sentence}") from problem
