"""Check a task of your own against the contract: ``lra check NAME``, with its name in config.yaml.

Each check looks at the first rows of the task, and returns a description of the violation, or None.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from lra.errors import LraError
from lra.tasks.contract import SPLITS, Split
from lra.tasks.own import Row, load, rows
from lra.tasks.settings.own import OwnSettings

CHECKED = 10_000
"""Rows of each split that are checked."""

Rows = Mapping[Split, list[Row]]


def violations(settings: OwnSettings, source: Path | None) -> Iterator[tuple[str, str | None]]:
    """Run every check; yields the requirement and the violation, None for a task that meets it.

    Raises:
        LraError: the function cannot be imported.
    """
    load(settings.module)
    wanted = f"The first {CHECKED} rows of each split are token ids and labels as config.yaml has them."
    try:
        found = _first_rows(settings, source)
    except LraError as problem:
        yield wanted, str(problem).removesuffix(".")
        return
    yield wanted, None
    # In another process strings have other hashes, so that sets have another order.
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        again = process.submit(_first_rows, settings, source).result()
    yield "Every process yields the same rows.", _changes(found, again)
    yield "No example is in two splits.", _shared(found)
    yield "Every label occurs in training, and no label makes up nearly all of it.", _imbalance(settings, found)


def _first_rows(settings: OwnSettings, source: Path | None) -> Rows:
    function = load(settings.module)
    return {split: list(itertools.islice(rows(settings, function, split, source), CHECKED)) for split in SPLITS}


def _changes(found: Rows, again: Rows) -> str | None:
    for split in SPLITS:
        pairs = itertools.zip_longest(map(_key, found[split]), map(_key, again[split]))
        number = next((number for number, (one, other) in enumerate(pairs) if one != other), None)
        if number is not None:
            return f"{split} row {number} differs in a second process; seed random choices, e.g. Random(split)"
    return None


def _shared(found: Rows) -> str | None:
    seen: dict[tuple[bytes, ...], tuple[Split, int]] = {}
    for split in SPLITS:
        earlier = [(number, seen[key[0]]) for number, row in enumerate(found[split]) if (key := _key(row))[0] in seen]
        if earlier:
            number, (other, place) = earlier[0]
            shared = f"{len(earlier)} of {len(found[split])} {split} rows"
            return f"an earlier split has {shared} too: row {number} is {other} row {place}"
        seen |= {_key(row)[0]: (split, number) for number, row in enumerate(found[split])}
    return None


def _imbalance(settings: OwnSettings, found: Rows) -> str | None:
    labels = [label for _, label in found["train"]]
    missing = sorted(set(range(settings.classes)) - set(labels))
    if missing:
        return f"the first {len(labels)} rows lack label {', '.join(map(str, missing))}"
    commonest = max(set(labels), key=labels.count)
    share = labels.count(commonest) / len(labels)
    return f"{share:.0%} of the first {len(labels)} have label {commonest}" if share > 0.95 else None


def _key(row: Row) -> tuple[tuple[bytes, ...], int]:
    towers, label = row
    return tuple(ids.tobytes() for ids in towers), label
