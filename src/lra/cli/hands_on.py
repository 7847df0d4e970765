"""Commands to try things by hand: ``lra check`` for your own attention or task, ``lra predict`` for a trained run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra.attention.registry import ALIASES, names
from lra.cli.console import add_config, as_json, lookup
from lra.config.arena import Arena, find
from lra.config.mapping import from_mapping
from lra.errors import LraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PICTURES = ("pathfinder", "pathx", "image")
"""Tasks whose raw input is an image."""


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers."""
    check = commands.add_parser("check", help="check whether an attention, or a task of your own, keeps the contract")
    check.add_argument(
        "name",
        metavar="NAME",
        help="path/to/file.py:Class, package.module:Class, an attention, or a task of your own in config.yaml",
    )
    check.add_argument(
        "--options", type=as_json(dict), default={}, metavar="JSON", help="arguments of an attention's class"
    )
    add_config(check, "gives names of your own")
    check.set_defaults(run=run_check)

    predict = commands.add_parser("predict", help="classify raw input with the weights of a trained run")
    predict.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    predict.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="for listops an expression; for text a text; for retrieval two texts for each example; for pathfinder, "
        "pathx and image an image file or a .npy array of grey values 0..255; for a task of your own token ids such as "
        "'3 1 2'",
    )
    predict.add_argument(
        "--trust",
        action="store_true",
        help="also take a run whose attention is not in the registry; this runs the file that the run names",
    )
    predict.set_defaults(run=run_predict)


def run_check(options: argparse.Namespace) -> int:
    """Print a line for each check; returns 1 if the attention or the task fails one."""
    failed = 0
    for wanted, failure in _checks(options.name, options.options, options.config):
        print(f"ok     {wanted}" if failure is None else f"FAILS  {wanted}\n       But {failure}.", flush=True)
        failed += failure is not None
    return int(failed > 0)


def _checks(name: str, options: dict[str, Any], config: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The checks of an attention or a task: each requirement, and its violation or None.

    A name that is neither a class nor a method of the registry is looked up in config.yaml.
    """
    if ":" in name or name in (*names(), *ALIASES):
        return _check_attention(name, name, options)
    if name.endswith(".py"):
        raise LraError(f"{name} is a file; add the name of its class, as {name}:CLASS.")
    arena = find(*config)
    if arena and name in arena.settings["tasks"]:
        return _check_task(name, arena)
    own = {**arena.attentions, **dict.fromkeys(filter(arena.own, arena.settings["tasks"]))} if arena else {}
    attention = lookup(name, {**dict.fromkeys(names()), **own}, "attention or task")
    assert attention is not None
    return _check_attention(name, attention.module or name, {**attention.options, **options})


def _check_task(name: str, arena: Arena) -> Iterator[tuple[str, str | None]]:
    from lra.tasks.checking import violations
    from lra.tasks.settings.own import OwnSettings

    if not arena.own(name):
        raise LraError(f"{name} is one of the Arena's tasks; `lra check` is for tasks of your own, with a `module`.")
    return violations(from_mapping(OwnSettings, arena.data(name), f"the data settings of {name}"), arena.source(name))


def _check_attention(name: str, path: str, options: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    from lra.attention.checking import maker, violations

    make = maker(path, **options)
    try:
        make(64)
    except Exception as problem:  # the class is the user's, and may raise anything
        reason = " ".join(str(problem).split()).rstrip(".")
        if any(f" '{size}'" in reason for size in ("heads", "head_dim", "max_length", "features")):
            reason += "; its __init__ must take **common and begin with super().__init__(**common)"
        raise LraError(f"{name} cannot be made: {reason}.") from problem
    return violations(make)


def run_predict(options: argparse.Namespace) -> None:
    """Print a line for each example: its label, and the probability of each label."""
    from lra.training.predictor import load_run

    run = load_run(options.run_folder, trust=options.trust)
    if len(options.inputs) % run.task.towers:
        raise LraError(
            f"{run.task.name} compares pairs; give two inputs for each example, not {len(options.inputs)} in all."
        )
    raw = [read_picture(Path(text)) if run.task.name in PICTURES else text for text in options.inputs]
    towers = run.task.towers
    for example in zip(*(raw[tower::towers] for tower in range(towers)), strict=True):
        prediction = run.predict(*example)
        print(f"label {prediction.label}, probabilities", *(f"{share:.4f}" for share in prediction.probabilities))


def read_picture(path: Path) -> npt.NDArray[np.generic]:
    """The pixels of an image file, grey (height, width) or RGB (height, width, 3), or the array of a ``.npy`` file.

    Raises:
        LraError: the file is missing, or is neither an image nor an array.
    """
    import numpy as np

    try:
        if path.suffix == ".npy":
            array: npt.NDArray[np.generic] = np.load(path, allow_pickle=False)
            return array
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
    except ImportError as problem:
        raise LraError(f"reading {path} needs Pillow; install it, or give a .npy file.") from problem
    except FileNotFoundError:
        raise LraError(f"{path} is not there; correct the path.") from None
    except (OSError, ValueError, EOFError) as problem:
        raise LraError(f"{path} cannot be read as an image ({problem}); give another file.") from problem
