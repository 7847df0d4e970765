"""The five tasks of the Long Range Arena, one module each; see :mod:`lra.tasks.contract`.

A task module defines a frozen dataclass ``Settings`` (the task's ``data`` block of config.yaml), and three functions::

    describe(settings) -> Task
    examples(settings, source, workers) -> Examples
    encode(settings, raw) -> token ids (length,) of one raw sequence, as the examples have them

``source`` is the path of the artefact that ``settings.source`` names, None where nothing is read; ``workers`` is the
number of processes that may be used, and never changes the result.

:mod:`lra.tasks.own` is the module of every task of a user's own, which its settings describe.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from lra.errors import LraError


def module_of(task: str, settings: Mapping[str, Any]) -> ModuleType:
    """The module of a task with these settings, its ``data`` block of config.yaml.

    Raises:
        LraError: there is no such task.
    """
    name = "lra.tasks.own" if "module" in settings else f"lra.tasks.{task}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as problem:
        if problem.name != name:
            raise
        raise LraError(f"there is no task {task!r}; one of your own needs `module: file.py:function`.") from None
