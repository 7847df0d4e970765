"""Extract the files that the tasks need from the released archives of the Long Range Arena."""

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
PICTURES = ("pathfinder32", "pathfinder64", "pathfinder128", "pathfinder256")
HARD = "curv_contour_length_14"
"""The folder of hard images, which the Long Range Arena uses."""

PATTERNS: Mapping[str, tuple[str, ...]] = {
    "listops": tuple(f"listops-1000/basic_{split}.tsv" for split in ("train", "val", "test")),
    "retrieval": tuple(f"tsv_data/new_aan_pairs.{split}.tsv" for split in ("train", "eval", "test")),
    **{name: (f"{name}/{HARD}/imgs/*/*.png", f"{name}/{HARD}/metadata/*.npy") for name in PICTURES},
}
"""The parts of the release that a task may need, and their files."""

HELD = ("listops-1000", "tsv_data", *(f"{name}.parquet" for name in PICTURES))
"""What the folder of lra_release holds."""

LARGEST_IMAGE = 1 << 24
ROW_GROUP = 1 << 23
"""Bytes of images that are held in memory and written at once."""


def extract_lra_release(archive: Path, target: Path, parts: Collection[str], *, verified: bool = False) -> Path:
    """Extract ``parts`` of lra_release.gz to the folder ``target``.

    * listops: ``listops-1000/basic_{train,val,test}.tsv``
    * retrieval: ``tsv_data/new_aan_pairs.{train,eval,test}.tsv``
    * pathfinder32: ``pathfinder32.parquet`` with the columns ``path`` (string) and ``bytes`` (binary) for each file
      below ``pathfinder32/curv_contour_length_14``: ``imgs/<batch>/sample_<i>.png`` and ``metadata/<batch>.npy``. One
      file instead of 200 000, which file systems of clusters do not like. pathfinder64, 128 and 256 likewise.

    Args:
        archive: the archive, or a folder with its content.
        target: a folder, replaced if it is there.
        parts: some of the keys of :data:`PATTERNS`.
        verified: the archive's checksum was compared; without pictures, reading then stops early.

    Raises:
        LraError: as :func:`lra.data.archives.members`; or a part that this archive does not have.
    """
    if unknown := sorted(set(parts) - set(PATTERNS)):
        raise LraError(f"lra_release has no data for {', '.join(unknown)}; it has {', '.join(PATTERNS)}.")
    patterns = [pattern for part in PATTERNS if part in parts for pattern in PATTERNS[part]]
    with atomic_directory(target, HELD) as folder, contextlib.ExitStack() as stack:
        pictures = {name: stack.enter_context(_Images(archive, folder, name)) for name in PICTURES if name in parts}
        for member in members(archive, patterns, prefix=INNER_FOLDER, verified=verified):
            if images := pictures.get(member.name.partition("/")[0]):
                images.add(member)
            else:
                save(member, folder)
        for images in pictures.values():
            images.finish()
    return target


def extract_pathfinder_tfds(archive: Path, target: Path, parts: Collection[str]) -> Path:
    """Extract ``<part>/1.0.0`` of pathfinder_tfds.gz to the folder ``target``, for builder_from_directory.

    ``parts`` are some of :data:`PICTURES`.

    Raises:
        LraError: as :func:`lra.data.archives.members`.
    """
    if unknown := sorted(set(parts) - set(PICTURES)):
        raise LraError(f"pathfinder_tfds has no data for {', '.join(unknown)}; it may have {', '.join(PICTURES)}.")
    wanted = ("*", "dataset_info.json", "*hard.tfrecord*")
    patterns = [f"{part}/1.0.0/{name}" for part in sorted(parts) for name in wanted]
    return extract(archive, target, patterns, prefix="TFDS/")


class _Images:
    """Packs small files into one Parquet file, a row each."""

    def __init__(self, archive: Path, folder: Path, name: str) -> None:
        self._archive, self._prefix = archive, f"{name}/{HARD}/"
        self._schema = pa.schema({"path": pa.string(), "bytes": pa.binary()})
        self._writer = pq.ParquetWriter(folder / f"{name}.parquet", self._schema, compression="zstd")
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
        name = member.name.removeprefix(self._prefix)
        folder, batch = name.split("/")[:2]
        self._batches[folder].add(batch.removesuffix(".npy"))
        self._names.append(name)
        self._contents.append(content)
        self._held += len(content)
        if self._held >= ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        """Write the files still in memory; refuse images without metadata, and metadata without images."""
        self._flush()
        images, metadata = self._batches["imgs"], self._batches["metadata"]
        lacking = [f"metadata/{batch}.npy" for batch in images - metadata]
        lacking += [f"imgs/{batch}" for batch in metadata - images]
        if lacking:
            names = ", ".join(sorted(lacking)[:5])
            raise LraError(f"{self._archive}: {INNER_FOLDER}{self._prefix} lacks {names}; is the archive complete?")

    def _flush(self) -> None:
        if self._names:
            self._writer.write_table(pa.table([self._names, self._contents], schema=self._schema))
            self._names, self._contents, self._held = [], [], 0
