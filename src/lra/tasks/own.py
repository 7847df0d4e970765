"""A task of your own: a function that yields the examples of each split, named in config.yaml.

    def parity(split, length=32):
        random = Random(split)
        for _ in range(4000 if split == "train" else 500):
            bits = random.choices([1, 2], k=random.randint(1, length))
            yield bits, bits.count(2) % 2

The function is called once with each of "train", "dev" and "test", and with the ``options`` and the ``source`` of its
``data`` block, if it has them. It yields ``(token_ids, label)``, or ``((token_ids_1, token_ids_2), label)`` where the
task has two towers; token ids are a list, an array of NumPy, or bytes.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import reprlib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lra.attention.registry import run_file
from lra.errors import LraError, nearest
from lra.tasks.contract import SPLITS, Examples, Split, Task, list_array, record_batch
from lra.tasks.settings.own import OwnSettings as Settings

BATCH = 1024
MOST_ROWS = 1_000_000
"""The most rows of a split without ``rows``; it stops a function that yields without end."""

Ids = npt.NDArray[np.unsignedinteger]
Row = tuple[tuple[Ids, ...], int]
"""Token ids of each tower, (length,) each, and the label."""


def describe(settings: Settings) -> Task:
    """The task as config.yaml describes it; the function is not called."""
    return Task(settings.name, settings.classes, settings.vocabulary, settings.max_length, settings.towers)


def encode(settings: Settings, raw: Any) -> Ids:
    """Token ids (length,) of one sequence, given as numbers or as a string such as ``"3 1 2"``.

    Only the function knows their meaning.

    Raises:
        LraError: the sequence has no valid token ids of the task.
    """
    try:
        return _token_ids(settings, [int(word) for word in raw.split()] if isinstance(raw, str) else raw)
    except ValueError as problem:
        raise LraError(f"{settings.name} takes token ids such as 3 1 2, not {reprlib.repr(raw)} ({problem}).") from None


def examples(settings: Settings, source: Path | None, workers: int) -> Examples:
    """The three splits, as the function yields them.

    Args:
        settings: the ``data`` block.
        source: the file or folder that the function reads, if any.
        workers: unused; the function is called in this process.

    Raises:
        LraError: there is no such function, it raises, or it yields an invalid example.
    """
    function = load(settings.module)
    return {split: _batches(settings, rows(settings, function, split, source)) for split in SPLITS}


def load(module: str) -> Callable[..., Any]:
    """The function at ``path/to/file.py:function`` or ``package.module:function``.

    Raises:
        LraError: the module cannot be imported, or has no such function.
    """
    where, _, name = module.partition(":")
    try:
        loaded = run_file(Path(where), "task") if where.endswith(".py") else importlib.import_module(where)
    except Exception as problem:  # a user's module can raise anything
        raise LraError(f"{where} cannot be imported: {_told(problem, where)}.") from problem
    function = getattr(loaded, name, None)
    if not callable(function):
        raise LraError(f"{where} defines no function {name!r}.")
    return function


def rows(settings: Settings, function: Callable[..., Any], split: Split, source: Path | None) -> Iterator[Row]:
    """The checked examples of one split, as many as ``settings.rows`` asks for.

    Raises:
        LraError: the function raises or yields no example of the task; the sentence names the row, counted from 0.
    """
    wanted = getattr(settings.rows, split, None)
    number = 0
    for row in itertools.islice(_yielded(settings, function, split, source), wanted):
        if wanted is None and number == MOST_ROWS:
            raise LraError(
                f"{settings.module} yields more than {MOST_ROWS} rows for split {split!r}; if it has no end, or should "
                f"have so many, say how many to take: `rows: {{train: ..., dev: ..., test: ...}}` in the data settings "
                f"of {settings.name} in config.yaml."
            )
        try:
            yield _checked(settings, row)
        except ValueError as problem:
            raise LraError(f"{settings.module}, {split} row {number}: {problem}.") from None
        number += 1
    if not number:
        raise LraError(f"{settings.module} yields nothing for split {split!r}; it must yield {_form(settings)}.")
    if wanted and number < wanted:
        raise LraError(
            f"{settings.module} yields {number} rows for split {split!r}, but `rows` in config.yaml asks for {wanted}; "
            "ask for fewer."
        )


def _yielded(settings: Settings, function: Callable[..., Any], split: Split, source: Path | None) -> Iterator[Any]:
    """What the function yields, unchecked."""
    arguments = {**settings.options, **({} if source is None else {"source": source})}
    _check_arguments(settings, function, arguments)
    number = 0
    try:
        found = function(split, **arguments)
        if not isinstance(found, Iterable):
            raise LraError(f"{settings.module} returns {found!r} for split {split!r}; it must yield {_form(settings)}.")
        for row in found:
            yield row
            number += 1
    except LraError:
        raise
    except Exception as problem:  # a user's function can raise anything
        told = _told(problem, settings.module.partition(":")[0])
        raise LraError(f"{settings.module} failed at {split} row {number}: {told}.") from problem


def _check_arguments(settings: Settings, function: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise where config.yaml gives the function an argument that it does not take."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # of a function that is not written in Python
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_POSITIONAL][1:]
    for name in arguments:
        if name not in known:
            given = f"`{name}`" if name == "source" else f"`options: {{{name}: ...}}`"
            raise LraError(
                f"{settings.module} takes no argument {name!r}, but the data settings of {settings.name} in "
                f"config.yaml give it {given}; add the parameter, or remove the setting.{nearest(name, known)}"
            )


def _told(problem: Exception, file: str) -> str:
    """An exception in a line, with the line of the file where it came up."""
    lines = [frame.lineno for frame in traceback.extract_tb(problem.__traceback__) if frame.filename.endswith(file)]
    where = f" (line {lines[-1]})" if lines else ""
    return " ".join(f"{type(problem).__name__}: {problem}".split()) + where


def _form(settings: Settings) -> str:
    return "(token_ids, label)" if settings.towers == 1 else "((token_ids_1, token_ids_2), label)"


def _checked(settings: Settings, row: Any) -> Row:
    """Raises ValueError where it is no example of the task."""
    if not isinstance(row, tuple | list) or len(row) != 2:
        raise ValueError(f"it must be {_form(settings)}, not {reprlib.repr(row)}")
    ids, label = row
    if settings.towers == 2 and (not isinstance(ids, tuple | list) or len(ids) != 2):
        raise ValueError(f"it must be {_form(settings)}, not {reprlib.repr(row)}")
    towers = tuple(_token_ids(settings, one) for one in (ids if settings.towers == 2 else [ids]))
    if not isinstance(label, int | np.integer | np.bool):
        raise ValueError(f"label {reprlib.repr(label)} is not a whole number")
    if not 0 <= label < settings.classes:
        raise ValueError(f"label {label} is not 0 to {settings.classes - 1}; correct it, or `classes` in config.yaml")
    return towers, int(label)


def _token_ids(settings: Settings, ids: Any) -> Ids:
    """Token ids (length,) in the type they are stored in; raises ValueError where they are not the task's."""
    try:
        array = np.frombuffer(ids, np.uint8) if isinstance(ids, bytes | bytearray) else np.asarray(ids)
    except Exception:  # such as rows of different lengths
        array = np.empty(1, object)
    if array.ndim == 1 and array.size == 0:
        raise ValueError("a sequence has no token ids; leave such a row out")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"token ids must be a list of whole numbers, not {reprlib.repr(ids)}")
    if len(array) > settings.max_length:
        raise ValueError(
            f"a sequence has {len(array)} token ids, more than max_length {settings.max_length}; cut it in the "
            "function, or correct `max_length` in config.yaml"
        )
    wrong = array[(array < 0) | (array >= settings.vocabulary)]
    if wrong.size:
        raise ValueError(
            f"token id {wrong[0]} is not 0 to {settings.vocabulary - 1}; correct it, or `vocabulary` in config.yaml"
        )
    return array.astype(np.uint8 if settings.vocabulary <= 256 else np.uint16)


def _batches(settings: Settings, found: Iterator[Row]) -> Iterator[pa.RecordBatch]:
    while chunk := list(itertools.islice(found, BATCH)):
        sequences = zip(*(ids for ids, _ in chunk), strict=True)  # a tower at a time
        lists = [list_array(np.concatenate(tower), np.array([len(ids) for ids in tower])) for tower in sequences]
        yield record_batch(np.array([label for _, label in chunk]), *lists)
