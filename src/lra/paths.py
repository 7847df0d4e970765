"""Every path under ``data/``, ``results/`` and ``logs/``, for rules and commands; relative to the project's folder.

A part of a path may be a wildcard of Snakemake: ``run("mini", "text", "softmax", "{seed}")``.
"""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path("reference")
"""Published runs, a file each."""
DATA = Path("data")
RESULTS = Path("results")
LOGS = Path("logs")
RUNS = RESULTS / "runs"
STORE = RESULTS / "store"
"""Finished runs, each under a digest of its settings, code and data."""

LOCK = DATA / "sources" / "lock.json"
"""Checksums of the sources at first use."""
TABLE = RESULTS / "table.csv"
TABLES = RESULTS / "tables"
PLOTS = RESULTS / "plots"
REPORT = RESULTS / "report.html"
PLAN = RESULTS / "plan.md"
BENCH = RESULTS / "benchmarks" / "attention.csv"
"""Times of every configured attention's core, as the workflow measured them."""
TRIED_BENCH = RESULTS / "tries" / "bench.csv"
"""Times of a command by hand, apart from those that the workflow measures."""
CONTACT_SHEET = PLOTS / "pathfinder_examples.png"

MANIFEST = "manifest.json"
"""Checksums of a prepared task's files; without it they are not valid."""
METRICS, HISTORY, PREDICTIONS, WEIGHTS = "metrics.json", "history.csv", "predictions.parquet", "model.safetensors"
SEALED_FILES = (HISTORY, PREDICTIONS, WEIGHTS)
"""The files whose checksums ``metrics.json`` holds."""
RUN_FILES = (METRICS, *SEALED_FILES)
"""Files of a finished run."""


def source(artefact: str) -> Path:
    """A download, or a link to a file or folder of the user's own."""
    return LOCK.parent / artefact


def downloaded(artefact: str) -> Path:
    """An empty file that says that a download is there. Snakemake could not touch a link to a folder."""
    return LOCK.parent / f"{artefact}.ready"


def extracted(artefact: str) -> Path:
    """Folder of the extracted files of an archive."""
    return DATA / "extracted" / artefact


def shards(scale: str, task: str) -> Path:
    """Folder of a prepared task."""
    return DATA / scale / task


def prepared(task: str) -> list[Path]:
    """Folders of the task as it is prepared now, of every scale."""
    return sorted(manifest.parent for manifest in DATA.glob(f"*/{task}/{MANIFEST}"))


def part_name(number: int) -> str:
    """Name of a Parquet file of a split, in the split's folder."""
    return f"part-{number:05d}.parquet"


def rehearsal_shards(scale: str, task: str) -> Path:
    """Folder of random rows of a task's true length."""
    return DATA / "rehearsal" / scale / task


def cell(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of an attention's runs on a task, a folder ``seed-N`` each."""
    return results / RUNS.name / scale / task / attention


def run(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of one run of the workflow."""
    return cell(scale, task, attention) / seed_name(seed)


def tried_run(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of a run by hand, whose code and settings Snakemake does not know."""
    return RESULTS / "tries" / scale / task / attention / seed_name(seed)


def pretraining(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of the pretraining that a run starts from."""
    return pretrained_cell(scale, task, attention) / seed_name(seed)


def pretrained_cell(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of an attention's pretrainings on a task, a folder ``seed-N`` each."""
    return results / "pretrain" / scale / task / attention


def swept_cell(scale: str, name: str, results: Path = RESULTS) -> Path:
    """Folder of the sweep's runs with one batch size and learning rate, a folder ``seed-N`` each."""
    return results / "sweep" / scale / name


def swept_run(scale: str, name: str, seed: int | str) -> Path:
    """Folder of one run of the sweep."""
    return swept_cell(scale, name) / seed_name(seed)


def tuning(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of the short runs that choose a cell's learning rate, a folder ``rate-R`` each."""
    return results / "tune" / scale / task / attention


def choice(scale: str, task: str, attention: str) -> Path:
    """The learning rate that was chosen for a cell, and what was tried."""
    return tuning(scale, task, attention) / "choice.json"


def apart_run(name: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of a run from elsewhere that must not stand beside the runs of the workflow."""
    return RESULTS / "apart" / name / task / attention / seed_name(seed)


def rehearsed_run(scale: str, task: str, attention: str) -> Path:
    """Folder of a run of a few steps."""
    return RESULTS / "rehearsal" / scale / task / attention


def seed_name(seed: int | str) -> str:
    """Name of a run's folder within its cell's."""
    return f"seed-{seed}"


def measurement(task: str, attention: str, results: Path = RESULTS) -> Path:
    """The measured cost of training an attention on a task; the same at every scale."""
    return results / "measures" / task / attention / "measure.json"


def approximation(scale: str, attention: str) -> Path:
    """An attention's errors against exact attention."""
    return RESULTS / "approximation" / scale / f"{attention}.csv"


def plot(figure: str, ending: str) -> Path:
    """A figure; ``ending`` is png or svg."""
    return PLOTS / f"{figure}.{ending}"


def table(kind: str, ending: str) -> Path:
    """The table of ``kind``, such as accuracy; ``ending`` is csv, md, tex or html."""
    return TABLES / f"{kind}.{ending}"


def log(*parts: str) -> Path:
    """The log of a job, named by ``parts``."""
    return LOGS.joinpath(*parts[:-1], f"{parts[-1]}.log")
