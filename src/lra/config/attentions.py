"""The settings of each row of the table, from the list ``attentions`` of config.yaml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lra.attention.registry import ALIASES, Method, names, resolve
from lra.config.blocks import AttentionBlock, AttentionItem
from lra.config.own import find_own
from lra.config.settings import AttentionSettings
from lra.errors import LraError, nearest
from lra.fingerprint import descends, keywords

ATTENTION = {"lra.attention.Attention", "lra.attention.contract.Attention"}
"""Both full names of the base class of all attentions."""
SIZES = {"heads", "head_dim", "max_length", "features"}
"""Arguments that every attention takes; its other arguments are its options."""


def listed_attentions(items: Iterable[AttentionItem]) -> dict[str, AttentionBlock]:
    """The block of each item of the list, by name and in order; an alias is replaced by the name of its method.

    Raises:
        LraError: an attention is listed twice.
    """
    blocks: dict[str, AttentionBlock] = {}
    spellings: dict[str, str] = {}
    for item in items:
        spelling, block = (item, None) if isinstance(item, str) else next(iter(item.items()))
        name = ALIASES.get(spelling, spelling)
        if name in blocks:
            alias = next((one for one in (spelling, spellings[name]) if one != name), None)
            again = f"{alias!r} is {name!r}, which is listed too" if alias else f"{name!r} is listed twice"
            raise LraError(f"attentions: {again}; keep one.")
        blocks[name], spellings[name] = block or AttentionBlock(), spelling
    return blocks


def resolve_attentions(
    blocks: Mapping[str, AttentionBlock], features: int, folder: Path
) -> dict[str, AttentionSettings]:
    """The settings of each attention.

    Args:
        blocks: the result of :func:`listed_attentions`.
        features: the budget d of the scale.
        folder: paths of the user's own files are relative to it.

    Raises:
        LraError: an attention or an option is unknown, or a class is missing.
    """
    return {name: _resolved(name, block, features, folder) for name, block in blocks.items()}


def _resolved(name: str, block: AttentionBlock, features: int, folder: Path) -> AttentionSettings:
    """The settings of one attention."""
    where = f"attentions.{name}"
    if block.method is not None and (block.module is not None or name in names()):
        raise LraError(f"{where}.method: this name has a class already; rename the row, or leave `method` out.")
    if block.module is not None:
        method = _own_method(name, block.module, folder, f"{where}.module")
    else:
        method = _listed_method(block.method or name)
    check_options(f"{where}.options", block.options, method.path)
    options = {**method.options, **block.options}
    return AttentionSettings(name, block.features or features, options, method.path)


def _own_method(name: str, module: str, folder: Path, where: str) -> Method:
    """The user's own class, located in its source without running it."""
    if name in names():
        raise LraError(f"{where}: {name!r} already names a method of the registry; rename your own.")
    path = find_own(module, "class", folder, where)
    file, _, class_name = path.partition(":")
    if descends(file, class_name, ATTENTION) is False:
        raise LraError(f"{where}: {class_name!r} of {file} is no subclass of lra.attention.Attention.")
    return Method(path)


def _listed_method(name: str) -> Method:
    """A method of the registry or of an installed package."""
    known = names()
    if name not in [*known, *ALIASES]:
        raise LraError(
            f"attentions: unknown attention {name!r}.{nearest(name, [*known, *ALIASES])} Known: {', '.join(known)}; "
            "your own needs `module: file.py:Class`."
        )
    try:
        return resolve(name)
    except ValueError as problem:
        raise LraError(f"attentions: {problem}.") from None


def check_options(where: str, options: Mapping[str, Any], path: str | None) -> None:
    """Refuse an option that the class does not take. A class whose source does not show its options takes all.

    Args:
        where: the key in config.yaml; the message starts with it.
        options: the arguments from config.yaml.
        path: the class, ``module:Class`` or ``file.py:Class``.

    Raises:
        LraError: the class takes no such option.
    """
    module, _, class_name = (path or "").partition(":")
    known = keywords(module, class_name) if options else None
    if known is not None and (unknown := sorted(set(options) - (known := known - SIZES))):
        raise LraError(
            f"{where}: unknown key {unknown[0]!r}.{nearest(unknown[0], known)} Known: {', '.join(sorted(known))}."
        )
