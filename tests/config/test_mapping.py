"""Settings from YAML or JSON: what is wrong is told with the key that is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from lra.config.mapping import as_mapping, from_mapping
from lra.errors import LraError


@dataclass(frozen=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True)
class Outer:
    rows: int
    kind: Literal["one", "two"] = "one"
    unit: Literal["s"] = "s"
    name: str | None = None
    sizes: tuple[int, ...] = ()
    flag: bool = False
    inner: Inner = Inner()


def test_there_and_back() -> None:
    values = {"rows": 3, "kind": "two", "unit": "s", "name": None, "sizes": [1, 2], "flag": True, "inner": {"share": 1}}
    outer = from_mapping(Outer, values, "block")
    assert outer == Outer(3, "two", "s", None, (1, 2), True, Inner(1.0))
    assert isinstance(outer.inner.share, float)
    assert from_mapping(Outer, as_mapping(outer), "block") == outer
    assert "rows" not in as_mapping(outer, leave_out="rows")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "block: 'rows' is missing."),
        ({"rows": 1.5}, "block.rows: 1.5 is not a whole number."),
        ({"rows": True}, "block.rows: True is not a whole number."),
        ({"rows": 1, "flag": 1}, "block.flag: 1 is not true or false."),
        ({"rows": 1, "name": 2}, "block.name: 2 is not a text or empty."),
        ({"rows": 1, "kind": "three"}, "block.kind: 'three' is not one of one, two."),
        ({"rows": 1, "unit": "ms"}, "block.unit: 'ms' is not one of s. Did you mean 's'?"),
        ({"rows": 1, "sizes": [1, "x"]}, "block.sizes.1: 'x' is not a whole number."),
        ({"rows": 1, "inner": {"share": "half"}}, "block.inner.share: 'half' is not a number."),
        ({"rows": 1, "inner": 3}, "block.inner: 3 is not a block of settings (share)."),
        (
            {"row": 1},
            "block: unknown key 'row'. Did you mean 'rows'? Known: rows, kind, unit, name, sizes, flag, inner.",
        ),
    ],
)
def test_a_mistake(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(LraError) as caught:
        from_mapping(Outer, values, "block")
    assert str(caught.value) == sentence
