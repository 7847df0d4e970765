"""Provenance of results: machines, versions, code, data and settings, as each run recorded them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lra.results.reading import Run


def provenance(runs: Sequence[Run]) -> dict[str, Any]:
    """The distinct values that runs recorded, as lists of pairs.

    Returns:
        ``facts``: (name, value); ``data``: (task, checksum of its data); ``code``: (attention, fingerprint);
        ``settings``: (task, JSON of model, training, pretraining); ``attentions``: (attention, JSON of its settings).
    """
    metrics = [run.metrics for run in runs]
    machines = [run.get("machine", {}) for run in metrics]
    started = sorted(run["started"] for run in metrics if run.get("started"))
    facts = [("Report written at commit", commit()), ("Runs", str(len(runs)))]
    if started:
        facts.append(("Started", started[0] if started[0] == started[-1] else f"{started[0]} to {started[-1]}"))
    for name in dict.fromkeys(name for machine in machines for name in machine):
        facts.append((name.capitalize(), _counted(str(machine.get(name, "unknown")) for machine in machines)))
    return {
        "facts": facts,
        "data": _distinct((run["task"], run["data"]) for run in metrics),
        "code": _distinct((run["attention"], run["code"]) for run in metrics),
        "settings": _distinct((run["task"], _json(run["settings"], "model", "train", "pretrain")) for run in metrics),
        "attentions": _distinct((run["attention"], _json(run["settings"], "attention")) for run in metrics),
    }


def commit() -> str:
    """The checkout's commit, with ``-dirty`` if files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not in a git checkout)"
    return done.stdout.strip()


def _json(settings: dict[str, Any], *names: str) -> str:
    return json.dumps({name: settings[name] for name in names if name in settings}, indent=1)


def _distinct(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(pairs))


def _counted(values: Iterable[str]) -> str:
    """Distinct values; several values each with their number of runs."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({number} of {sum(counts.values())} runs)" for value, number in counts.items())
