"""From a task's source to its shards."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lra import __version__, paths
from lra.config.mapping import from_mapping
from lra.data.lockfile import content_of, difference, recorded
from lra.data.replacing import refuse_other_data
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.tasks import module_of
from lra.tasks.contract import SPLITS

log = logging.getLogger(__name__)


def prepare(task: str, settings: Mapping[str, Any], source: Path | None, out: Path, workers: int) -> Shards:
    """Read or generate all examples of a task and write its shards.

    Args:
        task: its name in config.yaml.
        settings: the task's ``data`` block of config.yaml.
        source: the artefact, or the file or folder of the user's own, that ``settings["source"]`` names; None where
            nothing is read.
        out: folder of the shards.
        workers: processes that may be used; the result does not depend on it.

    Raises:
        LraError: a wrong setting, or a source that is missing, damaged or not what was expected.
    """
    if source is not None and not source.exists():
        again = f"--forcerun {paths.downloaded(source.name)} -- " if source == paths.source(source.name) else ""
        fetch = f"make it with `snakemake --cores 1 {again}prepare_{task}`"
        raise LraError(f"{source} is not there; {'correct the path' if 'module' in settings else fetch}.")
    module = module_of(task, settings)
    chosen = from_mapping(module.Settings, settings, f"the data settings of {task}")
    refuse_other_data(out, task)
    provenance = {
        "settings": dict(settings),
        "source": source.name if source else settings.get("source") or settings["module"],
        "source_sha256": checksum(source) if source else None,
        "version": __version__,
    }
    expected = getattr(chosen, "rows", None) or getattr(chosen, "expected_rows", None)
    examples = module.examples(chosen, source, workers)
    shards = write_shards(out, module.describe(chosen), examples, expected=expected, provenance=provenance)
    _warn_of_overlap(shards)
    return shards


def _warn_of_overlap(shards: Shards) -> None:
    """Warn in one line if rows of a split also occur in another split."""
    counts = {split: shards.splits[split]["also_in_another_split"] for split in SPLITS}
    shared = ", ".join(f"{split} {count} of {shards.rows(split)}" for split, count in counts.items() if count)
    if shared:
        log.warning(
            "warning: %s has rows that also occur in another split (%s); accuracies may reflect memorised rows.",
            shards.task.name,
            shared,
        )


def checksum(source: Path) -> str:
    """SHA-256 of a source's content, see :mod:`lra.data.lockfile`; for extracted files, that of their archive.

    Raises:
        LraError: a source that the lock file knows has another content than at first use.
    """
    entry = recorded(paths.LOCK, source.name)
    if entry and source == paths.extracted(source.name):
        return entry.sha256
    content = content_of(source)
    ours = source == paths.source(source.name)
    if ours and entry and (changed := difference(source.name, content, entry, paths.LOCK)):
        raise LraError(f"{source.resolve()} {changed}.")
    return content.sha256
