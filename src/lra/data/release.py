"""What the tasks need of the released archives of the Long Range Arena."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lra.data.archives import Member, extract, members, save
from lra.errors import LraError
from lra.files import atomic_directory

# Every published code base reads the inner folder; of the outer duplicates at least one is broken.
INNER_FOLDER = "lra_release/lra_release/"
PATHFINDER = "pathfinder32/curv_contour_length_14/"
"""The hard images of 32 x 32 pixels, which the Long Range Arena uses."""

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "listops": tuple(f"listops-1000/basic_{split}.tsv" for split in ("train", "val", "test")),
    "retrieval": tuple(f"tsv_data/new_aan_pairs.{split}.tsv" for split in ("train", "eval", "test")),
    "pathfinder": (f"{PATHFINDER}imgs/*/*.png", f"{PATHFINDER}metadata/*.npy"),
}

IMAGES = "pathfinder32.parquet"
HELD = ("listops-1000", "tsv_data", IMAGES)
"""What the folder of lra_release holds."""

LARGEST_IMAGE = 1 << 24
ROW_GROUP = 1 << 23
"""Bytes of images that are held in memory and written at once."""


def extract_lra_release(archive: Path, target: Path, tasks: Collection[str], *, verified: bool = False) -> Path:
    """Extract what ``tasks`` need of lra_release.gz to the folder ``target``.

    * listops: ``listops-1000/basic_{train,val,test}.tsv``
    * retrieval: ``tsv_data/new_aan_pairs.{train,eval,test}.tsv``
    * pathfinder: ``pathfinder32.parquet`` with the columns ``path`` (string) and ``bytes`` (binary) for each file below
      ``pathfinder32/curv_contour_length_14``: ``imgs/<batch>/sample_<i>.png`` and ``metadata/<batch>.npy``. One file
      instead of 200 000, which file systems of clusters do not like.

    Args:
        archive: the archive, or a folder with what it holds.
        target: a folder, replaced if it is there.
        tasks: some of listops, retrieval and pathfinder.
        verified: the archive's checksum was compared; without pathfinder, reading then stops early.

    Raises:
        LraError: as :func:`lra.data.archives.members`; or a task that has no data in this archive.
    """
    if unknown := sorted(set(tasks) - set(PATTERNS)):
        raise LraError(f"lra_release has no data for {', '.join(unknown)}; it has {', '.join(PATTERNS)}.")
    patterns = [pattern for task in PATTERNS if task in tasks for pattern in PATTERNS[task]]
    with atomic_directory(target, HELD) as part, contextlib.ExitStack() as stack:
        images = stack.enter_context(_Images(archive, part / IMAGES)) if "pathfinder" in tasks else None
        for member in members(archive, patterns, prefix=INNER_FOLDER, verified=verified):
            if images and member.name.startswith(PATHFINDER):
                images.add(member)
            else:
                save(member, part)
        if images:
            images.finish()
    return target


def extract_pathfinder_tfds(archive: Path, target: Path) -> Path:
    """Extract ``pathfinder32/1.0.0`` of pathfinder_tfds.gz to the folder ``target``, for builder_from_directory.

    Raises:
        LraError: as :func:`lra.data.archives.members`.
    """
    folder = "pathfinder32/1.0.0/"
    patterns = [f"{folder}*", f"{folder}dataset_info.json", f"{folder}*hard.tfrecord*"]
    return extract(archive, target, patterns, prefix="TFDS/")


class _Images:
    """Packs small files into one Parquet file, a row each."""

    def __init__(self, archive: Path, path: Path) -> None:
        self._archive = archive
        self._schema = pa.schema({"path": pa.string(), "bytes": pa.binary()})
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._names: list[str] = []
        self._contents: list[bytes] = []
        self._held = 0
        self._batches: dict[str, set[str]] = {"imgs": set(), "metadata": set()}

    def __enter__(self) -> _Images:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, member: Member) -> None:
        """Add one image or one batch's metadata."""
        if member.size > LARGEST_IMAGE:
            raise LraError(f"{self._archive} holds {member.name!r} of {member.size} bytes, too large for an image.")
        content = b"".join(member.chunks)
        name = member.name.removeprefix(PATHFINDER)
        folder, batch = name.split("/")[:2]
        self._batches[folder].add(batch.removesuffix(".npy"))
        self._names.append(name)
        self._contents.append(content)
        self._held += len(content)
        if self._held >= ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write what is held; refuse images without metadata, and metadata without images."""
        self._flush()
        images, metadata = self._batches["imgs"], self._batches["metadata"]
        lacking = [f"metadata/{batch}.npy" for batch in images - metadata]
        lacking += [f"imgs/{batch}" for batch in metadata - images]
        if lacking:
            names = ", ".join(sorted(lacking)[:5])
            raise LraError(f"{self._archive}: {INNER_FOLDER}{PATHFINDER} lacks {names}; is the archive complete?")

    def _flush(self) -> None:
        if self._names:
            self._writer.write_table(pa.table([self._names, self._contents], schema=self._schema))
            self._names, self._contents, self._held = [], [], 0
