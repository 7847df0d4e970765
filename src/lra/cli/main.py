"""The command line: a person can run every command that a rule of the workflow runs.

Each command imports its modules when it runs, so that ``lra --help`` loads neither torch nor pyarrow.
"""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence

from lra.cli import archive, bench, clean, cost, data, evaluate, hands_on, preview, results, train
from lra.cli.console import Parser, add_config, as_json, run_command

EXIT_CODES = """
exit codes:
  0    done
  1    a mistake or a failure, explained in one sentence; `lra check`: a contract is broken
  2    the command line is misspelt
  75   stopped by a signal; the same command resumes
  130  interrupted from the keyboard

`lra COMMAND --help` lists the options of a command. README.md says where to begin.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    # Torch makes hundreds of thousands of objects that stay. Collecting garbage every 700 objects, Python's default,
    # takes a sixth of its import.
    gc.set_threshold(10_000)
    # No command opens a window, and a notebook's shell may name a backend that is not installed here.
    os.environ["MPLBACKEND"] = "agg"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # such as a path in a terminal of another encoding
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_command(lambda: options.run(options))


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="lra",
        description="The Long Range Arena you can rerun, one step at a time; `snakemake` runs all of them in order.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    configured = [*data.add_commands(commands), *train.add_commands(commands)]
    evaluate.add_command(commands)
    bench.add_command(commands)
    configured += [*cost.add_commands(commands), *preview.add_commands(commands)]
    hands_on.add_commands(commands)
    results.add_commands(commands)
    clean.add_command(commands)
    archive.add_commands(commands)

    completion = commands.add_parser("completion", help="print the script by which a shell completes this command line")
    completion.add_argument("shell", choices=("bash", "zsh"), help='bash or zsh: `eval "$(lra completion bash)"`')
    completion.set_defaults(run=run_completion)

    for command in configured:
        add_config(command, "gives settings")
        command.add_argument("--settings", type=as_json(dict), help="resolved settings as JSON instead of config.yaml")
    for listed in commands._choices_actions:
        summary = listed.help or ""
        commands.choices[listed.dest].description = f"{summary[:1].upper()}{summary[1:]}."
    return top


def run_completion(options: argparse.Namespace) -> None:
    """Print the script of a shell."""
    from lra.cli.completion import script

    print(script(parser(), options.shell))
