"""``lra train`` on true-size ListOps, which is generated first: how busy it keeps the card, and what it learns."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from made_up import TRUE_SIZE

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.turns import Turns
from lra.attention.registry import METHODS
from lra.data.prepare import prepare
from lra.devices import RUNS_PER_GPU
from lra.paths import MANIFEST, METRICS

SOURCE = Path(__file__).parents[2] / "src"
TOGETHER = (1, 2, 3)
"""Runs that share the card."""
LEARN = ("softmax_nodropout", "skeinformer")
EVALUATION = re.compile(r"step (\d+): train loss ([\d.]+), dev loss ([\d.]+), dev accuracy ([\d.]+), ([\d.]+) s")


def run_busy(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """Several runs at once, padded to full length and in buckets."""
    data = listops(record, sizes)
    for pad, together in itertools.product(("length", "bucket"), TOGETHER):
        what = {"attention": attentions[0], "pad": pad, "runs_at_once": together}
        work = (record, sizes, attentions[0], pad, together, data)
        record.attempt(what, lambda work=work: side_by_side(*work))


def listops(record: Record, sizes: Sizes) -> Path:
    """Folder of the task with as many rows as the paper's."""
    folder = record.path.parent / "listops"
    if not (folder / MANIFEST).exists():
        started = time.perf_counter()
        given = {"source": "generate", "rows": sizes.rows, "brackets": False, "generator": {"max_length": 2000}}
        prepare("listops", given, None, folder, os.cpu_count() or 1)
        record.add(prepared=sizes.rows, seconds=time.perf_counter() - started)
    return folder


def side_by_side(record: Record, sizes: Sizes, name: str, pad: str, together: int, data: Path) -> Result:
    """Steps a second of all runs, and the share of the training loop in which each has work on the card."""
    train = settings_of(sizes) | {"pad": pad}

    def one(seed: int) -> dict[str, Any]:
        out = record.path.parent / "runs" / f"{name}-{pad}-{together}-{seed}"
        process = start(name, train, seed, data, out, together, "--max-steps", str(sizes.busy_steps))
        told, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"lra train ended with {process.returncode}: {told[-300:]}")
        return json.loads((out / METRICS).read_text())

    with ThreadPoolExecutor(together) as threads:
        runs = list(threads.map(one, range(1, together + 1)))
    failed = [run["reason"] for run in runs if run["status"] != "ok"]
    if failed:
        raise RuntimeError(failed[0])
    return {
        "steps_per_second": sum(run["steps"] * run["busy"] / run["train_seconds"] for run in runs),
        "busy": [round(run["busy"], 3) for run in runs],
        "compile_seconds": max(run["compile_seconds"] for run in runs),
        "evaluation_seconds": max(run["evaluation_seconds"] for run in runs),
        "wall_seconds": max(run["wall_seconds"] for run in runs),
    }


def settings_of(sizes: Sizes) -> dict[str, Any]:
    """Those of training ListOps at the scale paper; where rows are few, a small batch and few steps."""
    train = dict(TRUE_SIZE["listops"]["train"])
    few = sizes.rows["train"] < train["batch"]
    return train | ({"batch": 4, "steps": 4, "warmup": 1, "evaluate_every": 2} if few else {})


def start(
    name: str, train: dict[str, Any], seed: int, data: Path, out: Path, together: int, *more: str
) -> subprocess.Popen[str]:
    """Begin a run by the command line, which prints what becomes of it."""
    attention = {"name": name, "features": 256, "options": METHODS[name].options}
    settings = json.dumps({"task": "listops", "attention": attention, "model": {}, "train": train})
    command = [sys.executable, "-m", "lra", "train", "--settings", settings, "--seed", str(seed), "--threads", "4"]
    command += ["--data", str(data.resolve()), "--out", str(out.resolve()), *more]
    paths = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
    surroundings = os.environ | {"PYTHONPATH": paths, RUNS_PER_GPU: str(together), "PYTHONUNBUFFERED": "1"}
    out.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own, since finished runs are kept below the working folder.
    return subprocess.Popen(
        command,
        cwd=out.parent,
        env=surroundings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """Train for as long as there is time; every evaluation is a result."""
    data = listops(record, sizes)
    chosen = [name for name in LEARN if name in attentions] or list(attentions[:1])
    train = settings_of(sizes)

    def follow(name: str) -> None:
        what = {"attention": name, "runs_at_once": len(chosen)}
        process = start(name, train, 1, data, record.path.parent / "runs" / f"{name}-whole", len(chosen))
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if found := EVALUATION.match(line):
                step, train_loss, dev_loss, accuracy, seconds = map(float, found.groups())
                losses = {"train_loss": train_loss, "dev_loss": dev_loss, "dev_accuracy": accuracy}
                record.add(**what, step=int(step), **losses, seconds=seconds)
        if process.wait():
            record.add(**what, ok=False, error="".join(lines)[-300:])

    with ThreadPoolExecutor(len(chosen)) as threads:
        list(threads.map(follow, chosen))
