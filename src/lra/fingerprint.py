"""Analysis of source code without running it: a fingerprint, the defined names, the options of a class.

Snakemake sees a change of a rule's command, but not of the modules behind it. Each rule therefore carries the
fingerprint of the modules that can change its result: its root modules and the modules that these import from this
package, from their own package or from beside their file, as syntax trees without comments and docstrings.
Names and options tell a mistake in config.yaml before anything is trained.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Literal

from lra.errors import LraError

PACKAGE = Path(__file__).parent
LEFT_OUT = {"lra.attention.registry", "lra.config.sentences", "lra.paths"}
"""A run depends only on its own entry of the table of methods, which is in its settings. Messages and paths do not
change its numbers."""

TOO_DEEP = "nests too deeply, as a sum of hundreds of terms does; write such a sum as a list."


def fingerprint(*roots: str) -> str:
    """Hexadecimal digest of the code reachable from ``roots``, module names or paths of Python files."""
    files = dict(sorted((name, path) for root in roots for name, path in _reachable(root).items()))
    digest = hashlib.sha256()
    for name, path in files.items():
        digest.update(f"{name}\n{_code(path)}\n".encode())
    return digest.hexdigest()[:16]


def source_of(module: str) -> Path:
    """The source file of a module name, or the path itself where one is given.

    Raises:
        LraError: there is no such module or file.
    """
    if module.endswith(".py"):
        if not Path(module).is_file():
            raise LraError(f"the file {module!r} is not there; correct its path.")
        return Path(module)
    path = _locate(module, root=module)
    if path is None:
        raise LraError(f"there is no Python module {module!r}; give a file ending in .py or an installed module.")
    return path


def defined(module: str, kind: Literal["class", "function"]) -> set[str]:
    """Names of the classes or functions that a module or file defines or imports, found without running it.

    Raises:
        LraError: there is no such module, or it is not valid Python.
    """
    nodes = list(ast.walk(_tree(source_of(module))))
    imported = {a.asname or a.name for node in nodes if isinstance(node, ast.ImportFrom) for a in node.names}
    definition = ast.ClassDef if kind == "class" else ast.FunctionDef
    return imported | {node.name for node in nodes if isinstance(node, definition)}


def keywords(module: str, name: str) -> set[str] | None:
    """Keyword arguments of a class and its bases; None if they are unknown or arbitrary.

    The module is not run, so that a misspelt option is found before any training.
    """
    try:
        nodes = list(ast.walk(_tree(source_of(module))))
    except LraError:
        return None
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    return keywords(node.module, alias.name)
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _keywords_of(node, module)
    return None


def descends(module: str, name: str, bases: Set[str]) -> bool | None:
    """Whether a class descends from one of ``bases``, full names; None if the source alone does not show it."""
    try:
        tree = _tree(source_of(module))
    except LraError:
        return None
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    known = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    if name not in known:
        return _is_one(imported.get(name, ""), bases)
    if known[name].decorator_list:
        return None
    found = []
    for base in map(ast.unparse, known[name].bases):
        first, _, rest = base.partition(".")
        if base in known and base != name:
            found.append(descends(module, base, bases))
        else:
            full = imported.get(first, first)
            found.append(_is_one(f"{full}.{rest}" if rest else full, bases))
    return True if True in found else None if None in found else False


def _is_one(full: str, bases: Set[str]) -> bool | None:
    module, _, name = full.rpartition(".")
    if full in bases:
        return True
    if full in ("object", "ABC", "abc.ABC") or module.partition(".")[0] == "torch":
        return False
    return descends(module, name, bases) if module else None


def _keywords_of(node: ast.ClassDef, module: str) -> set[str] | None:
    found: set[str] = set()
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and method.name == "__init__":
            found = {argument.arg for argument in (*method.args.args[1:], *method.args.kwonlyargs)}
            if method.args.kwarg is None:
                return found
    for base in node.bases:
        inherited = keywords(module, base.id) if isinstance(base, ast.Name) else None
        if inherited is None:
            return None
        found |= inherited
    return found if node.bases else None


def _locate(module: str, root: str) -> Path | None:
    """The file of a module that belongs to ``root``: of this package, of its own, or beside its file; found unrun."""
    top, *rest = module.split(".")
    if top == "lra":
        places = [PACKAGE.joinpath(*rest)]
    elif root.endswith(".py"):
        places = [Path(root).parent.joinpath(top, *rest)]
    elif top == root.partition(".")[0]:
        places = [place.joinpath(*rest) for place in _installed(top)]
    else:
        return None
    files = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return next((file for file in files if file.is_file()), None)


def _installed(package: str) -> list[Path]:
    """The folders of an installed package; of a single module its file, without the ending."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # an empty name
        spec = None
    if spec is None:
        return []
    folders = spec.submodule_search_locations
    return [Path(spec.origin or package).with_suffix("")] if folders is None else [Path(folder) for folder in folders]


@functools.cache
def _reachable(root: str) -> dict[str, Path]:
    """Modules by name: the root, and the modules of its package that it imports, directly or indirectly."""
    found: dict[str, Path] = {}
    waiting = {root: source_of(root)}
    while waiting:
        name, path = waiting.popitem()
        found[name] = path
        for module in _imports(name, path):
            file = None if module in LEFT_OUT or module in found else _locate(module, root)
            if file:
                waiting[module] = file
    return {Path(name).name if name.endswith(".py") else name: path for name, path in found.items()}


@functools.cache
def _imports(module: str, path: Path) -> tuple[str, ...]:
    """The module, what it imports, and the packages around them, without the imports for type checkers."""
    return tuple(dict.fromkeys(_with_packages(module, *_imported(module, path))))


def _imported(module: str, path: Path) -> Iterator[str]:
    """Full names that a module imports, modules or not."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _running(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            name = ".".join([*above, *([node.module] if node.module else [])])
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names))


def _with_packages(*modules: str) -> Iterator[str]:
    """The modules and the packages around them, which run first; the packages of this project contain no code."""
    for module in modules:
        parts = module.split(".")
        alone = parts[0] == "lra" or module.endswith(".py")
        yield from (".".join(parts[:end]) for end in range(len(parts) if alone else 1, len(parts) + 1))


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield child
                waiting.append(child)


@functools.cache
def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file, without its docstrings."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except SyntaxError as problem:
        line = f", line {problem.lineno}" if problem.lineno else ""  # no line number if the file contains a null byte
        raise LraError(f"{path}{line}: {problem.msg}.") from None
    except ValueError as problem:
        raise LraError(f"{path} is not a Python file: {problem}.") from None
    except RecursionError:
        raise LraError(f"{path} {TOO_DEEP}") from None
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [s for s in body if not _is_text(s)] or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


@functools.cache
def _code(path: Path) -> str:
    """The file's code in a normal form, without comments, layout and docstrings."""
    try:
        return ast.unparse(_tree(path))
    except RecursionError:
        raise LraError(f"{path} {TOO_DEEP}") from None


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
