"""Published runs: ``reference/<scale>/<task>/<attention>/seed-<n>.json``, one file per run.

A file contains the run's sealed ``metrics.json``, the lines of its ``history.csv``, whether each test example was
answered correctly (see :func:`lra.results.reference.unpack_answers`), and the run's provenance. Metrics and history
keep the run's own checksums, which reveal edits.
"""

from __future__ import annotations

import base64
import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
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
from lra.results.reading import RESULT_KEYS, Run
from lra.results.reference import unpack_answers
from lra.sharing.checkout import ROOT, clean_commit
from lra.sharing.foreign_runs import (
    FOLDER_NAME,
    FOREIGN_RUN_KEYS,
    MAX_TEST_ROWS,
    Places,
    is_pretraining,
    read_complete_run,
    refuse_invalid_metrics,
)
from lra.sharing.preliminaries import (
    Tuning,
    read_tuning,
    refuse_contradictory_tuning,
    refuse_other_pretraining,
    refuse_other_tuning,
)
from lra.training.run_folder import WITHOUT_WEIGHTS
from lra.training.store import ORIGIN

MIN_AGREEMENT = 0.999
"""Minimum share of test examples on which rescored weights must agree with the published answers."""
MEASURED_KEYS = {
    "train_seconds": float | int, "compile_seconds": float | int, "data_seconds": float | int,
    "evaluation_seconds": float | int, "wall_seconds": float | int, "started": str, "data_settings": dict,
}  # fmt: skip
"""Keys that the metrics of a published run must have too, with their types."""
MACHINE_KEYS = ("device", "threads", "python", "system", "torch", "numpy", "pyarrow", "deterministic")
"""Keys that the entry ``machine`` of a published run must have."""

Name = Annotated[str, Field(pattern=f"^{FOLDER_NAME.pattern}$", max_length=100)]
Line = Annotated[str, Field(max_length=400)]


@dataclass(frozen=True)
class Provenance:
    """Provenance of a run that its metrics do not record."""

    commit: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """Commit of the code."""
    dirty: bool
    """Whether files differed from the commit."""
    requirements: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """SHA-256 of requirements.txt."""
    by: Annotated[str, Field(min_length=1, max_length=200)]
    """Person or group that ran it."""
    published: Annotated[str, Field(max_length=40)]
    """Time of publication, ISO 8601, UTC."""
    merged: bool
    """Whether the run was trained in another arena than the one that published it."""


