"""Paths under data/, results/ and logs/ are spelled in one place, and are those that the docs name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import lra
from lra import paths

PACKAGE = Path(lra.__file__).parent
RULES = PACKAGE.parents[1] / "workflow"
SPELLED = re.compile(r"^(data|results|logs)/")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_other_module_spells_them(path: Path) -> None:
    """Two spellings of one path part ways when one is edited."""
    tree = ast.parse(path.read_text())
    spelled = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert [text for text in spelled if SPELLED.match(text)] == []


@pytest.mark.parametrize("path", sorted(RULES.rglob("*.smk")), ids=lambda path: path.name)
def test_no_rule_spells_them(path: Path) -> None:
    assert re.findall(r"[\"'](?:data|results|logs)/.*", path.read_text()) == []


def test_a_part_may_be_a_wildcard() -> None:
    wanted = "results/runs/mini/text/softmax/seed-{seed}"
    assert paths.run("mini", "text", "softmax", "{seed}").as_posix() == wanted
    assert paths.run("mini", "text", "softmax", 3).as_posix() == wanted.format(seed=3)


def test_every_path_is_below_a_folder_that_git_ignores() -> None:
    ignored = (PACKAGE.parents[1] / ".gitignore").read_text().splitlines()
    for folder in (paths.DATA, paths.RESULTS, paths.LOGS):
        assert f"/{folder}/" in ignored or f"{folder}/" in ignored
    for path in (
        paths.LOCK,
        paths.downloaded("imdb"),
        paths.extracted("lra_release"),
        paths.shards("mini", "text"),
        paths.rehearsal_shards("mini", "text"),
        paths.swept_run("mini", "batch-8_rate-0.1", 1),
        paths.tried_run("mini", "text", "softmax", 1),
        paths.rehearsed_run("mini", "text", "softmax"),
        paths.measurement("text", "softmax"),
        paths.approximation("mini", "softmax"),
        paths.BENCH,
        paths.plot("sweep", "svg"),
        paths.table("time", "csv"),
        paths.log("mini", "prepare_text"),
    ):
        assert path.parts[0] in ("data", "results", "logs"), path


def test_a_pretraining_lies_where_its_cell_does() -> None:
    assert paths.pretraining("mini", "text", "vmean", 3) == Path("results/pretrain/mini/text/vmean/seed-3")
