"""Options of attentions are known without running their code."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from lra.attention import METHODS, load
from lra.fingerprint import keywords


@pytest.mark.parametrize("name", METHODS)
def test_they_are_those_of_the_class(name: str) -> None:
    module, _, class_name = METHODS[name].path.partition(":")
    constructors = [cls.__init__ for cls in load(METHODS[name].path).__mro__ if cls.__module__.startswith("lra.")]
    parameters = [parameter for one in constructors for parameter in inspect.signature(one).parameters.values()]
    assert keywords(module, class_name) == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}


MINE = """
from lra.attention import Attention
from lra.attention.softmax import Softmax as Exact
from torch import nn

class Short(Attention):
    def __init__(self, temperature=1.0, *, depth, **common): pass

class Longer(Short): pass

class Fixed(Exact):
    def __init__(self, *, width): pass

class Other(nn.Module):
    def __init__(self, *, width, **rest): pass
"""
COMMON = {"heads", "head_dim", "max_length", "features", "released"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Short", {"temperature", "depth"} | COMMON),
        ("Longer", {"temperature", "depth"} | COMMON),
        ("Exact", {"dropout"} | COMMON),
        ("Fixed", {"width"}),
        ("Other", None),
        ("Nowhere", None),
    ],
)
def test_of_a_class_of_your_own(name: str, found: set[str] | None, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert keywords(str(tmp_path / "mine.py"), name) == found
    assert keywords(str(tmp_path / "nowhere.py"), name) is None
