"""Which names a shell is offered; that it offers them is tested with the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.attention.registry import ALIASES, METHODS
from lra.cli.completion import known
from lra.config.blocks import ARENA


def test_names_of_ones_own_come_after_those_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = configuration()
    config["attentions"].append({"mine": {"module": "lra.attention.vmean:VMean"}})
    data = {"module": "random:choices", "classes": 2, "vocabulary": 2, "max_length": 4}
    config["scales"]["mini"]["tasks"]["my_task"] = config["scales"]["mini"]["tasks"]["listops"] | {"data": data}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert known("tasks") == [*ARENA, "my_task"]
    attentions = known("attentions")
    assert attentions[-1] == "mine" and len(attentions) == len(set(attentions))
    assert set(attentions) >= {*METHODS, *ALIASES}


@pytest.mark.parametrize("content", [None, "tasks: [listops", "tasks: []"], ids=["missing", "no YAML", "wrong"])
def test_without_a_config_that_can_be_read_those_of_the_package(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("config.yaml").write_text(content)
    assert known("tasks") == list(ARENA)
    assert set(known("attentions")) >= {*METHODS, *ALIASES}
