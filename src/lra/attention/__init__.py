"""Self-attention methods behind one contract; see :mod:`lra.attention.contract` for shapes and promises.

>>> from lra.attention import build
>>> attention = build("skeinformer", heads=2, head_dim=32, max_length=4096, features=256)
>>> output = attention(query, key, value, mask)
"""

from typing import TYPE_CHECKING, Any

from lra.attention.registry import ALIASES, METHODS, Method, build, load, names, resolve

if TYPE_CHECKING:
    from lra.attention.contract import Attention, Draws

__all__ = ["ALIASES", "METHODS", "Attention", "Draws", "Method", "build", "load", "names", "resolve"]


def __getattr__(name: str) -> Any:
    # The table of methods can be read where torch is not installed; the classes cannot.
    if name in ("Attention", "Draws"):
        from lra.attention import contract

        return getattr(contract, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
