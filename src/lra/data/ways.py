"""Alternatives if no source of an artefact works, each with the command to type."""

from __future__ import annotations

from collections.abc import Mapping

WITHOUT_THE_BUCKET = "config/without-the-bucket.yaml"
"""The paper's scale without the two archives of the Arena's bucket."""

OWN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "lra_release": (
        ("an archive of your own", "/your/lra_release.gz"),
        ("the folder that it was unpacked to", "/your/lra_release"),
    ),
    "pathfinder_tfds": (
        ("an archive of your own", "/your/pathfinder_tfds.gz"),
        ("the folder that it was unpacked to, or that tensorflow_datasets prepared", "/your/TFDS"),
    ),
    "imdb": (
        ("an archive of your own", "/your/aclImdb_v1.tar.gz"),
        ("a folder in which tensorflow_datasets prepared imdb_reviews", "/your/tensorflow_datasets"),
    ),
    "cifar10": (
        ("an archive of your own", "/your/cifar-10-python.tar.gz"),
        ("a folder in which tensorflow_datasets prepared cifar10", "/your/tensorflow_datasets"),
    ),
    "aan": (("a folder with new_aan_pairs.{train,eval,test}.tsv", "/your/folder"),),
    "listops": (("a folder with the TSV, CSV or Parquet files", "/your/folder"),),
    "vader": (("a source distribution of your own", "/your/vaderSentiment-3.3.2.tar.gz"),),
}
"""The files or folders of the user's own that can serve as an artefact, with an example path."""

GENERATED = {"listops": (96000, 2000, 2000), "pathfinder": (160000, 20000, 20000), "pathx": (160000, 20000, 20000)}
"""Rows of the tasks that are synthetic by definition, as the Arena has them: train, dev and test."""

READERS = {"lra_release": ("listops", "retrieval", "pathfinder", "pathx"), "pathfinder_tfds": ("pathfinder",)}
"""The paper's tasks that read an artefact of the bucket."""


def ways_on(artefact: str) -> str:
    """A text that lists each alternative to a download, with the command to type."""
    ways = []
    if artefact in READERS:
        ways.append(("run the paper's scale without that bucket", f"--configfile {WITHOUT_THE_BUCKET}"))
    for task in READERS.get(artefact, (artefact,)):
        if task in GENERATED:
            like = "of nearly the same distribution" if task == "pathx" else "of the same distribution"
            ways.append((f"generate {task}, {like}", _generate(task)))
    if artefact == "lra_release":
        ways.append(("read retrieval from a copy of its three files", _data("retrieval", "source: aan")))
    if artefact in ("aan", "pathfinder_tfds"):
        task = "retrieval" if artefact == "aan" else "pathfinder"
        ways.append((f"read {task} from the Arena's release", _data(task, "source: lra_release")))
    scale = "" if artefact == "vader" else "scale=paper "
    for what, path in OWN.get(artefact, (("a file or folder", "/your/file"),)):
        ways.append((f"read {what}", f"--config {scale}'sources={{{artefact}: [{{path: {path}}}]}}'"))
    lines = "".join(f"  {what}:\n    snakemake --cores 8 {line}\n" for what, line in ways)
    return f"Ways to go on, each with the line to type:\n{lines}config.yaml may hold the same; see docs/data.md."


def _generate(task: str) -> str:
    rows = ", ".join(
        f"{split}: {count}" for split, count in zip(("train", "dev", "test"), GENERATED[task], strict=True)
    )
    return _data(task, f"source: generate, rows: {{{rows}}}")


def _data(task: str, settings: str) -> str:
    return f"--config scale=paper 'scales={{paper: {{tasks: {{{task}: {{data: {{{settings}}}}}}}}}}}'"
