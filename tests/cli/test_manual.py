"""The page of all commands, against the parsers that it is made from."""

from __future__ import annotations

from pathlib import Path

from lra.cli import manual

ROOT = Path(__file__).parents[2]


def test_the_page_is_made_from_the_parsers() -> None:
    """An option that is added or described otherwise would be missing or wrong for whoever reads the page."""
    assert (ROOT / manual.PAGE).read_text() == manual.page(), "make it anew: python -m lra.cli.manual"


def test_every_argument_says_what_it_means() -> None:
    rows = [line for line in manual.page().splitlines() if line.startswith("| `")]
    assert len(rows) > 100 and not [row for row in rows if row.endswith("|  |")]
