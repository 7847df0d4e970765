"""From a task's source to its shards."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lra import __version__
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.files import sha256
from lra.mapping import from_mapping


def prepare(task: str, settings: Mapping[str, Any], source: Path | None, out: Path, workers: int) -> Shards:
    """Read or generate all examples of a task and write its shards.

    Args:
        task: name of a module of :mod:`lra.tasks`.
        settings: the task's ``data`` block of config.yaml.
        source: the artefact that ``settings["source"]`` names; None where nothing is read.
        out: folder of the shards.
        workers: processes that may be used; the result does not depend on it.

    Raises:
        LraError: a wrong setting, or a source that is missing, damaged or not what was expected.
    """
    if source is not None and not source.exists():
        raise LraError(f"{source} is not there; fetch it with `snakemake --forcerun download_{source.name}`.")
    module = importlib.import_module(f"lra.tasks.{task}")
    chosen = from_mapping(module.Settings, settings, f"the data settings of {task}")
    provenance = {
        "settings": dict(settings),
        "source": source.name if source else settings["source"],
        "source_sha256": sha256(source) if source and source.is_file() else None,
        "version": __version__,
    }
    expected = getattr(chosen, "rows", None) or getattr(chosen, "expected_rows", None)
    examples = module.examples(chosen, source, workers)
    return write_shards(out, module.describe(chosen), examples, expected=expected, provenance=provenance)
