"""Is my card fit for the arena? One command that checks and times what the arena asks of a GPU.

    python benchmarks/gpu.py                     # 8 minutes on one GPU, to results/gpu
    python benchmarks/gpu.py --minutes 3         # the same, cut shorter
    python benchmarks/gpu.py --minutes 0         # the table of what results/gpu holds
    python benchmarks/gpu.py --part steps        # one part, added to what results/gpu holds

A checkout and Python 3.11 with the packages that `lra train` needs (torch 2.9 or newer, numpy, pyarrow, pydantic,
pyyaml, safetensors, tqdm); no network. Compiling also needs what torch.compile does, Triton and a C compiler.

The parts, in this order:

card          what the GPU is, whether this torch runs on it, and the limits of the card
correctness   every method's outputs and gradients in bfloat16 and float32 against float64 on the CPU
identity      whether runs repeat to the bit, also after they were killed
compiled      identity once more, compiled, with the seconds that compiling takes
cores         forward and backward pass of each compiled method as a ratio to exact attention without a mask
steps         whole compiled training steps of the paper's model and batch: time, memory, kernels, repeated to the bit
busy          `lra train` on true-size ListOps: the share of its time in which the card has work, one and several runs
training      the same for as long as there is time: what it learns

Correctness, identity and compiled time nothing, so they run at the same time, in as many processes as the machine has
cores for. The processes of cores and steps compile at the same time, then measure one after another.

Every result is one line of a part's file (card.jsonl, ...) as soon as it is there, so that a run may be ended at any
moment; table.txt is made anew after each stage. The exit code is 1 where something is wrong: a result that is not
right, runs that differ, a part that crashed. It is 0 however slow the card is. Without a GPU a reduced run on the CPU
tests the program itself: it compiles nothing, and its times say nothing.
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
import tempfile
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
COMPILE_THREADS = "2"
"""Processes in which torch's compiler makes kernels, for each process of a part that has several."""
GIB_EACH = 6.0
"""GPU memory for each process of a part that has several."""


@dataclass(frozen=True)
class Part:
    """A part of the whole, which runs in processes of its own.

    Args:
        name: of the part and its file.
        work: function that does it, ``module:function`` of ``gpu_parts``.
        cores: of the machine for each of several processes, which share the methods out; None for a single process.
    """

    name: str
    work: str
    cores: int | None = None


@dataclass(frozen=True)
class Stage:
    """Parts that run at the same time.

    Args:
        seconds: after which they are ended, of eight minutes; None for what is left.
    """

    parts: tuple[Part, ...]
    seconds: float | None


