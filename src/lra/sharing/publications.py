"""Published runs: ``reference/<scale>/<task>/<attention>/seed-<n>.json``, one file a run.

A file holds the run's sealed ``metrics.json``, the lines of its ``history.csv``, whether each test example was answered
correctly (a bit each, the first the highest of its byte, base64) and where all of it comes from. Metrics and history
keep the checksums that the run gave them, so that the file shows what was edited.
"""

from __future__ import annotations

import base64
import hashlib
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from lra import paths
from lra.config.mapping import from_mapping
from lra.errors import LraError
from lra.files import check_metrics, read_json, sealed, sha256, write_json, write_text
from lra.files import checksum as checksum_of
from lra.paths import REFERENCE
from lra.results.reading import RESULTS, Run
from lra.results.reference import unpack_answers
from lra.sharing.found import MOST_ROWS, NAME, NEEDED_HERE, Places, read_whole, refuse_impossible
from lra.training.run_folder import WITHOUT_WEIGHTS
from lra.training.store import ORIGIN

ROOT = Path(__file__).parents[3]
"""The checkout."""
AGREEMENT = 0.999
"""Share of test examples on which weights that are scored again must be right and wrong as published."""
MEASURED = {
    "train_seconds": float | int, "compile_seconds": float | int, "data_seconds": float | int,
    "evaluation_seconds": float | int, "wall_seconds": float | int, "started": str, "data_settings": dict,
}  # fmt: skip
"""What a published run must say besides its results."""
MACHINE = ("device", "threads", "python", "system", "torch", "numpy", "pyarrow", "deterministic")

Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$", max_length=100)]
Line = Annotated[str, Field(max_length=400)]


