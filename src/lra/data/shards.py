"""Parquet shards of a task and their manifest.

``<folder>/{train,dev,test}/part-00000.parquet``: ``tokens`` (and ``tokens_2``) as lists of the smallest integer type,
unpadded, and ``label``. ``<folder>/manifest.json`` describes the task and lists files, rows, checksums, class counts.
Its ``content`` identifies the examples of each split, independently of their files; runs depend on it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lra.config.settings import SHARD_ROWS
from lra.data.split_summary import SplitSummary
from lra.errors import LraError
from lra.files import atomic_directory, checksum, read_json, sealed, sha256, write_json
from lra.paths import MANIFEST, part_name
from lra.tasks.contract import SPLITS, Examples, Rows, Split, Task

ROWS_PER_GROUP = 256
"""Small enough that a few dozen groups from all over a split fit in memory and mix well (see lra.data.batches)."""

assert SHARD_ROWS % ROWS_PER_GROUP == 0


@dataclass(frozen=True)
class Shards:
    """A prepared task: what ``manifest.json`` says."""

    folder: Path
    task: Task
    splits: dict[str, Any]
    provenance: dict[str, Any]
    content: dict[str, str]

    @property
    def identity(self) -> str:
        """SHA-256 of the examples: tokens and labels in order, and the sizes that the task declares.

        It is independent of files, Parquet, package versions and the source of the examples.
        """
        sizes = {name: value for name, value in asdict(self.task).items() if name != "name"}
        return hashlib.sha256(json.dumps([sizes, self.content], sort_keys=True).encode()).hexdigest()

    def rows(self, split: Split) -> int:
        """Number of examples of a split."""
        return int(self.splits[split]["rows"])

    def majority(self, split: Split) -> float:
        """Share of the most frequent class: the accuracy of a constant answer."""
        return max(self.splits[split]["classes"]) / self.rows(split)

    def files(self, split: Split) -> list[Path]:
        """The split's Parquet files in order."""
        return [self.folder / file["name"] for file in self.splits[split]["files"]]


def read_shards(folder: Path) -> Shards:
    """The shards described by ``<folder>/manifest.json``.

    Raises:
        LraError: no manifest, a damaged or edited one, or a file that is missing or has another size than recorded.
    """
    if not (folder / MANIFEST).exists():
        raise LraError(f"{folder / MANIFEST} is not there; prepare the task first (`lra prepare`), or check the path.")
    stored = read_json(folder / MANIFEST)
    try:
        shards = Shards(folder, Task(**stored["task"]), stored["splits"], stored["provenance"], stored["content"])
        sizes = {folder / f["name"]: f["bytes"] for split in SPLITS for f in stored["splits"][split]["files"]}
        for split in SPLITS:
            _check_split(split, stored["splits"][split])
        dict(stored["provenance"])
        dict(stored["content"])
    except (KeyError, TypeError, ValueError) as problem:
        raise LraError(f"{folder / MANIFEST} is not a manifest ({problem}); delete it and prepare again.") from problem
    if stored.get("checksum") != checksum(stored):
        raise LraError(
            f"{folder / MANIFEST} is not what was written: its checksum differs; delete it and prepare again."
        )
    for path, size in sizes.items():
        if not path.is_file() or path.stat().st_size != size:
            state = "truncated or changed" if path.is_file() else "missing"
            raise LraError(f"{path} is {state}; delete {folder} and run `snakemake prepare_{shards.task.name}` again.")
    return shards


