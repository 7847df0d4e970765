"""The script by which a shell completes ``lra``: commands, options, names of attentions and tasks, and paths.

    eval "$(lra completion bash)"

At each completion, names of the user's own are read from the config.yaml of the current folder.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from lra.attention.registry import ALIASES, names
from lra.config.arena import EXTRACTED, load
from lra.config.blocks import ARENA
from lra.errors import LraError
from lra.results.captions import FIGURES

PREAMBLE = {
    "bash": """
_lra_attentions() { compgen -W "$(%(list)s attentions)" -- "$1"; }
_lra_tasks() { compgen -W "$(%(list)s tasks)" -- "$1"; }
_lra_names_and_files() { compgen -W "$(%(list)s attentions tasks)" -- "$1"; compgen -f -- "$1"; }
""",
    "zsh": """
_lra_attentions() { compadd -- $(%(list)s attentions) }
_lra_tasks() { compadd -- $(%(list)s tasks) }
_lra_names_and_files() { compadd -- $(%(list)s attentions tasks); _files }
""",
}
"""Functions that each shell's script calls; ``list`` is the command that prints names."""


def script(top: argparse.ArgumentParser, shell: str) -> str:
    """The script that a shell evaluates.

    Args:
        top: the parser of ``lra``. Its choices are changed, so use it for nothing else afterwards.
        shell: ``bash`` or ``zsh``.
    """
    import shtab

    fixed = {
        "tasks": ARENA,
        "artefact": sorted(EXTRACTED),
        "figures": (*FIGURES, "sweep"),
    }
    listed = {
        "attention": "_lra_attentions",
        "attentions": "_lra_attentions",
        "task": "_lra_tasks",
        "name": "_lra_names_and_files",
    }
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for command in commands.choices.values():
        for argument in command._actions:
            argument.choices = fixed.get(argument.dest, argument.choices)
            if argument.dest in listed:
                argument.complete = dict.fromkeys(PREAMBLE, listed[argument.dest])
            elif argument.type is Path or argument.dest in ("config", "inputs"):
                argument.complete = shtab.FILE
    list_names = f"{shlex.quote(sys.executable)} -P -m lra.cli.completion 2>/dev/null"
    return shtab.complete(top, shell, preamble=PREAMBLE[shell] % {"list": list_names})


def known(key: str) -> list[str]:
    """Names that may stand under a key of config.yaml, ``attentions`` or ``tasks``.

    They include those of the config.yaml of the current folder, if it can be read.
    """
    try:
        arena = load(Path("config.yaml"))
    except LraError:
        arena = None
    if key == "attentions":
        return [*dict.fromkeys([*names(), *ALIASES, *(arena.attentions if arena else ())])]
    return [*dict.fromkeys([*ARENA, *(arena.settings["tasks"] if arena else ())])]


if __name__ == "__main__":
    print(*(name for key in sys.argv[1:] for name in known(key)), sep="\n")
