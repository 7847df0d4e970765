"""All paths under ``data/``, ``results/`` and ``logs/``, for rules and commands, relative to the project's folder.

Arguments may be Snakemake wildcards: ``run("mini", "text", "softmax", "{seed}")``.
"""

from __future__ import annotations

from pathlib import Path

REFERENCE = Path("reference")
"""Published runs, one file per run."""
DATA = Path("data")
RESULTS = Path("results")
LOGS = Path("logs")
RUNS = RESULTS / "runs"
STORE = RESULTS / "store"
"""Finished runs, one folder per digest of settings, code and data."""

LOCK = DATA / "sources" / "lock.json"
"""Checksums of the downloads, pinned at first use."""
TABLE = RESULTS / "table.csv"
TABLES = RESULTS / "tables"
PLOTS = RESULTS / "plots"
REPORT = RESULTS / "report.html"
PREVIOUS = RESULTS / "previous"
"""What was made of finished runs when Snakemake last started, in case that what is made in its place fails."""
PLAN = RESULTS / "plan.md"
BENCH = RESULTS / "benchmarks" / "attention.csv"
"""Times of the attention cores, measured by the workflow."""
TRIED_BENCH = RESULTS / "tries" / "bench.csv"
"""Times measured by a command run by hand, separate from those of the workflow."""
CONTACT_SHEET = PLOTS / "pathfinder_examples.png"

MANIFEST = "manifest.json"
"""Checksums of a prepared task's files; without it the files are invalid."""
METRICS, HISTORY, PREDICTIONS, WEIGHTS = "metrics.json", "history.csv", "predictions.parquet", "model.safetensors"
SEALED_FILES = (HISTORY, PREDICTIONS, WEIGHTS)
"""Files whose checksums are in ``metrics.json``."""
RUN_FILES = (METRICS, *SEALED_FILES)
"""All files of a finished run."""


def source(artefact: str) -> Path:
    """A download, or a link to a file or folder of the user's."""
    return LOCK.parent / artefact


def downloaded(artefact: str) -> Path:
    """An empty file that marks a finished download, because Snakemake cannot touch a link to a folder."""
    return LOCK.parent / f"{artefact}.ready"


def extracted(artefact: str) -> Path:
    """Folder of the files extracted from an archive."""
    return DATA / "extracted" / artefact


def shards(scale: str, task: str) -> Path:
    """Folder of a prepared task."""
    return DATA / scale / task


def prepared(task: str) -> list[Path]:
    """Folders of the prepared task, at all scales."""
    return sorted(manifest.parent for manifest in DATA.glob(f"*/{task}/{MANIFEST}"))


def part_name(number: int) -> str:
    """Name of a Parquet file in the folder of a split."""
    return f"part-{number:05d}.parquet"


def rehearsal_shards(scale: str, task: str) -> Path:
    """Folder of random rows with the task's full length."""
    return DATA / "rehearsal" / scale / task


def cell(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of a cell's runs, with a folder ``seed-N`` per run."""
    return results / RUNS.name / scale / task / attention


def run(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of one run of the workflow."""
    return cell(scale, task, attention) / seed_name(seed)


def tried_run(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of a run by hand, which Snakemake does not manage."""
    return RESULTS / "tries" / scale / task / attention / seed_name(seed)


def pretraining(scale: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of the pretraining that a run starts from."""
    return pretrained_cell(scale, task, attention) / seed_name(seed)


def pretrained_cell(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of a cell's pretrainings, with a folder ``seed-N`` per run."""
    return results / "pretrain" / scale / task / attention


def swept_cell(scale: str, name: str, results: Path = RESULTS) -> Path:
    """Folder of the sweep's runs at one batch size and learning rate, with a folder ``seed-N`` per run."""
    return results / "sweep" / scale / name


def swept_run(scale: str, name: str, seed: int | str) -> Path:
    """Folder of one run of the sweep."""
    return swept_cell(scale, name) / seed_name(seed)


def tuning(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """Folder of the short runs that choose a cell's learning rate, a folder ``rate-R`` each."""
    return results / "tune" / scale / task / attention


def choice(scale: str, task: str, attention: str, results: Path = RESULTS) -> Path:
    """File with the chosen learning rate of a cell and all tries."""
    return tuning(scale, task, attention, results) / "choice.json"


def apart_run(name: str, task: str, attention: str, seed: int | str) -> Path:
    """Folder of a merged run that is kept separate from the runs of the workflow."""
    return RESULTS / "apart" / name / task / attention / seed_name(seed)


def rehearsed_run(scale: str, task: str, attention: str) -> Path:
    """Folder of a rehearsal, a run of a few steps."""
    return RESULTS / "rehearsal" / scale / task / attention


def seed_name(seed: int | str) -> str:
    """Name of a run's folder in the folder of its cell."""
    return f"seed-{seed}"


def measurement(task: str, attention: str, results: Path = RESULTS) -> Path:
    """Measured cost of training an attention on a task; the same at every scale."""
    return results / "measures" / task / attention / "measure.json"


def approximation(scale: str, attention: str) -> Path:
    """Approximation errors of an attention against exact attention."""
    return RESULTS / "approximation" / scale / f"{attention}.csv"


def plot(figure: str, ending: str) -> Path:
    """A figure; ``ending`` is png or svg."""
    return PLOTS / f"{figure}.{ending}"


def table(name: str, ending: str) -> Path:
    """A table: accuracy, time, memory or flops; ``ending`` is csv, md, tex or html."""
    return TABLES / f"{name}.{ending}"


def log(*parts: str) -> Path:
    """Log file of a job; ``parts`` are its folders and its name."""
    return LOGS.joinpath(*parts[:-1], f"{parts[-1]}.log")