def _check_split(split: Split, content: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError if a manifest lacks an entry that :class:`Shards` reads."""
    rows, classes = content["rows"], content["classes"]
    checksums = [file["sha256"] for file in content["files"]]
    if not checksums or rows != sum(classes) or rows < 1:
        raise ValueError(f"{split}: {rows} rows of classes {classes} in {len(checksums)} files")


def verify(shards: Shards) -> None:
    """Compare every file with its recorded checksum.

    Raises:
        LraError: the content of a file has changed.
    """
    for split in shards.splits.values():
        for file in split["files"]:
            if sha256(path := shards.folder / file["name"]) != file["sha256"]:
                raise LraError(f"{path} is not what was written: its checksum differs; delete it and prepare it again.")


def write_shards(
    folder: Path, task: Task, examples: Examples, *, expected: Rows | None, provenance: dict[str, Any]
) -> Shards:
    """Write all splits and their manifest; an existing folder is replaced after everything is written.

    Args:
        folder: where the shards go.
        task: description stored in every file's metadata.
        examples: record batches of each split.
        expected: rows that each split must have, None for any.
        provenance: source, checksum and code version, stored with the data.

    Raises:
        LraError: other rows than expected, a token or label that the task does not have, an empty sequence.
    """
    with atomic_directory(folder, (*SPLITS, MANIFEST)) as part:
        _write(part, task, examples, expected, provenance)
    return read_shards(folder)


def _write(folder: Path, task: Task, examples: Examples, expected: Rows | None, provenance: dict[str, Any]) -> None:
    schema_metadata = {"lra": json.dumps({"task": asdict(task), "provenance": provenance})}
    splits: dict[str, Any] = {}
    content: dict[str, str] = {}
    digests: dict[str, list[int]] = {}
    with ThreadPoolExecutor(1) as thread:  # computes the checksum of a file while the next ones are written
        for split in SPLITS:
            count = SplitSummary(task, split)
            batches = map(count, examples[split])
            files = thread.map(
                _describe, _write_files(folder / split, batches, schema_metadata), itertools.repeat(folder)
            )
            splits[split] = {**count.summary(), "files": files}
            digests[split] = count.digests
            content[split] = count.content()
            _check_rows(task, split, count.rows, None if expected is None else getattr(expected, split))
    for split in SPLITS:
        splits[split]["files"] = list(splits[split]["files"])
        elsewhere = set(itertools.chain.from_iterable(digests[other] for other in SPLITS if other != split))
        splits[split]["duplicates"] = len(digests[split]) - len(set(digests[split]))
        splits[split]["also_in_another_split"] = sum(digest in elsewhere for digest in digests[split])
    manifest = {"task": asdict(task), "splits": splits, "content": content, "provenance": provenance}
    write_json(folder / MANIFEST, sealed(manifest))


def _check_rows(task: Task, split: Split, rows: int, expected: int | None) -> None:
    if rows == 0:
        raise LraError(f"{task.name} {split} has no rows; check the source in config.yaml.")
    if expected is not None and rows != expected:
        raise LraError(
            f"{task.name} {split} has {rows} rows, not the expected {expected}; if this is an archive of your own, set "
            f"`expected_rows: null`, and no `rows`, in the data settings of {task.name} in config.yaml."
        )


def _write_files(folder: Path, batches: Iterable[pa.RecordBatch], metadata: dict[str, str]) -> Iterator[Path]:
    """Write the rows in order into files of SHARD_ROWS rows, yielding each file when it is whole."""
    folder.mkdir()
    groups = _groups(batches)
    for number in itertools.count():
        first = next(groups, None)
        if first is None:
            return
        path = folder / part_name(number)
        schema = pa.schema(map(_without_nulls, first.schema), metadata)
        with pq.ParquetWriter(path, schema, **_options(schema)) as writer:
            rest = itertools.islice(groups, SHARD_ROWS // ROWS_PER_GROUP - 1)
            _write_ahead(writer, (group.cast(schema) for group in itertools.chain([first], rest)))
        yield path


def _without_nulls(field: pa.Field) -> pa.Field:
    """The field without nulls: Parquet then stores no validity of each token, and is faster to write and to read."""
    if pa.types.is_list(field.type):
        field = field.with_type(pa.list_(field.type.value_field.with_nullable(False)))
    return field.with_nullable(False)


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Options of the Parquet writer, chosen by the measurements of ``benchmarks/prepare_rows.py``."""
    # Parquet stores small integers in four bytes. Split into streams, the empty upper bytes compress to nothing.
    split = {f"{field.name}.list.element": "BYTE_STREAM_SPLIT" for field in schema if pa.types.is_list(field.type)}
    # Neither dictionaries nor statistics help with token ids.
    return {"compression": "zstd", "use_dictionary": False, "write_statistics": False, "column_encoding": split}


def _write_ahead(writer: pq.ParquetWriter, groups: Iterable[pa.Table]) -> None:
    """Write the groups in order, each while the next one is read."""
    with ThreadPoolExecutor(1) as thread:
        written: Future[None] | None = None
        for group in groups:
            if written:
                written.result()
            written = thread.submit(writer.write_table, group, row_group_size=ROWS_PER_GROUP)
        if written:
            written.result()


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of ROWS_PER_GROUP, the last one shorter."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        start = 0
        while rows + batch.num_rows - start >= ROWS_PER_GROUP:
            take = ROWS_PER_GROUP - rows
            yield pa.Table.from_batches([*held, batch.slice(start, take)])
            held, rows, start = [], 0, start + take
        if start < batch.num_rows:
            held.append(batch.slice(start))
            rows += batch.num_rows - start
    if held:
        yield pa.Table.from_batches(held)


def _describe(path: Path, folder: Path) -> dict[str, Any]:
    rows = pq.read_metadata(path).num_rows
    name = path.relative_to(folder).as_posix()
    return {"name": name, "rows": rows, "bytes": path.stat().st_size, "sha256": sha256(path)}
