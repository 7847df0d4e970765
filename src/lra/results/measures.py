"""The table's columns on time, memory and FLOPs; :mod:`lra.cost.training_step` describes ``measure.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lra.errors import LraError
from lra.sealing import read_measure

MIB, GIB = 2**20, 2**30
RATIOS = ("ratio", "ratio_low", "ratio_high")


def read_measures(paths: Sequence[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """Columns of :class:`lra.results.rows.TableRow` from measurements, by task and attention.

    Raises:
        LraError: a file is no measurement or was edited, or two files measure the same cell.
    """
    measured: dict[tuple[str, str], dict[str, Any]] = {}
    for path in paths:
        measure = read_measure(path)
        try:
            cell, columns = (measure["task"], measure["attention"]), _columns(measure)
        except (KeyError, TypeError) as problem:
            raise LraError(f"{path} is not a measurement ({problem}); measure this cell again.") from problem
        if cell in measured:
            raise LraError(f"{path} measures {cell[1]} on {cell[0]}, as an earlier file does; give only one of them.")
        measured[cell] = columns
    return measured


def _columns(measure: dict[str, Any]) -> dict[str, Any]:
    machine = measure["machine"]
    columns = {
        "measure_status": measure["status"],
        "measure_reason": measure["reason"],
        "measured_on": f"{machine['device']}, {machine['threads']} thread{'s' if machine['threads'] != 1 else ''}",
        "cost_length": measure["length"],
        "cost_features": measure["settings"]["attention"]["features"],
    }
    if measure["status"] != "ok":
        return columns
    times = measure["train_ms"]
    pieces = measure["accumulation_steps"]
    return columns | {
        "cost_precision": measure["precision"],
        "cost_batch": measure["batch"],
        "ms_per_step": times["median"],
        "ms_low": times["low"],
        "ms_high": times["high"],
        "seconds_per_1000_steps": measure["seconds_per_1000_steps"],
        "extrapolated": "yes" if measure["extrapolated"] else "no",
        **{f"time_{name}": measure[name] for name in RATIOS},
        **{f"real_time_{name}": measure[f"real_{name}"] for name in RATIOS},
        "peak_memory_mib": measure["peak_memory_bytes"] / MIB,
        "memory_per_example_mib": measure["memory_per_example_bytes"] / MIB,
        "workspace_mib": _workspace(measure) / MIB,
        "fitting_batch": -(-measure["paper_batch"] // pieces) if pieces else 0,
        "fitting_memory_gib": measure["memory_bytes"] / GIB,
        "flops_attention": float(measure["flops_attention"]),
        "flops_formula": float(measure["flops_formula"]),
    }


def _workspace(measure: dict[str, Any]) -> int:
    """Bytes at a step's memory peak beyond fixed memory and examples, such as blocks of exact attention."""
    examples = int(measure["batch"]) * int(measure["memory_per_example_bytes"])
    return max(0, int(measure["peak_memory_bytes"]) - int(measure["fixed_memory_bytes"]) - examples)
