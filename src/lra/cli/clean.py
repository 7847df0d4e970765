"""``lra clean``: list or remove stored runs that no configuration asks for, or remove given runs."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lra import paths
from lra.cli.console import add_config
from lra.config.arena import Arena, scales
from lra.config.pretraining import pretraining
from lra.config.settings import Experiment
from lra.errors import LraError
from lra.results.choice import tuned_changes


def add_command(commands: Any) -> None:
    """Add ``clean`` to the parsers of :mod:`lra.cli.main`."""
    clean = commands.add_parser(
        "clean", help="list the stored runs that config.yaml does not ask for, or remove runs to train them again"
    )
    clean.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        type=Path,
        help="folders of runs to remove, from the store too, so that they are trained again (default: the stored runs "
        "that no scale of config.yaml asks for and no folder of results holds)",
    )
    clean.add_argument("--yes", action="store_true", help="remove the runs (default: only list them)")
    add_config(clean, "defines the runs to keep")
    clean.set_defaults(run=run_clean)


def run_clean(options: argparse.Namespace) -> None:
    """List the runs and their sizes; with ``--yes`` also remove them."""
    from lra.data.progress import readable
    from lra.training.store import in_use, remove_entry

    chosen: list[tuple[Path, Path | None]] = [(_entry_of(run), run) for run in options.runs]
    if not options.runs:
        chosen = [(entry, None) for entry in _unused(paths.STORE, options.config)]
    total = 0
    for entry, run in chosen:
        if in_use(entry):
            print(f"{entry}: kept, because a process is training it")
            continue
        size = sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
        total += size
        print(f"{entry}: {_description(entry)}, {readable(size)}")
        if options.yes:
            remove_entry(entry)
            for name in paths.RUN_FILES:
                if run is not None:
                    (run / name).unlink(missing_ok=True)
    if options.yes:
        print(f"removed {readable(total)}")
    else:
        print(f"{readable(total)} in all; nothing is removed without --yes")


def _entry_of(run: Path) -> Path:
    """The folder of the store that keeps a run.

    Raises:
        LraError: the run's ``metrics.json`` cannot be read or has no key.
    """
    from lra.files import read_json

    metrics = read_json(run / "metrics.json")
    key = metrics.get("key") if isinstance(metrics, dict) else None
    if not isinstance(key, str) or not key.isalnum():
        raise LraError(f"{run} has no key of results/store; delete the folder itself to train the run again.")
    return paths.STORE / key


def _unused(store: Path, config: Sequence[str]) -> Iterator[Path]:
    """Folders of the store that no scale of the configuration asks for and that no folder of results holds."""
    from lra.files import read_json
    from lra.training.store import MADE_OF

    wanted = [json.loads(json.dumps(run)) for run in _wanted(config)]
    held = set(_held())
    for entry in sorted(path for path in store.iterdir() if path.is_dir()) if store.is_dir() else ():
        if entry.name in held:
            continue
        try:
            decisive = dict(read_json(entry / MADE_OF))
        except (LraError, TypeError, ValueError):
            decisive = {}
        # While a task is not prepared, its data are unknown; a run on any data of the task then counts as wanted.
        if decisive not in wanted and decisive | {"data": ""} not in wanted:
            yield entry


def _held() -> Iterator[str]:
    """Keys of the runs that folders of results hold, outside the store."""
    for path in paths.RESULTS.rglob(paths.METRICS):
        if not path.is_relative_to(paths.STORE):
            with contextlib.suppress(LraError):
                yield _entry_of(path.parent).name


def _wanted(config: Sequence[str]) -> Iterator[dict[str, Any]]:
    """For each run that some scale asks for, the facts that decide it; ``data`` is empty if its task is not prepared.

    Raises:
        LraError: the configuration is wrong.
    """
    from lra.data.shards import read_shards
    from lra.fingerprint import fingerprint
    from lra.training.run_folder import made_of

    for resolved in scales(*config):
        for task in resolved.tasks:
            try:
                data = read_shards(paths.shards(resolved.scale, task)).identity
            except LraError:
                data = ""
            runs = list(_experiments(resolved, task))
            for experiment in [*runs, *(pretraining(run) for run in runs if run.pretrain)]:
                module = (experiment.attention.module or "").partition(":")[0]
                code = fingerprint("lra.training.run", module)
                yield made_of(experiment, code, data, None)


def _experiments(arena: Arena, task: str) -> Iterator[Experiment]:
    """All runs of a task, including those of tuning and of the sweep."""
    for attention in arena.attentions:
        yield from arena.tries(attention, task).values()
        for changes in tuned_changes(arena, attention, task):
            yield from (arena.experiment(attention, task, seed, **changes) for seed in arena.seeds)
    for seed in arena.seeds:
        if arena.sweep and arena.sweep.task == task:
            for batch, rate in arena.sweep.cells().values():
                yield arena.experiment(arena.sweep.attention, task, seed, batch=batch, learning_rate=float(rate))


def _description(entry: Path) -> str:
    """The run in a folder of the store, such as ``text vmean seed 1, ok``."""
    from lra.files import read_json
    from lra.training.store import MADE_OF

    try:
        made_of = read_json(entry / MADE_OF)
        settings, steps = made_of["settings"], made_of["max_steps"]
        cell = f"{settings['task']} {settings['attention']['name']} seed {settings['seed']}"
        cell += ", pretraining" if settings.get("mask") else ""
    except (LraError, KeyError, TypeError):
        return "damaged"
    try:
        status = read_json(entry / "metrics.json")["status"]
    except (LraError, KeyError, TypeError):
        status = "unfinished"
    return f"{cell}, {f'cut at step {steps}, ' if steps else ''}{status}"