@dataclass(frozen=True)
class Publication:
    """A published run, as in its file."""

    format: Annotated[int, Field(ge=1, le=1)]
    scale: Name
    metrics: Mapping[str, Any]
    history: Annotated[tuple[Line, ...], Field(min_length=1, max_length=100_000)]
    correct: Annotated[str, Field(max_length=MAX_TEST_ROWS // 6 + 4)]
    provenance: Provenance
    tuning: Tuning | None = None
    """How the learning rate was chosen; None if it was given."""
    checksum: str = ""

    @property
    def run(self) -> Run:
        """The metrics as a :class:`~lra.results.reading.Run`, without files."""
        return Run(REFERENCE, dict(self.metrics))

    @property
    def file(self) -> Path:
        """Path of its file, relative to ``reference/``."""
        return Path(self.scale, self.run.task, self.run.attention, f"{paths.seed_name(self.metrics['seed'])}.json")

    def answers(self) -> npt.NDArray[np.bool_]:
        """Whether each test example was answered correctly, booleans of shape (examples,)."""
        return unpack_answers(self.correct, self.metrics["test_rows"])

    def identity(self) -> tuple[Any, ...]:
        """Settings without the seed, those of tuning, code and data: the same for all seeds of a cell."""
        settings = {name: value for name, value in self.metrics["settings"].items() if name != "seed"}
        tuned = self.tuning.protocol() if self.tuning else None
        return settings, tuned, self.metrics["code"], self.metrics["data"]


def read_publication(path: Path) -> Publication:
    """Read a published run and check all that its file allows to check.

    Raises:
        LraError: the file is no publication, was edited, or contradicts itself.
    """
    content = read_json(path)
    published = from_mapping(Publication, content, str(path))
    if content.get("checksum") != checksum_of(content):
        raise LraError(f"{path} was edited: its checksum differs.")
    if published.provenance.dirty:
        raise LraError(f"{path}: files differed from the commit, a dirty checkout; publish from a clean one.")
    metrics = dict(published.metrics)
    check_metrics(metrics, FOREIGN_RUN_KEYS | RESULT_KEYS | MEASURED_KEYS, path)
    refuse_invalid_metrics(metrics, path)
    _refuse_unpublishable(metrics, path)
    refuse_other_pretraining(metrics, path)
    refuse_contradictory_tuning(published.tuning, metrics, path)
    if missing := [name for name in MACHINE_KEYS if name not in metrics["machine"]]:
        raise LraError(f"{path}: its machine has no {missing[0]!r}.")
    if not all(map(math.isfinite, _numbers(content))):
        raise LraError(f"{path} contains a value that is not a finite number.")
    history = "".join(f"{line}\n" for line in published.history)
    if hashlib.sha256(history.encode()).hexdigest() != metrics["files"].get(paths.HISTORY):
        raise LraError(f"{path}: its history does not match its checksum.")
    try:
        accuracy = float(published.answers().mean())
    except ValueError:
        accuracy = math.nan
    if not abs(accuracy - metrics["test_accuracy"]) <= 1e-9:
        raise LraError(f"{path}: its answers do not match its accuracy.")
    return published


def read_reference(folder: Path = REFERENCE) -> list[Publication]:
    """Read all published runs.

    Raises:
        LraError: a file is damaged, has the wrong path, or differs from others of its cell in more than the seed.
    """
    publications = []
    cells: dict[Path, tuple[Path, Publication]] = {}
    for path in sorted(folder.rglob("*.json")):
        published = read_publication(path)
        if path.relative_to(folder) != published.file:
            raise LraError(f"{path} belongs at {folder / published.file}; move it there.")
        first, other = cells.setdefault(published.file.parent, (path, published))
        if other.identity() != published.identity():
            raise LraError(f"{path} and {first} differ in settings, code or data and cannot be averaged; remove one.")
        publications.append(published)
    return publications


def publish(folder: Path, config: Sequence[str], by: str, reference: Path = REFERENCE) -> Path:
    """Publish a finished run of this arena.

    Args:
        folder: the run's folder.
        config: files and settings of this arena, config.yaml if empty; one of its scales must have the run's settings.
        by: person or group that ran it.
        reference: folder of publications.

    Returns:
        The file that was written.

    Raises:
        LraError: the run is damaged, unfinished, edited or incomplete, was trained by other code or on other data, or
            the checkout has uncommitted changes.
    """
    run = read_complete_run(folder)
    path = folder / paths.METRICS
    _refuse_unpublishable(run.metrics, path)
    if WITHOUT_WEIGHTS in run.metrics or not (folder / paths.WEIGHTS).is_file():
        raise LraError(f"{folder} has no weights; publish the run on the machine that has them.")
    place = Places(config).find(run)
    if place.code != run.metrics["code"]:
        raise LraError(f"{folder} was trained by other code than this; check out the commit that trained it.")
    if place.data not in (None, run.metrics["data"]):
        raise LraError(f"{folder} was trained on other examples than {paths.shards(place.scale, run.task)} holds.")
    tuning = read_tuning(place)
    refuse_other_tuning(tuning, run.metrics, place, folder)
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
        tuning=tuning,
    )
    with tempfile.TemporaryDirectory() as temporary:
        write_json(file := Path(temporary, "published.json"), sealed(asdict(content)))
        return _copy_to_reference(file, reference)


def accept(path: Path, config: Sequence[str], reference: Path = REFERENCE) -> tuple[Path, float | None]:
    """Check a publication of someone else and copy it to the reference results.

    Args:
        path: the file; weights with the same name and the suffix .safetensors are scored again.
        config: files and settings of this arena, config.yaml if empty; one of its scales must have the run's settings.
        reference: folder of publications.

    Returns:
        The file that was written, and the share of test examples on which the weights agree; None without weights.

    Raises:
        LraError: the file is damaged or edited, has other settings, its weights give other answers, or it differs from
            others of its cell in more than the seed.
    """
    published = read_publication(path)
    place = Places(config).find(published.run)
    if place.scale != published.scale:
        raise LraError(f"{path}: its settings are those of the scale {place.scale}, not {published.scale}.")
    refuse_other_tuning(published.tuning, published.metrics, place, path)
    agreement = None
    if (weights := path.with_suffix(".safetensors")).is_file():
        agreement = _rescore(published, weights)
        if agreement < MIN_AGREEMENT:
            raise LraError(f"{weights} agrees with {path.name} on only {agreement:.1%} of the test examples.")
    return _copy_to_reference(path, reference), agreement


def _rescore(published: Publication, weights: Path) -> float:
    """Share of test examples on which the weights agree with the published answers."""
    from lra.training.run import score_run

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_json(folder / paths.METRICS, dict(published.metrics))
        write_text(folder / paths.HISTORY, "".join(f"{line}\n" for line in published.history))
        shutil.copyfile(weights, folder / paths.WEIGHTS)
        _, [score] = score_run(folder, paths.shards(published.scale, published.run.task), "test")
    return float(((score.label == score.prediction) == published.answers()).mean())


def _copy_to_reference(path: Path, reference: Path) -> Path:
    """Copy a publication to its path in ``reference``, which is returned."""
    published = read_publication(path)
    target = reference / published.file
    if target.exists():
        raise LraError(f"{target} exists already; delete it first to replace it.")
    for other in sorted(target.parent.glob("*.json")):
        if read_publication(other).identity() != published.identity():
            raise LraError(f"{target} would differ from {other} in settings, code or data; delete the older first.")
    write_json(target, read_json(path))
    return target


def _refuse_unpublishable(metrics: Mapping[str, Any], path: Path) -> None:
    if is_pretraining(metrics):
        raise LraError(f"{path}: a pretraining has no row in a table; publish the run that starts from it.")
    check_metrics(dict(metrics), MEASURED_KEYS, path)
    if metrics["status"] != "ok":
        raise LraError(f"{path}: the run ended as {metrics['status']}; only runs with results are published.")
    if metrics["max_steps"] is not None:
        raise LraError(f"{path}: the run was cut short at {metrics['max_steps']} steps.")


def _numbers(content: Any) -> Iterator[float]:
    """All numbers of nested JSON content."""
    if isinstance(content, Mapping):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, int | float):
        yield content