STAGES = (
    Stage((Part("card", "card:run"),), 40),
    Stage(
        (
            Part("correctness", "correctness:run", cores=4),
            Part("identity", "identity:run", cores=4),
            Part("compiled", "identity:run_compiled", cores=1),
        ),
        140,
    ),
    Stage((Part("cores", "cores:run", cores=1),), 100),
    Stage((Part("steps", "steps:run", cores=1),), 100),
    Stage((Part("busy", "training:run_busy"),), 70),
    Stage((Part("training", "training:run"),), None),
)
PARTS = tuple(part for stage in STAGES for part in stage.parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts; returns the exit code."""
    options = parser().parse_args(arguments)
    missing = [name for name, module in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        print(f"Error: benchmarks/gpu.py needs {', '.join(missing)}; pip install '.[arena]' has them.", file=sys.stderr)
        return 2
    if options.turns:
        return work(options)
    options.out.mkdir(parents=True, exist_ok=True)
    ended = time.monotonic() + 60 * options.minutes
    crashed: list[str] = []
    stages = STAGES
    if options.part:
        stages = (Stage((part_of(options),), seconds=None),)
    elif options.minutes:
        for part in PARTS:
            record_of(options.out, part).path.unlink(missing_ok=True)
    for stage in stages if options.minutes else ():
        if (left := ended - time.monotonic()) <= 1:
            break
        seconds = left if stage.seconds is None else min(left, stage.seconds * options.minutes / MINUTES)
        crashed += run_stage(stage, options, seconds)
        (options.out / "table.txt").write_text(table(results(options.out), crashed))
        if "card" in crashed:
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
    found.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of the results")
    found.add_argument("--attentions", nargs="+", choices=methods, metavar="NAME", help="the paper's 16 by default")
    found.add_argument("--part", choices=[part.name for part in PARTS], help="this part only, added to the results")
    found.add_argument("--turns", nargs=4, help=argparse.SUPPRESS)  # of the processes that this program starts
    return found


def part_of(options: argparse.Namespace) -> Part:
    """The part that ``--part`` names."""
    return next(part for part in PARTS if part.name == options.part)


def record_of(out: Path, part: Part) -> Record:
    """Where the part's results are."""
    return Record(out / f"{part.name}.jsonl")


def results(out: Path) -> dict[str, list[Result]]:
    """All that has been measured, a part at a time."""
    return {part.name: record_of(out, part).results() for part in PARTS}


def run_stage(stage: Stage, options: argparse.Namespace, seconds: float) -> list[str]:
    """Run the parts of a stage for so long at most; returns the names of those that crashed."""
    print(f"\n## {', '.join(part.name for part in stage.parts)}: at most {seconds:.0f} s", flush=True)
    ends = time.time() + seconds
    started: list[tuple[Part, subprocess.Popen[bytes]]] = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            for part in stage.parts:
                started += [(part, process) for process in start(part, options, Path(folder, part.name), ends)]
            for _, process in started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, ends - time.time()))
            return list(dict.fromkeys(part.name for part, process in started if process.poll()))
        finally:
            for _, process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with what it started
                process.wait()


def start(part: Part, options: argparse.Namespace, folder: Path, ends: float) -> list[subprocess.Popen[bytes]]:
    """Start the processes of a part, which share the methods out and meet in a folder."""
    from gpu_parts.sizes import ORDER

    names = options.attentions or ORDER
    count = processes_of(part, len(names), memory_gib(options.out))
    given = {}
    if part.cores:
        given = {"OMP_NUM_THREADS": str(part.cores), "TORCHINDUCTOR_COMPILE_THREADS": COMPILE_THREADS}
    folder.mkdir()
    common = [sys.executable, __file__, "--part", part.name, "--out", options.out]
    return [
        subprocess.Popen(
            [*common, "--turns", folder, str(place), str(count), str(ends), "--attentions", *names[place::count]],
            env=given | os.environ,
            stdin=subprocess.PIPE,  # closed when this process ends, however it does
            start_new_session=True,
        )
        for place in range(count)
    ]


def processes_of(part: Part, methods: int, memory: float | None) -> int:
    """How many processes do a part: one a method at most, as many as the cores and the GPU's memory, in GiB, allow."""
    if part.cores is None:
        return 1
    # Of these cores only: a cluster's job has a share of the machine's.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fitting = methods if memory is None else int(memory / GIB_EACH)
    return max(1, min(methods, cores // part.cores, fitting))


def memory_gib(out: Path) -> float | None:
    """Memory of the GPU as the part ``card`` found it; None without a GPU."""
    return next((found["memory_gib"] for found in results(out)["card"] if "memory_gib" in found), None)


def work(options: argparse.Namespace) -> int:
    """Do a process's share of a part."""
    import torch
    from gpu_parts.sizes import ORDER, SIZES
    from gpu_parts.turns import Turns

    from lra.errors import LraError

    threading.Thread(target=end_with_parent, daemon=True).start()
    part = part_of(options)
    module, _, function = part.work.partition(":")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = getattr(importlib.import_module(f"gpu_parts.{module}"), function)
    turns = Turns.of(options.turns)
    try:
        run(record_of(options.out, part), SIZES[device.type], tuple(options.attentions or ORDER), device, turns)
    except LraError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        return 1
    finally:
        turns.end()
    return 0


def end_with_parent() -> None:
    """Wait for the end of the process that started this one, then end with all that was started here.

    This process leads a group of its own; see :func:`start`.
    """
    sys.stdin.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
