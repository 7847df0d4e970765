from __future__ import annotations

import pytest

from lra.errors import LraError
from lra.results.rows import COLUMNS, TableRow, attentions, read_rows, tasks, write_rows

ROW = TableRow(
    "mini", "text", "vmean", "ok", 'a "reason", with a comma', 1, 3, accuracy=1 / 3, steps=300.0, parameters=5
)


def test_rows_survive_the_file(tmp_path):
    rows = [ROW, TableRow("mini", "text", "softmax", "oom", "", 0, 1)]
    write_rows(rows, tmp_path / "table.csv")
    back = read_rows(tmp_path / "table.csv")
    assert back[0].accuracy == pytest.approx(1 / 3, abs=1e-9)
    assert back[0].reason == ROW.reason
    assert (type(back[0].steps), type(back[0].parameters), type(back[0].seeds_ok)) == (float, int, int)
    assert back[1] == rows[1]
    assert (tasks(back), attentions(back)) == (["text"], ["vmean", "softmax"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "is not there; make it with"),
        ("", "no column"),
        ("task,attention\n", "no column"),
        (",".join(COLUMNS) + "\n", "has no rows"),
        (",".join(COLUMNS) + "\n" + ",".join("x" * len(COLUMNS)) + "\n", "cannot be read"),
        (",".join(COLUMNS) + "\nmini,text,vmean,ok,,1,1,0.5", "a line is cut short"),
        (",".join(COLUMNS) + "\nmini,text,vmean,ok" + "," * (len(COLUMNS) - 4), "cannot be read"),
        (",".join(COLUMNS) + "\n" + "x" * 200_000, "cannot be read"),
    ],
)
def test_a_missing_or_damaged_table_is_told_in_one_sentence(tmp_path, text, words):
    path = tmp_path / "table.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(LraError, match=words):
        read_rows(path)


@pytest.mark.parametrize("edit", ["foreign", "removed", "twice", "number"])
def test_a_table_that_was_edited_is_refused(table, tmp_path, edit):
    """A row typed in by hand stood in tables, figures and report."""
    head, first, *rest = table.read_text().splitlines()
    lines = {
        "foreign": [head, first, *rest, first.replace("softmax", "mine")],
        "removed": [head, *rest],
        "twice": [head, first, first, *rest],
        "number": [head, first.replace("ok", "oom", 1), *rest],
    }
    (tmp_path / "table.csv").write_text("\n".join(lines[edit]) + "\n")
    with pytest.raises(LraError, match=r"table.csv was edited .*; make it again"):
        read_rows(tmp_path / "table.csv")
