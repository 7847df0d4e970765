"""What makes a shell complete ``lra``: commands, options, names of attentions and tasks, and paths.

eval "$(lra completion bash)"

Names of the user's own are read from the config.yaml of the current folder each time.
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
_lra_attentions() { compgen -W "$(%(ask)s attentions)" -- "$1"; }
_lra_tasks() { compgen -W "$(%(ask)s tasks)" -- "$1"; }
_lra_names_and_files() { compgen -W "$(%(ask)s attentions tasks)" -- "$1"; compgen -f -- "$1"; }
""",
    "zsh": """
_lra_attentions() { compadd -- $(%(ask)s attentions) }
_lra_tasks() { compadd -- $(%(ask)s tasks) }
_lra_names_and_files() { compadd -- $(%(ask)s attentions tasks); _files }
""",
}


def script(top: argparse.ArgumentParser, shell: str) -> str:
    """The script that a shell is to evaluate.

    Args:
        top: the parser of ``lra``. What its arguments complete to is changed, so it should parse nothing afterwards.
        shell: ``bash`` or ``zsh``.
    """
    import shtab

    words = {
        "tasks": ARENA,
        "artefact": sorted(EXTRACTED),
        "figures": (*FIGURES, "sweep"),
    }
    asked = {
        "attention": "_lra_attentions",
        "attentions": "_lra_attentions",
        "task": "_lra_tasks",
        "name": "_lra_names_and_files",
    }
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    for command in commands.choices.values():
        for argument in command._actions:
            argument.choices = words.get(argument.dest, argument.choices)
            if argument.dest in asked:
                argument.complete = dict.fromkeys(PREAMBLE, asked[argument.dest])
            elif argument.type is Path or argument.dest == "inputs":
                argument.complete = shtab.FILE
    ask = f"{shlex.quote(sys.executable)} -P -m lra.cli.completion 2>/dev/null"
    return shtab.complete(top, shell, preamble=PREAMBLE[shell] % {"ask": ask})


def known(kind: str) -> list[str]:
    """Names of ``attentions`` or ``tasks``, with those of the config.yaml of the current folder, if it can be read."""
    try:
        arena = load(Path("config.yaml"))
    except LraError:
        arena = None
    if kind == "attentions":
        return [*dict.fromkeys([*names(), *ALIASES, *(arena.attentions if arena else ())])]
    return [*dict.fromkeys([*ARENA, *(arena.settings["tasks"] if arena else ())])]


if __name__ == "__main__":
    print(*(name for kind in sys.argv[1:] for name in known(kind)), sep="\n")