@dataclass(frozen=True)
class Provenance:
    """Where a run comes from, besides what its metrics say of machine, code and data."""

    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """The commit that the run's code is of."""
    dirty: bool
    """Whether files differed from it."""
    requirements: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of its requirements.txt."""
    by: Annotated[str, Field(min_length=1, max_length=200)]
    """Who ran it."""
    published: Annotated[str, Field(max_length=40)]
    """When it was published."""
    merged: bool
    """Whether the run came into the arena that published it from another one."""


@dataclass(frozen=True)
class Publication:
    """A published run."""

    format: Annotated[int, Field(ge=1, le=1)]
    scale: Name
    metrics: Mapping[str, Any]
    history: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100_000)]
    correct: Annotated[str, Field(max_length=MOST_ROWS // 6 + 4)]
    provenance: Provenance
    checksum: str = ""

    @property
    def run(self) -> Run:
        """Its metrics as those of a run."""
        return Run(REFERENCE, dict(self.metrics))

    @property
    def file(self) -> Path:
        """Where it belongs below ``reference/``."""
        return Path(self.scale, self.run.task, self.run.attention, f"{paths.seed_name(self.metrics['seed'])}.json")

    def answers(self) -> npt.NDArray[np.bool_]:
        """Whether each test example was answered correctly, (examples,)."""
        return unpack_answers(self.correct, self.metrics["test_rows"])

    def identity(self) -> tuple[Any, ...]:
        """What the seeds of a cell must share."""
        settings = {name: value for name, value in self.metrics["settings"].items() if name != "seed"}
        return settings, self.metrics["code"], self.metrics["data"]


def read_publication(path: Path) -> Publication:
    """A published run, checked as far as the file itself allows.

    Raises:
        LraError: it is none, was edited, or its accuracy is not that of its answers.
    """
    content = read_json(path)
    published = from_mapping(Publication, content, str(path))
    if content.get("checksum") != checksum_of(content):
        raise LraError(f"{path} was edited: its checksum differs.")
    if published.provenance.dirty:
        raise LraError(f"{path}: files differed from the commit, a dirty checkout; publish from a clean one.")
    metrics = dict(published.metrics)
    check_metrics(metrics, NEEDED_HERE | RESULTS | MEASURED, path)
    refuse_impossible(metrics, path)
    _refuse_unfit(metrics, path)
    if missing := [name for name in MACHINE if name not in metrics["machine"]]:
        raise LraError(f"{path}: machine says no {missing[0]!r}.")
    if not all(map(math.isfinite, _numbers(content))):
        raise LraError(f"{path} holds what is no number.")
    if _sha256("".join(f"{line}\n" for line in published.history)) != metrics["files"].get(paths.HISTORY):
        raise LraError(f"{path}: its history is not the run's.")
    try:
        accuracy = float(published.answers().mean())
    except ValueError:
        accuracy = math.nan
    if not abs(accuracy - metrics["test_accuracy"]) <= 1e-9:
        raise LraError(f"{path}: its answers do not give its accuracy.")
    return published


def read_reference(folder: Path = REFERENCE) -> list[Publication]:
    """Every published run.

    Raises:
        LraError: one is damaged, lies in another's place, or differs from others of its cell in more than the seed.
    """
    found = []
    cells: dict[Path, tuple[Path, Publication]] = {}
    for path in sorted(folder.rglob("*.json")):
        published = read_publication(path)
        if path.relative_to(folder) != published.file:
            raise LraError(f"{path} belongs to {folder / published.file}.")
        first, other = cells.setdefault(published.file.parent, (path, published))
        if other.identity() != published.identity():
            raise LraError(f"{path} and {first} differ in settings, code or data; no mean is taken of both.")
        found.append(published)
    return found


def publish(folder: Path, config: Path, by: str, reference: Path = REFERENCE) -> Path:
    """Publish a finished run of this arena.

    Args:
        folder: the run's folder.
        config: the configuration, of which a scale must ask for the run.
        by: who ran it.
        reference: folder of publications.

    Returns:
        The file that was written.

    Raises:
        LraError: the run is damaged, unfinished, edited or incomplete, was trained by other code or from other data, or
            the checkout has changes that no commit has.
    """
    run = read_whole(folder)
    path = folder / paths.METRICS
    _refuse_unfit(run.metrics, path)
    if WITHOUT_WEIGHTS in run.metrics or not (folder / paths.WEIGHTS).is_file():
        raise LraError(f"{folder} has no weights; publish the run where they are.")
    place = Places(config).of(run)
    if place.code != run.metrics["code"]:
        raise LraError(f"{folder} was trained by other code than this; check out the commit that trained it.")
    if place.data not in (None, run.metrics["data"]):
        raise LraError(f"{folder} was trained on other examples than {paths.shards(place.scale, run.task)} holds.")
    label, prediction = run.predictions()
    content = Publication(
        format=1,
        scale=place.scale,
        metrics=run.metrics,
        history=tuple((folder / paths.HISTORY).read_text(encoding="utf-8").splitlines()),
        correct=base64.b64encode(np.packbits(label == prediction).tobytes()).decode(),
        provenance=Provenance(
            commit=clean_commit(),
            dirty=False,
            requirements=sha256(ROOT / "requirements.txt"),
            by=by,
            published=datetime.now(UTC).isoformat(timespec="seconds"),
            merged=(paths.STORE / run.metrics["key"] / ORIGIN).is_file(),
        ),
    )
    with tempfile.TemporaryDirectory() as temporary:
        write_json(file := Path(temporary, "published.json"), sealed(asdict(content)))
        return _put(file, reference)


def accept(path: Path, config: Path, reference: Path = REFERENCE) -> tuple[Path, float | None]:
    """Take a publication of someone else.

    Args:
        path: the file; weights of the same name that ends in .safetensors are scored again.
        config: the configuration, of which a scale must ask for the run.
        reference: folder of publications.

    Returns:
        The file that was written, and the share of test examples on which the weights agree; None without weights.

    Raises:
        LraError: it is damaged or edited, has other settings, its weights answer otherwise, or it does not go with the
            others of its cell.
    """
    published = read_publication(path)
    place = Places(config).of(published.run)
    if place.scale != published.scale:
        raise LraError(f"{path}: its settings are those of the scale {place.scale}, not {published.scale}.")
    agreement = None
    if (weights := path.with_suffix(".safetensors")).is_file():
        agreement = _scored_again(published, weights)
        if agreement < AGREEMENT:
            raise LraError(f"{weights} agrees with {path.name} on {agreement:.1%} of the test examples only.")
    return _put(path, reference), agreement


def _scored_again(published: Publication, weights: Path) -> float:
    from lra.training.run import score_run

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_json(folder / paths.METRICS, dict(published.metrics))
        write_text(folder / paths.HISTORY, "".join(f"{line}\n" for line in published.history))
        shutil.copyfile(weights, folder / paths.WEIGHTS)
        _, [score] = score_run(folder, paths.shards(published.scale, published.run.task), "test")
    return float(((score.label == score.prediction) == published.answers()).mean())


def _put(path: Path, reference: Path) -> Path:
    """Copy a publication to where it belongs."""
    published = read_publication(path)
    target = reference / published.file
    if target.exists():
        raise LraError(f"{target} is there already; delete it first to replace it.")
    for other in sorted(target.parent.glob("*.json")):
        if read_publication(other).identity() != published.identity():
            raise LraError(f"{target} would differ from {other} in settings, code or data; delete the older first.")
    write_json(target, read_json(path))
    return target


def _refuse_unfit(metrics: Mapping[str, Any], path: Path) -> None:
    check_metrics(dict(metrics), MEASURED, path)
    if metrics["status"] != "ok":
        raise LraError(f"{path}: the run ended as {metrics['status']}; only results are published.")
    if metrics["max_steps"] is not None:
        raise LraError(f"{path}: the run was cut short at {metrics['max_steps']} steps.")


def clean_commit(root: Path = ROOT) -> str:
    """The checkout's commit.

    Raises:
        LraError: it is no Git checkout, or files differ from the commit, those of publications aside.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":!reference", ":!docs/reference.md").splitlines()
        commit = git("rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError) as problem:
        raise LraError(f"{root} is no Git checkout, so nobody could tell what trained the run.") from problem
    if changed:
        raise LraError(f"{root} has changes that no commit has ({changed[0].strip()}); commit or stash them first.")
    return commit


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, int | float):
        yield content


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
