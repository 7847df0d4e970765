"""The page of all commands, docs/commands.md, made from their parsers.

    python -m lra.cli.manual

writes it; run it in the project's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from lra.cli.main import EXIT_CODES, parser

PAGE = Path("docs/commands.md")
HEAD = """# The commands of lra

<!-- Made by `python -m lra.cli.manual` from the parsers of lra.cli. -->

`snakemake` runs these commands in order; you can run each of them by hand. `lra COMMAND --help` prints the same.
"""


def page() -> str:
    """The page, in Markdown."""
    codes = EXIT_CODES.strip().split("\n\n")[0].splitlines()
    rows = [line.strip().split(maxsplit=1) for line in codes[1:]]
    lines = [HEAD, "| exit code | meaning |", "|---|---|", *(f"| {code} | {meaning} |" for code, meaning in rows)]
    subparsers = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    for name, command in subparsers.choices.items():
        lines += ["", f"## `lra {name}`", "", command.description or ""]
        if rows := list(_rows(command)):
            lines += ["", "| argument | meaning |", "|---|---|", *(f"| {given} | {text} |" for given, text in rows)]
    return "\n".join(lines) + "\n"


def _rows(command: argparse.ArgumentParser) -> Iterator[list[str]]:
    """What is given for each argument of a command, and its meaning."""
    formatter = argparse.HelpFormatter(command.prog)
    for action in command._actions:
        if action.help == argparse.SUPPRESS or isinstance(action, argparse._HelpAction):
            continue
        value = formatter._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
        given = ", ".join(action.option_strings)
        meaning = formatter._expand_help(action) if action.help else ""
        yield [text.replace("|", "\\|") for text in (f"`{f'{given} {value}'.strip()}`", meaning)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
