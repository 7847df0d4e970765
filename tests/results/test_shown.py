"""What the documentation shows of an arena is what its tables and report say."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from lra.results.report import write_report
from lra.results.tables import write_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shown() -> Any:
    spec = importlib.util.spec_from_file_location("shown", ROOT / "docs/shown.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_accuracies_of_the_report(
    shown: Any, table: Any, metrics: list[Path], tmp_path: Path
) -> None:
    results, root = tmp_path / "results", tmp_path / "clone"
    write_tables(table, results / "tables")
    write_report(table, metrics, [], results / "report.html")
    (results / "plots").mkdir()
    (results / "plots/accuracy_time.png").write_bytes(b"figure")
    (root / "docs/images").mkdir(parents=True)
    page = shutil.copy(ROOT / "docs/running.md", root / "docs")
    shown.show(results, root)
    shown.show(results, root)  # once more changes nothing
    text = Path(page).read_text()
    before, block, after = re.split("<!-- /?mini results -->\n", text)
    original = (ROOT / "docs/running.md").read_text()
    assert original.startswith(before + shown.BEGIN) and original.endswith(shown.END + after)
    means = re.findall(r"\d+\.\d\d(?= ±)", block)
    assert len(means) > 5 and all(mean in (results / "report.html").read_text() for mean in means)
    assert (root / "docs/images/accuracy_time.png").read_bytes() == b"figure"
