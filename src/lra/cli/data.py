"""The commands that make data: ``lra download``, ``extract``, ``prepare`` and ``contact-sheet``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from lra import paths
from lra.cli.console import add_config, as_json, at_least, lookup
from lra.config.arena import EXTRACTED, load
from lra.config.mapping import from_mapping
from lra.errors import LraError
from lra.files import atomic_write

UNPACKED = {"lra_release": 4 << 30, "pathfinder_tfds": 1 << 30}
"""Bytes of disk that the extracted files of an archive need at most, the archive not counted."""


def add_commands(commands: Any) -> list[argparse.ArgumentParser]:
    """Add the commands to the subparsers; returns those that read config.yaml or resolved settings."""
    download = commands.add_parser("download", help="fetch one artefact from the first source that works")
    download.add_argument("artefact", help="its name under `sources` in config.yaml")
    download.add_argument("--sources", type=as_json(list), help="JSON list of sources instead of those in config.yaml")
    download.add_argument("--out", type=Path, help="where to put it (default: data/sources/ARTEFACT)")
    add_config(download, "gives the sources")
    download.set_defaults(run=run_download)

    extract = commands.add_parser(
        "extract", help="unpack the files of the tasks from an archive of the Long Range Arena"
    )
    extract.add_argument("artefact", metavar="ARTEFACT", choices=sorted(EXTRACTED), help=" or ".join(sorted(EXTRACTED)))
    extract.add_argument("archive", type=Path, help="the archive, or a folder that it was unpacked to")
    extract.add_argument(
        "--tasks",
        nargs="+",
        metavar="TASK",
        help="listops, retrieval or pathfinder32, -64, -128, -256 (default: listops retrieval pathfinder32; for "
        "pathfinder_tfds: pathfinder32)",
    )
    extract.add_argument("--out", type=Path, help="folder to make (default: data/extracted/ARTEFACT)")
    extract.add_argument(
        "--verified", action="store_true", help="the archive's checksum was compared: do not read it to its end"
    )
    extract.set_defaults(run=run_extract)

    prepare = commands.add_parser("prepare", help="turn a task's source into Parquet shards")
    prepare.add_argument("task", help="its name in config.yaml, such as listops")
    prepare.add_argument("--source", type=Path, help="file or folder of the artefact that the task reads")
    prepare.add_argument("--out", type=Path, help="folder of the shards (default: data/SCALE/TASK)")
    prepare.add_argument(
        "--workers", type=at_least(1), default=os.cpu_count() or 1, help="processes (default: one for each core)"
    )
    prepare.set_defaults(run=run_prepare)

    sheet = commands.add_parser(
        "contact-sheet", help="draw prepared images of pathfinder or pathx and their labels on one sheet"
    )
    sheet.add_argument("data", type=Path, help="folder of pathfinder's shards")
    sheet.add_argument("--out", type=Path, default=paths.CONTACT_SHEET, help=f"default: {paths.CONTACT_SHEET}")
    sheet.add_argument(
        "--images", type=at_least(1), default=48, help="number, from the start of the training split (default: 48)"
    )
    sheet.set_defaults(run=run_contact_sheet)
    return [prepare]


def run_download(options: argparse.Namespace) -> None:
    from lra.data.download import Source, fetch

    artefact = options.artefact
    sources = options.sources
    if sources is None:
        sources = lookup(artefact, load(*options.config).sources, "source")
    where = f"sources.{artefact}"
    fetch(
        artefact,
        [from_mapping(Source, source, where) for source in sources],
        options.out or paths.source(artefact),
        paths.LOCK,
        spare=UNPACKED.get(artefact, 0),
    )


def run_extract(options: argparse.Namespace) -> None:
    from lra.data.prepare import checksum
    from lra.data.release import extract_lra_release, extract_pathfinder_tfds

    if options.verified:
        checksum(options.archive)  # it may be a link to files that have changed since
    out = options.out or paths.extracted(options.artefact)
    if options.artefact == "lra_release":
        parts = options.tasks or ["listops", "retrieval", "pathfinder32"]
        extract_lra_release(options.archive, out, parts, verified=options.verified)
    else:
        extract_pathfinder_tfds(options.archive, out, options.tasks or ["pathfinder32"])


def run_prepare(options: argparse.Namespace) -> None:
    from lra.data.prepare import prepare

    settings, out, source = options.settings, options.out, options.source
    if settings is None or out is None:
        arena = load(*options.config)
        lookup(options.task, arena.settings["tasks"], "task")
        settings = settings or arena.data(options.task)
        out = out or paths.shards(arena.scale, options.task)
        source = source or arena.source(options.task)
    shards = prepare(options.task, settings, source, out, options.workers)
    rows = ", ".join(f"{split} {content['rows']}" for split, content in shards.splits.items())
    print(f"{out}: {rows}", file=sys.stderr)


def run_contact_sheet(options: argparse.Namespace) -> None:
    import math

    import numpy as np
    import pyarrow.parquet as pq

    from lra.data.shards import read_shards
    from lra.tasks.pathfinder_drawing import contact_sheet

    shards = read_shards(options.data)
    if shards.task.name not in ("pathfinder", "pathx"):
        raise LraError(f"{options.data} holds {shards.task.name}; give shards of pathfinder or pathx.")
    rows = pq.read_table(shards.files("train")[0], columns=["tokens", "label"])[: options.images]
    side = math.isqrt(shards.task.max_length)
    pixels = np.array(rows["tokens"].to_pylist(), np.uint8).reshape(-1, side, side)
    with atomic_write(options.out) as temporary:
        contact_sheet(pixels, rows["label"].to_numpy(), temporary)
