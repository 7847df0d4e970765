"""The data and sizes behind a task's numbers, in words: data source, length, test examples, features and precision.

Accuracy comes from runs at the configured scale. Time and memory come from measurements at the task's full length. If
the sizes differ, every table and figure that shows both says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lra.results.published import task_title, title
from lra.results.reading import Run
from lra.results.rows import TableRow, tasks

SOURCES = {
    "generate": "generated here",
    "listops": "a copy of the Arena's ListOps",
    "pathfinder_tfds": "the Arena's Pathfinder files",
    "vader": "snippets of the vaderSentiment package",
    "sklearn_digits": "digit scans of scikit-learn",
    "lra_release": "the Arena's release",
    "imdb": "IMDb reviews",
    "aan": "ACL Anthology Network",
    "cifar10": "CIFAR-10",
}
"""Data sources in words; a source of the user's keeps its name."""
ARENA_SOURCES = ("lra_release", "imdb", "aan", "cifar10", "listops", "pathfinder_tfds")
"""The sources that the Long Range Arena itself uses."""


@dataclass(frozen=True)
class Basis:
    """The data and sizes behind a task's accuracies (``accuracy``) and costs (``cost``), as texts for the reader.

    A text is ``?`` if the table has no value.
    """

    task: str
    data: str
    length: str
    train_rows: str
    test_rows: str
    features: str
    precision: str
    cost_length: str
    cost_features: str
    cost_precision: str
    cost_machine: str
    comparable: bool
    """Whether accuracy and cost have the same length and number of features."""
    arena: bool
    """Whether the accuracies come from the Arena's data at its length."""

    @property
    def accuracy(self) -> str:
        """Such as ``generated here, up to 128 tokens, 1000 test examples``."""
        parts = (self.data, f"up to {self.length} tokens", f"{self.test_rows} test examples")
        return ", ".join(part for part in parts if "?" not in part)

    @property
    def heading(self) -> str:
        """Data and length, short enough to stand below a column's heading."""
        return ", ".join(part for part in (self.data, f"n ≤ {self.length}") if "?" not in part)

    @property
    def cost(self) -> str:
        """Such as ``n = 4096, d = 256``; empty if nothing was measured."""
        return "" if self.cost_length == "?" else f"n = {self.cost_length}, d = {self.cost_features}"


def bases(rows: Sequence[TableRow]) -> list[Basis]:
    """The basis of each task, in the order of the table."""
    return [_basis([row for row in rows if row.task == task]) for task in tasks(rows)]


def _basis(rows: Sequence[TableRow]) -> Basis:
    def values(column: Callable[[TableRow], object]) -> str:
        return _distinct(str(value) for row in rows if (value := column(row)) is not None) or "?"

    return Basis(
        task=task_title(rows[0].task),
        data=values(lambda row: row.data_source and SOURCES.get(row.data_source, row.data_source)),
        length=values(lambda row: row.max_length),
        train_rows=values(lambda row: row.train_rows),
        test_rows=values(lambda row: row.test_rows),
        features=values(lambda row: row.train_features),
        precision=values(lambda row: row.train_precision),
        cost_length=values(lambda row: row.cost_length),
        cost_features=values(lambda row: row.cost_features),
        cost_precision=values(lambda row: row.cost_precision),
        cost_machine=values(lambda row: row.measured_on),
        comparable=all(map(same_size, rows)),
        arena=all(row.data_source in ARENA_SOURCES and _full_length(row) for row in rows),
    )


def same_size(row: TableRow) -> bool:
    """Whether a row's accuracy and its cost, if measured, have the same padded length and number of features."""
    return _full_length(row) and row.cost_features in (None, row.train_features)


def _full_length(row: TableRow) -> bool:
    """Whether the runs had the task's full length. Costs are measured at this length, padded to a power of two."""
    return row.max_length is not None and row.cost_length in (None, 1 << (row.max_length - 1).bit_length())


def accuracy_basis(rows: Sequence[TableRow]) -> str:
    """Sentences on the data, features and precision of the accuracies, and on tuning and pretraining if used."""
    task_bases = bases(rows)
    data = "; ".join(f"{basis.task}: {basis.accuracy}" for basis in task_bases)
    features = _distinct(basis.features for basis in task_bases)
    precision = _distinct(basis.precision for basis in task_bases)
    return f"Data: {data}. Trained with {features} features in {precision}.{_tuning(rows)}{_pretraining(rows)}"


def _tuning(rows: Sequence[TableRow]) -> str:
    """A sentence on how many learning rates were tried for each row; empty if none was tuned."""
    counts = dict.fromkeys(row.tuned for row in rows)
    if not any(counts):
        return ""
    untuned = "; some rows were not tuned" if None in counts else ""
    tried = _distinct(str(count) for count in counts if count)
    return f" Learning rates are the best on dev of {tried} tried{untuned}."


def _pretraining(rows: Sequence[TableRow]) -> str:
    """A sentence on the rows that started from a pretraining, with its steps and time; empty if none did."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        if row.pretrained is not None:
            cost = f"{task_title(row.task)} {row.pretrained:g} steps, {row.pretrain_seconds or 0:.0f} s"
            cells.setdefault(title(row.attention), []).append(cost)
    if not cells:
        return ""
    listed = "; ".join(f"{name} ({', '.join(costs)})" for name, costs in cells.items())
    return f" Pretrained on hidden tokens of the training split; the times here leave this out: {listed}."


def training_columns(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The table's columns on a run's data, number of features, precision and learning rate."""
    data = metrics.get("data_settings") or {}
    settings = metrics["settings"]
    return {
        "data_source": data.get("source"),
        "max_length": metrics.get("max_length"),
        "train_rows": (data.get("rows") or data.get("expected_rows") or {}).get("train"),
        "test_rows": metrics["test_rows"],
        "train_features": settings.get("attention", {}).get("features"),
        "train_precision": settings.get("train", {}).get("precision"),
        "learning_rate": settings.get("train", {}).get("learning_rate"),
    }


def runs_basis(runs: Iterable[Run]) -> str:
    """The sentences of :func:`accuracy_basis`, for runs that are not in a table yet."""
    return accuracy_basis(
        [TableRow("", run.task, run.attention, "", "", 0, 0, **training_columns(run.metrics)) for run in runs]
    )


def cost_basis(rows: Sequence[TableRow]) -> str:
    """A sentence on the sizes and the machine of the measurements; empty if nothing was measured."""
    measured = [basis for basis in bases(rows) if basis.cost]
    if not measured:
        return ""
    lengths = ", ".join(f"{basis.task} {basis.cost_length}" for basis in measured)
    features, precision, machines = (
        _distinct(texts)
        for texts in zip(*((b.cost_features, b.cost_precision, b.cost_machine) for b in measured), strict=True)
    )
    sizes = f"at length n ({lengths}) with {features} features in {precision}"
    return f"Measured alone on the machine ({machines}) {sizes}."


def _distinct(texts: Iterable[str]) -> str:
    """The distinct texts, joined by ``or``."""
    return " or ".join(dict.fromkeys(texts))
