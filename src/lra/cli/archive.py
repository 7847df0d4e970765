"""The commands that let runs leave this arena or come into it; each imports what it needs when it runs."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from lra import paths
from lra.errors import LraError


def add_commands(commands: Any) -> None:
    """Add ``archive`` and ``merge`` to the parsers of :mod:`lra.cli.main`."""
    archive = commands.add_parser("archive", help="pack finished runs into one file, for another machine's `lra merge`")
    archive.add_argument("file", metavar="FILE", type=Path, help="to write: .tar, .tar.gz, .tgz or .zip")
    archive.add_argument(
        "--runs",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        default=[paths.RUNS],
        help=f"folders at or below which the runs are (default: {paths.RUNS})",
    )
    archive.add_argument("--weights", action="store_true", help="with model.safetensors (default: without)")
    archive.set_defaults(run=run_archive)

    merge = commands.add_parser("merge", help="take runs that were made elsewhere into this arena")
    merge.add_argument(
        "given",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        help="results of another clone, one or several runs' folders, or a file of `lra archive`",
    )
    merge.add_argument(
        "--apart",
        metavar="NAME",
        help="keep runs of other settings, code or data in results/apart/NAME (default: refuse them)",
    )
    merge.add_argument("--config", type=Path, default=Path("config.yaml"), help="says which runs there are")
    merge.set_defaults(run=run_merge)


def run_archive(options: argparse.Namespace) -> None:
    from lra.data.progress import readable
    from lra.sharing.archive import pack

    count, left_out = pack(options.runs, options.file, weights=options.weights)
    for sentence in left_out:
        print(f"left out: {sentence}")
    print(f"{options.file}: {count} runs, {readable(options.file.stat().st_size)}")


def run_merge(options: argparse.Namespace) -> None:
    from lra.sharing.merge import merge

    counts: Counter[str] = Counter()
    for given in options.given:
        for run, became, why in merge(given, options.config, apart=options.apart):
            counts[became] += 1
            print(f"{became}: {run}: {why}", flush=True)
    print(", ".join(f"{count} {became}" for became, count in counts.items()))
    if counts["refused"]:
        raise LraError(
            f"{counts['refused']} of {counts.total()} runs were refused; the lines above say why. `--apart NAME` keeps "
            "those of other settings, code or data beside the others."
        )
