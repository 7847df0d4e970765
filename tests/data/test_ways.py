"""Each line that a failed download offers does what it says, and the configuration without the bucket needs neither."""

from __future__ import annotations

import copy
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from lra.config.arena import Arena, arena
from lra.data.download import fetch
from lra.data.ways import READERS, WITHOUT_THE_BUCKET, ways_on
from lra.errors import LraError

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
ARTEFACTS = [*CONFIG["sources"], "listops"]


def resolved(line: str, own: Path) -> Arena:
    """The arena that a line runs; ``own`` stands for the user's file."""
    words = iter(shlex.split(line))
    assert [next(words) for _ in range(3)] == ["snakemake", "--cores", "8"]
    config = copy.deepcopy(CONFIG)
    option, *values = words
    if option == "--configfile":
        update_config(config, yaml.safe_load((ROOT / values[0]).read_text()))
    for key, _, value in (value.partition("=") for value in values if option == "--config"):
        update_config(config, {key: yaml.safe_load(re.sub("/your/[^}]*", str(own), value))})
    return arena(config)


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_each_way_is_a_line_that_works(artefact: str, tmp_path: Path) -> None:
    """One way at a time was named before, and not as a line."""
    ways = ways_on(artefact).splitlines()[1:-1]
    assert len(ways) >= 2
    for what, line in zip(ways[::2], ways[1::2], strict=True):
        chosen = resolved(line.strip(), tmp_path)
        named = [
            task
            for task in ("listops", "retrieval", "pathfinder", "pathx")
            if f" {task} " in f"{what} ".replace(",", " ")
        ]
        if "/your/" in line:
            assert chosen.sources[artefact] == [{"path": str(tmp_path)}]
        elif named:
            assert all(chosen.artefact(task) != artefact for task in named)
            generated = "generate" in what
            assert all((chosen.artefact(task) is None) == generated for task in named)
            assert not generated or {task: chosen.data(task)["rows"] for task in named} == {
                task: CONFIG["scales"]["paper"]["tasks"][task]["data"]["expected_rows"] for task in named
            }
        else:
            assert WITHOUT_THE_BUCKET in line


def test_the_configuration_without_the_bucket_is_the_papers_but_for_the_sources() -> None:
    given = arena(CONFIG | {"scale": "paper"})
    config = copy.deepcopy(CONFIG)
    update_config(config, yaml.safe_load((ROOT / WITHOUT_THE_BUCKET).read_text()))
    chosen = arena(config)
    assert chosen.scale == "paper" and chosen.tasks == given.tasks
    assert not {chosen.artefact(task) for task in chosen.settings["tasks"]} & set(READERS)
    for task in chosen.tasks:
        assert chosen.parts(task) == given.parts(task)
        assert chosen.experiment("vmean", task, 1) == given.experiment("vmean", task, 1)


@pytest.mark.parametrize("artefact", READERS)
def test_a_dead_archive_names_the_configuration_without_it(artefact: str, tmp_path: Path) -> None:
    with pytest.raises(
        LraError, match=rf"could not be had, it has no source.\nWays to go on, .*\n.*\n.*{WITHOUT_THE_BUCKET}"
    ):
        fetch(artefact, [], tmp_path / artefact, tmp_path / "lock.json")
