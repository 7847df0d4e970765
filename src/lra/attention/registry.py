"""The table of methods, and how names become attentions. A run depends on its own entry, not on the whole file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lra.attention.contract import Attention


@dataclass(frozen=True)
class Method:
    """Where a class is, ``module:Class`` or ``path/to/file.py:Class``, and the options that make it this row."""

    path: str
    options: dict[str, Any] = field(default_factory=dict)


METHODS = {
    "softmax": Method("lra.attention.softmax:Softmax", {"dropout": 0.1}),
    "softmax_nodropout": Method("lra.attention.softmax:Softmax", {"dropout": 0.0}),
    "vmean": Method("lra.attention.vmean:VMean"),
    "bigbird": Method("lra.attention.bigbird:BigBird"),
    "performer": Method("lra.attention.performer:Performer"),
    "nystrom": Method("lra.attention.nystrom:Nystrom"),
    "reformer": Method("lra.attention.reformer:Reformer"),
    "linformer": Method("lra.attention.linformer:Linformer"),
    "linformer_jlt": Method("lra.attention.linformer:LinformerJLT"),
    "informer": Method("lra.attention.informer:Informer"),
    "informer_mask": Method("lra.attention.informer:InformerMask"),
    "skeinformer": Method("lra.attention.skeinformer:Skeinformer"),
    "skein_uniform": Method("lra.attention.skeinformer:SkeinUniform"),
    "skein_nonorm": Method("lra.attention.skeinformer:SkeinNoNorm"),
    "skein_simplenorm": Method("lra.attention.skeinformer:SkeinSimpleNorm"),
    "skein_nopilot": Method("lra.attention.skeinformer:SkeinNoPilot"),
    # Not among the paper's rows.
    "local": Method("lra.attention.local:Local"),
    "longformer": Method("lra.attention.longformer:Longformer"),
    "sparse": Method("lra.attention.sparse:Sparse"),
    "linear": Method("lra.attention.linear:Linear"),
    "sinkhorn": Method("lra.attention.sinkhorn:Sinkhorn"),
    "synthesizer": Method("lra.attention.synthesizer:Synthesizer", {"kind": "random"}),
    "luna": Method("lra.attention.luna:Luna"),
    "skyformer": Method("lra.attention.skyformer:Skyformer"),
    "cosformer": Method("lra.attention.cosformer:CosFormer"),
    "fnet": Method("lra.attention.fnet:FNet"),
    "hierarchical": Method("lra.attention.hierarchical:Hierarchical"),
    # Yardsticks from outside attention.
    "retention": Method("lra.attention.retention:Retention"),
    "s4d": Method("lra.attention.s4d:S4D"),
}

ALIASES = {
    "perfromer": "performer",
    "nystromformer": "nystrom",
    "softmaxnodropout": "softmax_nodropout",
    "informermask": "informer_mask",
}
"""The spellings of the paper's released code."""


def names() -> list[str]:
    """All methods by name, in the order of the paper's table, then those of installed packages."""
    return list(METHODS) + sorted(_plugins(tuple(sys.path)).keys() - METHODS.keys())


@cache
def _plugins(path: tuple[str, ...]) -> dict[str, str]:
    """The entry points of packages on ``sys.path``, which is read once: that takes 25 ms."""
    return {plugin.name: plugin.value for plugin in entry_points(group="lra.attention")}


def resolve(name: str) -> Method:
    """The method of this name, alias, installed entry point, or ``module:Class`` path.

    Raises:
        ValueError: there is none (the message names the nearest match), or there are two.
    """
    if ":" in name:
        return Method(name)
    plugins = _plugins(tuple(sys.path))
    own = ALIASES.get(name, name)
    if own in METHODS:
        if taken := {name, own} & set(plugins):
            clash = taken.pop()
            raise ValueError(
                f"{clash!r} is a method of lra and also the entry point of an installed package, {plugins[clash]}; "
                "rename that entry point or uninstall its package"
            )
        return METHODS[own]
    if name in plugins:
        return Method(plugins[name])
    near = difflib.get_close_matches(name, [*names(), *ALIASES], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"unknown attention {name!r}{hint} Known: {', '.join(names())}")


def load(path: str) -> type[Attention]:
    """The class at ``package.module:Class`` or ``path/to/file.py:Class``.

    Raises:
        ValueError: the path leads to no attention, or its module cannot be imported.
    """
    from lra.attention.contract import Attention  # needs torch, which the table of methods does not

    where, _, class_name = path.partition(":")
    try:
        module = run_file(Path(where), "attention") if where.endswith(".py") else importlib.import_module(where)
    except Exception as problem:  # a user's module can raise anything
        raise ValueError(f"{where} cannot be imported: {type(problem).__name__}: {problem}") from problem
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise ValueError(f"{where} defines no class {class_name!r}")
    if not issubclass(found, Attention):
        raise ValueError(f"{class_name} of {where} is no subclass of lra.attention.Attention")
    return found


def run_file(file: Path, kind: str) -> ModuleType:
    """Import a file that belongs to no package, under a name that begins with ``kind`` and hides no other module.

    It may import what lies beside it, as a script may, unless something that is installed has the same name.
    """
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(f"{kind}_in_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def build(name: str, *, heads: int, head_dim: int, max_length: int, features: int = 256, **options: Any) -> Attention:
    """Make the attention module called ``name`` (see :func:`resolve`).

    Args:
        name: a name from :func:`names`, an alias, or ``module:Class``.
        heads: number of heads.
        head_dim: size of one head.
        max_length: longest sequence that will be seen.
        features: the method's budget d.
        options: the method's own settings, and ``released=True`` for the released code's formula.

    Raises:
        ValueError: there is no such method, its module cannot be imported, or a size or an option makes no sense.
        TypeError: the method has no such option.
    """
    method = resolve(name)
    return load(method.path)(
        heads=heads, head_dim=head_dim, max_length=max_length, features=features, **{**method.options, **options}
    )
