"""Shared by all commands: reading arguments, explaining a mistake in one sentence, and exit codes."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from lra.errors import LraError, device_fault, nearest

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """A parser that explains a misspelling in one sentence with the nearest right word; its exit code is 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message as a sentence and end the program."""
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"Error: {message}{end} See `{self.prog} --help`.\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the arguments; end the program if one is unknown."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = nearest(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"`{self.prog}` does not take {unknown[0]!r}.{near}")
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = list(action.choices)
            near = nearest(value, known)
            raise argparse.ArgumentError(action, f"unknown {value!r}.{near} Known: {', '.join(known)}.")


def at_least(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")
        if number > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most}, the most allowed")
        return number

    return read


def add_config(command: argparse.ArgumentParser, purpose: str) -> None:
    """Add the option ``--config`` to a command; its value is the list of what is given.

    Args:
        command: parser of the command.
        purpose: what the command takes from the settings, for its help.
    """
    command.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE|KEY=VALUE",
        help=f"{purpose}: a file (default: config.yaml) or one setting, which overrides files; may be repeated",
    )


def as_json(container: type) -> Callable[[str], Any]:
    """The type of an argument that is JSON: an object (``dict``) or a ``list``."""

    def read(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError as problem:
            raise argparse.ArgumentTypeError(f"not JSON ({problem})") from problem
        if not isinstance(value, container):
            raise argparse.ArgumentTypeError(f"not {'an object' if container is dict else 'a list'} in JSON")
        return value

    return read


def run_command(work: Callable[[], int | None]) -> int:
    """Do the work of a command; returns its exit code. If it fails, one sentence on stderr says why."""
    try:
        code = work() or 0
        print(end="", flush=True)  # unlike sys.stdout.flush(), also where there is no stdout
        return code
    except LraError as error:
        print(f"Error: {error}", file=sys.stderr)
    except BrokenPipeError:
        pass  # a reader such as `head` has closed the output
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "lra"):
            raise
        print(f"Error: this needs {package}; install what requirements-dev.txt lists.", file=sys.stderr)
    except MemoryError:
        print("Error: there is not enough memory; free some, or make the task smaller.", file=sys.stderr)
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print(f"Error: {problem}; correct that and run the same command again.", file=sys.stderr)
    except RuntimeError as error:
        if (fault := device_fault(error)) is None:
            raise
        print(f"Error: {fault}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except SystemExit as end:  # raised by an attention or a task of the user's own; this package raises none here
        place = traceback.extract_tb(end.__traceback__)[-1]
        print(f"Error: {place.filename}, line {place.lineno}, ends the program; let it raise instead.", file=sys.stderr)
    _empty_stdout()
    return 1


def _empty_stdout() -> None:
    """Print the buffered output, or discard it if it cannot be printed, so that Python ends without a complaint."""
    try:
        print(end="", flush=True)  # unlike sys.stdout.flush(), also where there is no stdout
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def lookup(name: str, known: Mapping[str, T], noun: str) -> T:
    """``known[name]``.

    Args:
        name: a key of ``known``, or a misspelling.
        known: values by name.
        noun: the word for a value in the message, such as ``task``.

    Raises:
        LraError: the name is unknown; the message gives the nearest one.
    """
    if name not in known:
        raise LraError(f"unknown {noun} {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
    return known[name]
