"""What makes a shell complete ``lra``: commands, options, names of attentions and tasks, and paths.

eval "$(lra completion bash)"
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lra.attention.registry import ALIASES, names
from lra.config import EXTRACTED
from lra.results.captions import FIGURES
from lra.schema import ARENA

FILES = {("check", "attention"), ("predict", "inputs")}
"""Arguments that mostly are files, though they may be something else."""


def script(top: argparse.ArgumentParser, shell: str) -> str:
    """The script that a shell is to evaluate.

    Args:
        top: the parser of ``lra``. What its arguments complete to is changed, so it should parse nothing afterwards.
        shell: ``bash`` or ``zsh``.
    """
    import shtab

    words = {
        "attention": (*names(), *ALIASES),
        "attentions": (*names(), *ALIASES),
        "task": ARENA,
        "tasks": ARENA,
        "artefact": sorted(EXTRACTED),
        "figures": (*FIGURES, "sweep"),
    }
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        for argument in command._actions:
            argument.choices = words.get(argument.dest, argument.choices)
            if argument.type is Path or (name, argument.dest) in FILES:
                argument.complete = shtab.FILE
    return shtab.complete(top, shell)
