"""The commands that export and import runs: ``lra archive``, ``merge``, ``publish``, ``accept`` and ``reference``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from lra import paths
from lra.cli.console import add_config
from lra.errors import LraError


def add_commands(commands: Any) -> None:
    """Add ``archive``, ``merge``, ``publish``, ``accept`` and ``reference`` to the parsers of :mod:`lra.cli.main`."""
    archive = commands.add_parser(
        "archive", help="pack finished runs, and what they follow from, into one file for another machine's `lra merge`"
    )
    archive.add_argument("file", metavar="FILE", type=Path, help="file to write: .tar, .tar.gz, .tgz or .zip")
    archive.add_argument(
        "--runs",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        default=[paths.RUNS],
        help=f"folders of runs, or folders that contain them (default: {paths.RUNS})",
    )
    archive.add_argument("--weights", action="store_true", help="include model.safetensors (default: leave it out)")
    archive.set_defaults(run=run_archive)

    merge = commands.add_parser("merge", help="add runs from another machine to this arena")
    merge.add_argument(
        "given",
        metavar="FOLDER",
        nargs="+",
        type=Path,
        help="results of another clone, folders of runs, or a file of `lra archive`",
    )
    merge.add_argument(
        "--apart",
        metavar="NAME",
        help="keep runs of other settings, code or data in results/apart/NAME (default: refuse them)",
    )
    merge.set_defaults(run=run_merge)

    publish = commands.add_parser("publish", help="write finished runs to reference/ with their provenance")
    publish.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    publish.add_argument("--by", required=True, help="who ran them, e.g. 'A. Name, a laboratory'")
    publish.set_defaults(run=run_publish)

    accept = commands.add_parser("accept", help="check the publications of someone else and add them to reference/")
    accept.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="folder that contains files of `lra publish`; weights of the same name (seed-1.safetensors) are scored "
        "again",
    )
    accept.set_defaults(run=run_accept)

    reference = commands.add_parser("reference", help="write docs/reference.md from reference/")
    reference.set_defaults(run=run_reference)
    for command in (merge, publish, accept):
        add_config(command, "defines the runs")


def run_archive(options: argparse.Namespace) -> None:
    """Pack runs, and print which were left out and why."""
    from lra.data.progress import readable
    from lra.sharing.archive import pack

    count, left_out = pack(options.runs, options.file, weights=options.weights)
    for sentence in left_out:
        print(f"left out: {sentence}")
    print(f"{options.file}: {count} runs, {readable(options.file.stat().st_size)}")


def run_merge(options: argparse.Namespace) -> None:
    """Merge runs, and print the outcome of each and its reason."""
    from lra.sharing.merge import merge

    counts: Counter[str] = Counter()
    for place in options.given:
        for run, outcome, reason in merge(place, options.config, apart=options.apart):
            counts[outcome] += 1
            print(f"{outcome}: {run}: {reason}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts["refused"]:
        raise LraError(
            f"{counts['refused']} of {counts.total()} runs were refused; the lines above say why. `--apart NAME` keeps "
            "runs of other settings, code or data in results/apart/NAME."
        )


def run_publish(options: argparse.Namespace) -> None:
    """Publish runs, and print the files."""
    from lra.sharing.publications import publish

    for run in options.runs:
        print(publish(run, options.config, options.by))


def run_accept(options: argparse.Namespace) -> None:
    """Check and add publications, and print how far their weights agree with their predictions."""
    from lra.sharing.publications import accept

    publications = sorted(options.folder.rglob("*.json"))
    if not publications:
        raise LraError(f"{options.folder} holds no publication, a file seed-N.json of `lra publish`.")
    for path in publications:
        target, agreement = accept(path, options.config)
        scored = "no weights given" if agreement is None else f"weights agree on {agreement:.2%} of the test examples"
        print(f"{target}: {scored}")


def run_reference(options: argparse.Namespace) -> None:
    """Write the page of reference results."""
    from lra.sharing.reference_page import PAGE, write_page

    runs = write_page()
    print(f"{PAGE}: {runs} published run{'' if runs == 1 else 's'}")
