"""The commands to try things by hand.

``lra check`` for an attention or a task of your own, ``lra predict`` for a trained run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lra.attention.registry import ALIASES, names
from lra.config import load
from lra.console import as_json
from lra.errors import LraError
from lra.mapping import from_mapping

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PICTURES = ("pathfinder", "image")


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers."""
    check = commands.add_parser("check", help="hold an attention, or a task of your own, to the contract")
    check.add_argument(
        "attention",
        metavar="NAME",
        help="path/to/file.py:Class, package.module:Class, an attention, or a task of your own in config.yaml",
    )
    check.add_argument(
        "--options", type=as_json(dict), default={}, metavar="JSON", help="arguments of an attention's class"
    )
    check.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="where a task is (default: config.yaml)"
    )
    check.set_defaults(run=run_check)

    predict = commands.add_parser("predict", help="ask a trained run about raw input")
    predict.add_argument("run_folder", metavar="RUN", type=Path, help="folder of the run")
    predict.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        help="an expression (listops), a text (text; retrieval takes two an example), or an image file or .npy array "
        "of grey values 0..255 (pathfinder, image), or token ids such as '3 1 2' (a task of your own)",
    )
    predict.set_defaults(run=run_predict)


def run_check(options: argparse.Namespace) -> int:
    """Print a line a check; returns 1 if the attention or the task fails one."""
    failed = 0
    for wanted, failure in _of_task(options.attention, options.config) or _of_attention(options):
        print(f"ok     {wanted}" if failure is None else f"FAILS  {wanted}\n       But {failure}.", flush=True)
        failed += failure is not None
    return int(failed > 0)


def _of_task(name: str, config: Path) -> Iterator[tuple[str, str | None]] | None:
    """The checks of a task of the user's own; None where there is none of this name."""
    if ":" in name or name in (*names(), *ALIASES) or not config.exists():
        return None
    arena = load(config)
    if name not in arena.settings["tasks"] or not arena.own(name):
        return None
    from lra.tasks.checking import violations
    from lra.tasks.own import Settings

    return violations(from_mapping(Settings, arena.data(name), f"the data settings of {name}"), arena.source(name))


def _of_attention(options: argparse.Namespace) -> Iterator[tuple[str, str | None]]:
    from lra.attention.checking import maker, violations

    make = maker(options.attention, **options.options)
    try:
        make(64)
    except Exception as problem:  # whatever the class does when it is made
        raise LraError(f"{options.attention} cannot be made: {problem}.") from problem
    return violations(make)


def run_predict(options: argparse.Namespace) -> None:
    """Print label and probabilities of each example, a line each."""
    from lra.loading import load_run

    run = load_run(options.run_folder)
    if len(options.inputs) % run.task.towers:
        raise LraError(f"{run.task.name} compares pairs; give two inputs an example, not {len(options.inputs)} in all.")
    raw = [read_picture(Path(one)) if run.task.name in PICTURES else one for one in options.inputs]
    towers = run.task.towers
    for example in zip(*(raw[tower::towers] for tower in range(towers)), strict=True):
        prediction = run.predict(*example)
        print(f"label {prediction.label}, probabilities", *(f"{share:.4f}" for share in prediction.probabilities))


def read_picture(path: Path) -> npt.NDArray[np.generic]:
    """The pixels of an image file, grey (height, width) or RGB (height, width, 3), or the array of a ``.npy`` file.

    Raises:
        LraError: it is neither, or missing.
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
    except (OSError, ValueError, EOFError) as problem:
        raise LraError(f"{path} is no image that can be read ({problem}).") from problem
