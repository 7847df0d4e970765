"""Is my card fit for the arena? One command that checks and times what the arena asks of a GPU.

    python benchmarks/gpu.py                     # 8 minutes on one GPU, to results/gpu
    python benchmarks/gpu.py --minutes 3         # the same, cut shorter
    python benchmarks/gpu.py --minutes 0         # the table of what results/gpu holds

A checkout and Python 3.11 with the packages that `lra train` needs (torch 2.9 or newer, numpy, pyarrow, pydantic,
pyyaml, safetensors, tqdm); no network. Compiling also needs what torch.compile does, Triton and a C compiler.

The parts, the most telling first:

card          what the GPU is, and whether this torch runs on it
correctness   every method's outputs and gradients in bfloat16 and float32 against float64 on the CPU
identity      whether runs repeat to the bit, also after they were killed
cores         forward and backward pass of each method as a ratio to exact attention without a mask
compiled      identity once more, compiled, with the seconds that compiling takes
steps         whole training steps of the paper's model and batch, uncompiled and compiled, with their peak memory
launches      the kernels of one such step, uncompiled: how many, which ones, and how long they run
busy          `lra train` on true-size ListOps: the share of its time in which the card has work, one and several runs
training      the same for as long as there is time: what it learns

Every result is one line of a part's file (card.jsonl, ...) as soon as it is there, so that a run may be ended at any
moment; table.txt is made after each part. The exit code is 1 where something is wrong: a result that is not right, runs
that differ, a part that crashed. It is 0 however slow the card is. Without a GPU a reduced run on the CPU tests the
program itself; its times say nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

from gpu_parts.record import Record, Result  # noqa: E402
from gpu_parts.table import table  # noqa: E402

NEEDED = {"pyyaml": "yaml"} | {n: n for n in ("torch", "numpy", "pyarrow", "pydantic", "safetensors", "tqdm")}
"""Packages and what they are imported as."""
MINUTES = 8.0


@dataclass(frozen=True)
class Part:
    """A part of the whole, which runs in processes of its own.

    Args:
        name: of the part and its file.
        work: function that does it, ``module:function`` of ``gpu_parts``.
        seconds: after which it is ended, of eight minutes; None for what is left.
        processes: that share the methods out.
    """

    name: str
    work: str
    seconds: float | None
    processes: int = 1


PARTS = (
    Part("card", "card:run", 30),
    Part("correctness", "correctness:run", 60),
    Part("identity", "identity:run", 50),
    Part("cores", "cores:run", 80),
    Part("compiled", "identity:run_compiled", 100, processes=min(4, max(1, (os.cpu_count() or 1) // 4))),
    Part("steps", "steps:run", 80),
    Part("launches", "launches:run", 40),
    Part("busy", "training:run_busy", 80),
    Part("training", "training:run", None),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; returns the exit code."""
    options = parser().parse_args(arguments)
    missing = [name for name, module in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"Error: benchmarks/gpu.py needs {', '.join(missing)}; pip install '.[arena]' has them.", file=sys.stderr)
        return 2
    if options.part:
        return work(options)
    options.out.mkdir(parents=True, exist_ok=True)
    ended = time.monotonic() + 60 * options.minutes
    crashed = []
    if options.minutes:
        for part in PARTS:
            record_of(options.out, part).path.unlink(missing_ok=True)
    for part in PARTS if options.minutes else ():
        if (left := ended - time.monotonic()) <= 1:
            break
        seconds = left if part.seconds is None else min(left, part.seconds * options.minutes / MINUTES)
        if not run_part(part, options, seconds):
            crashed.append(part.name)
        (options.out / "table.txt").write_text(table(results(options.out), crashed))
        if part.name in crashed and part.name == "card":
            break
    found = results(options.out)
    text = table(found, crashed)
    (options.out / "table.txt").write_text(text)
    print(text)
    wrong = any(not result.get("ok", True) for part in found.values() for result in part)
    return 1 if crashed or wrong else 0


def parser() -> argparse.ArgumentParser:
    """The options."""
    methods = importlib.import_module("lra.attention.registry").METHODS
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--minutes", type=float, default=MINUTES, help="time for all (default: 8; 0: only the table)")
    found.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of the results, made anew")
    found.add_argument("--attentions", nargs="+", choices=methods, metavar="NAME", help="the paper's 16 by default")
    found.add_argument("--part", choices=[part.name for part in PARTS], help="one part, in this process")
    return found


def record_of(out: Path, part: Part) -> Record:
    """Where the part's results are."""
    return Record(out / f"{part.name}.jsonl")


def results(out: Path) -> dict[str, list[Result]]:
    """All that has been measured, a part at a time."""
    return {part.name: record_of(out, part).results() for part in PARTS}


def run_part(part: Part, options: argparse.Namespace, seconds: float) -> bool:
    """Run a part for so long at most; False where it crashed."""
    from gpu_parts.sizes import ORDER

    print(f"\n## {part.name}: at most {seconds:.0f} s", flush=True)
    names = options.attentions or ORDER
    started = [
        subprocess.Popen(
            [sys.executable, __file__, "--part", part.name, "--out", options.out, "--attentions", *share],
            stdin=subprocess.PIPE,  # closed when this process ends, however it does
            start_new_session=True,
        )
        for start in range(part.processes)
        if (share := names[start :: part.processes])
    ]
    deadline = time.monotonic() + seconds
    codes = []
    try:
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                codes.append(process.wait(max(0.0, deadline - time.monotonic())))
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it started
            process.wait()
    return not any(codes)


def work(options: argparse.Namespace) -> int:
    """Do one part here."""
    import torch
    from gpu_parts.sizes import ORDER, SIZES

    from lra.errors import LraError

    if os.getsid(0) == os.getpid():  # as run_part starts it; by hand it is one of a shell's
        threading.Thread(target=end_with_parent, daemon=True).start()
    part = next(part for part in PARTS if part.name == options.part)
    module, _, function = part.work.partition(":")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = getattr(importlib.import_module(f"gpu_parts.{module}"), function)
    try:
        run(record_of(options.out, part), SIZES[device.type], tuple(options.attentions or ORDER), device)
    except LraError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    return 0


def end_with_parent() -> None:
    """Wait for the end of the process that started this one, then end with all that was started here."""
    sys.stdin.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
