"""Who may import whom, as docs/design.md draws it: never upwards, never in a circle."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lra

PACKAGE = Path(lra.__file__).parent
MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py"})

MAY_IMPORT = {
    # Single files.
    "errors": "",
    "files": "errors paths",
    "sealing": "errors files",
    "fingerprint": "errors",
    "devices": "errors files",
    "paths": "",
    "model": "attention config",
    # Rooms.
    "attention": "",
    "tasks": "attention.registry errors",
    "config": "attention.registry errors fingerprint paths tasks.description tasks.settings",
    "data": "config errors files paths tasks",
    "training": "attention.registry config data devices errors files model paths tasks",
    "cost": "attention config data devices errors files model paths sealing tasks training",
    "results": "config errors files paths sealing",
}
"""Rooms of the package (files or folders of src/lra) and what each may import besides itself.

What is not listed serves commands: it may import any room but the command line, and no room may import it."""


def name_of(path: Path) -> str:
    """``data.shards`` for src/lra/data/shards.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """What a file imports of the package, ``lra.`` left out, in functions too; not what only type checkers see."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        inside = [name.removeprefix("lra.") for name in names if name.startswith("lra.")]
        yield from (name for name in inside if name != "__version__")  # which is no room's


def within(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")


def room_of(name: str) -> str:
    return name.split(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_imported_upwards(path: Path) -> None:
    room = room_of(name_of(path))
    for name in imports(path):
        if room in MAY_IMPORT:
            allowed = any(within(name, other) for other in (room, *MAY_IMPORT[room].split()))
        else:
            allowed = not within(name, "cli") or room in ("cli", "__main__")
        assert allowed, f"lra.{name_of(path)} must not import lra.{name}"


def test_rooms_form_no_circle() -> None:
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        room = room_of(name_of(path))
        graph.setdefault(room, set()).update({room_of(name) for name in imports(path)} - {room})
    assert list(graphlib.TopologicalSorter(graph).static_order())
    assert set(MAY_IMPORT) <= set(graph)


@pytest.mark.parametrize("module", ["lra.cli.main", "lra.config.arena", "lra.attention"])
def test_the_command_line_loads_nothing_heavy(module: str) -> None:
    """Snakemake and `lra --help` import these."""
    heavy = "{'torch', 'pyarrow', 'pandas', 'scipy', 'matplotlib', 'tensorflow'}"
    code = f"import sys, {module}; print(*({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent).stdout == "\n"
