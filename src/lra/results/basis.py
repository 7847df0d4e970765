"""What the numbers of a task stand on: data source, length, test examples, features and precision, in words.

Accuracy comes from runs at the configured scale, time and memory from measurements at the task's full length. Where the
two differ, everything that shows both says so.
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
"""Data sources in words; one of a user's own keeps its name."""
ARENA_SOURCES = ("lra_release", "imdb", "aan", "cifar10", "listops", "pathfinder_tfds")
"""Those that the Long Range Arena itself uses."""


@dataclass(frozen=True)
class Basis:
    """A task, and in words what its accuracies (``accuracy``) and its costs (``cost``) stand on."""

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
    """Whether accuracy and cost belong to one length and one number of features."""
    arena: bool
    """Whether the accuracies are on the Arena's data at its length."""

    @property
    def accuracy(self) -> str:
        """Such as ``generated here, up to 128 tokens, 1000 test examples``."""
        parts = (self.data, f"up to {self.length} tokens", f"{self.test_rows} test examples")
        return ", ".join(part for part in parts if "?" not in part)

    @property
    def heading(self) -> str:
        """The same, short enough to stand below a column's heading."""
        return ", ".join(part for part in (self.data, f"n ≤ {self.length}") if "?" not in part)

    @property
    def cost(self) -> str:
        """Such as ``n = 4096, d = 256``; empty where nothing was measured."""
        return "" if self.cost_length == "?" else f"n = {self.cost_length}, d = {self.cost_features}"


def bases(rows: Sequence[TableRow]) -> list[Basis]:
    """What each task's numbers stand on; ``?`` where the table does not say."""
    return [_basis([row for row in rows if row.task == task]) for task in tasks(rows)]


def _basis(rows: Sequence[TableRow]) -> Basis:
    def each(column: Callable[[TableRow], object]) -> str:
        return " or ".join(dict.fromkeys(str(value) for row in rows if (value := column(row)) is not None)) or "?"

    return Basis(
        task=task_title(rows[0].task),
        data=each(lambda row: row.data_source and SOURCES.get(row.data_source, row.data_source)),
        length=each(lambda row: row.max_length),
        train_rows=each(lambda row: row.train_rows),
        test_rows=each(lambda row: row.test_rows),
        features=each(lambda row: row.train_features),
        precision=each(lambda row: row.train_precision),
        cost_length=each(lambda row: row.cost_length),
        cost_features=each(lambda row: row.cost_features),
        cost_precision=each(lambda row: row.cost_precision),
        cost_machine=each(lambda row: row.measured_on),
        comparable=all(map(same_size, rows)),
        arena=all(row.data_source in ARENA_SOURCES and _full_length(row) for row in rows),
    )


def same_size(row: TableRow) -> bool:
    """Whether accuracy and cost of a row, if measured, belong to one padded length and one number of features."""
    return _full_length(row) and row.cost_features in (None, row.train_features)


def _full_length(row: TableRow) -> bool:
    """Whether the runs had the task's own length, which costs are measured at: padded to a power of two."""
    return row.max_length is not None and row.cost_length in (None, 1 << (row.max_length - 1).bit_length())


def accuracy_basis(rows: Sequence[TableRow]) -> str:
    """A sentence on data and attentions that accuracies come from; one on learning rates where some were tuned."""
    found = bases(rows)
    data = "; ".join(f"{basis.task}: {basis.accuracy}" for basis in found)
    features, precision = (_shared(basis.features for basis in found), _shared(basis.precision for basis in found))
    return f"Data: {data}. Trained with {features} features in {precision}.{_tuning(rows)}{_pretraining(rows)}"


def _tuning(rows: Sequence[TableRow]) -> str:
    """Of how many learning rates the rows' were chosen; empty where none was."""
    tried = dict.fromkeys(row.tuned for row in rows)
    if not any(tried):
        return ""
    some = ", but not for all rows" if None in tried else ""
    return f" Learning rates chosen on dev, of {_shared(str(tries) for tries in tried if tries)}{some}."


def _pretraining(rows: Sequence[TableRow]) -> str:
    """Which rows started from a pretraining, and what that took; empty where none did."""
    cells: dict[str, list[str]] = {}
    for row in rows:
        if row.pretrained is not None:
            took = f"{task_title(row.task)} {row.pretrained:g} steps, {row.pretrain_seconds or 0:.0f} s"
            cells.setdefault(title(row.attention), []).append(took)
    if not cells:
        return ""
    told = "; ".join(f"{name} ({', '.join(took)})" for name, took in cells.items())
    return f" Pretrained on hidden tokens of the training split, in steps and seconds that no time here counts: {told}."


def circumstances(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that say on what data and with what size of attention a run was trained and tested."""
    data = metrics.get("data_settings") or {}
    settings = metrics["settings"]
    return {
        "data_source": data.get("source"),
        "max_length": metrics.get("max_length"),
        "train_rows": data.get("rows", {}).get("train"),
        "test_rows": metrics["test_rows"],
        "train_features": settings.get("attention", {}).get("features"),
        "train_precision": settings.get("train", {}).get("precision"),
        "learning_rate": settings.get("train", {}).get("learning_rate"),
    }


def runs_basis(runs: Iterable[Run]) -> str:
    """The sentence of :func:`accuracy_basis` of runs that are not collected yet."""
    return accuracy_basis(
        [TableRow("", run.task, run.attention, "", "", 0, 0, **circumstances(run.metrics)) for run in runs]
    )


def cost_basis(rows: Sequence[TableRow]) -> str:
    """A sentence on the sizes and the machine of the measurements; empty where there are none."""
    found = [basis for basis in bases(rows) if basis.cost]
    if not found:
        return ""
    lengths = ", ".join(f"{basis.task} {basis.cost_length}" for basis in found)
    features, precision, machines = (
        _shared(texts)
        for texts in zip(*((b.cost_features, b.cost_precision, b.cost_machine) for b in found), strict=True)
    )
    sizes = f"at the length of {lengths}, with {features} features, in {precision}"
    return f"Measured alone on the machine ({machines}) {sizes}."


def _shared(texts: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(texts))
