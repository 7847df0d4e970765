"""The Long Range Arena you can rerun: attentions, tasks, training, measurement and results.

>>> run = lra.load_run("results/runs/mini/listops/softmax/seed-1")
>>> run.predict("[MAX 2 9 [MIN 4 7 ] 0 ]").label
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lra.training.predictor import load_run

__version__ = "0.1.0"
__all__ = ["__version__", "load_run"]


def __getattr__(name: str) -> Any:
    # By name and only when it is asked for: the data rules run without torch, and depend on this file.
    if name == "load_run":
        return importlib.import_module("lra.training.predictor").load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
