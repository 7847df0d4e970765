from __future__ import annotations

import csv
import re

import pytest

from lra.results import tables
from lra.results.rendering import Cell, Column, Sheet, latex, markdown
from lra.results.rows import Row, read_rows, write_rows
from lra.results.tables import write_tables


@pytest.fixture(scope="module")
def folder(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables")
    write_tables(table, path)
    return path


def cells(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return {row.pop("attention"): row for row in csv.DictReader(stream)}


def test_every_table_in_every_format(folder):
    names = {f"{name}.{ending}" for name in tables.TABLES for ending in ("csv", "md", "tex", "html")}
    assert {path.name for path in folder.iterdir()} == names


def test_accuracy_in_per_cent_with_the_papers_values(folder):
    rows = cells(folder / "accuracy.csv")
    assert rows["softmax"] == {
        "model": "Standard",
        "listops": "40",
        "listops_paper": "38.15",
        "listops_difference": "1.85",
        "text": "60",
        "text_paper": "57.69",
        "text_difference": "2.31",
        "average": "50",
        "average_paper": "47.92",
        "average_difference": "2.08",
    }


def test_a_failed_cell_shows_how_and_has_no_average(folder):
    row = cells(folder / "accuracy.csv")["vmean"]
    assert (row["text"], row["text_difference"], row["average"]) == ("diverged", "", "")
    assert " diverged |" in (folder / "accuracy.md").read_text()


def test_markdown_marks_best_second_noise_and_seeds(folder):
    lines = (folder / "accuracy.md").read_text().splitlines()
    assert len({len(line) for line in lines[:5]}) == 1
    skeinformer = next(line for line in lines if line.startswith("| Skeinformer"))
    assert "**55.00 ± 0.50 ▲**" in skeinformer
    assert "**61.00 ± 0.71 (2 of 3 seeds)**" in skeinformer
    assert "*40.00 ± 0.50*" in lines[2]
    assert "With one seed" not in lines[-1]


def test_latex_is_a_booktabs_tabular_with_every_cell(folder):
    text = (folder / "accuracy.tex").read_text()
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 4
    assert {line.count("&") for line in body} == {9}
    assert r"\textbf{55.00 $\pm$ 0.50$^{\uparrow}$}" in text
    assert r"\underline{40.00 $\pm$ 0.50}" in text
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrrrrrrrr}", r"\end{tabular}"):
        assert command in text
    table = text[text.index(r"\begin") :]
    assert table.isascii()


def test_time_is_measured_or_absent_and_compared_as_a_ratio(folder):
    rows = cells(folder / "time.csv")
    assert rows["skeinformer"]["listops"] == f"{20 * 128 / 60:.2f}"
    assert rows["skeinformer"]["listops_ratio"] == "0.5"
    assert float(rows["skeinformer"]["listops_paper_ratio"]) == pytest.approx(9.66 / 22.30, abs=0.005)
    assert (rows["softmax"]["text"], rows["vmean"]["text_ratio"]) == ("oom", "")
    assert (rows["skeinformer"]["text"], rows["skeinformer"]["average"]) == ("", "")
    assert "a processor, 2 threads" in (folder / "time.md").read_text()


def test_memory_and_the_batch_that_fits(folder):
    row = cells(folder / "memory.csv")["skeinformer"]
    assert (row["listops"], row["listops_batch"], row["listops_paper_batch"]) == ("20", "64", "128")
    assert "fits in 16 GiB" in (folder / "memory.md").read_text()


def test_flops_with_the_papers_terms(folder):
    rows = cells(folder / "flops.csv")
    assert (rows["skeinformer"]["listops"], rows["skeinformer"]["listops_leading"]) == ("20", "22")
    assert (rows["softmax"]["paper"], rows["vmean"]["paper"]) == ("2 n^2 p", "")
    assert "2 $n^2$ p" in (folder / "flops.tex").read_text()


def test_without_measurements_the_cost_tables_claim_nothing(tmp_path):
    write_rows([Row("mini", "text", "vmean", "ok", "", 1, 1, accuracy=0.5, train_seconds=9.0)], tmp_path / "table.csv")
    write_tables(tmp_path / "table.csv", tmp_path)
    assert cells(tmp_path / "time.csv")["vmean"]["text"] == ""
    assert cells(tmp_path / "memory.csv")["vmean"]["text"] == ""
    assert "(" not in (tmp_path / "time.md").read_text().splitlines()[-1]


def test_a_single_seed_is_said(table):
    rows = [Row("mini", "text", name, "ok", "", 1, 1, accuracy=0.5, noise="examples") for name in ("softmax", "vmean")]
    sheet = tables.accuracy(rows)
    assert "With one seed" in sheet.caption
    assert [column.key for column in sheet.columns] == ["text"]
    assert sheet.lines[0][0] == Cell("50.00", 50.0)


def test_a_task_that_an_attention_was_not_run_on_is_a_dash():
    rows = [Row("mini", "text", "vmean", "ok", "", 1, 1, accuracy=0.5)]
    rows.append(Row("mini", "listops", "softmax", "ok", "", 1, 1, accuracy=0.5))
    sheet = tables.accuracy(rows)
    assert [cell.text for cell in sheet.lines[0]] == ["50.00", "–", "–"]


def test_ranks_go_by_the_digits_shown():
    column = Column("x", "X", "highest")
    shown = [Cell("1", 1.0), Cell("3", 3.0), Cell("oom"), Cell("3", 3.0), Cell("2", 2.0)]
    assert column.ranks(shown) == [0, 1, 0, 1, 2]
    assert Column("x", "X", "lowest").ranks(shown) == [1, 0, 0, 0, 2]
    assert Column("x", "X").ranks(shown) == [0] * 5
    assert column.ranks([Cell("1", 1.0), Cell("oom")]) == [0, 0]


def test_minus_signs_and_zeros():
    assert tables._number(-0.004, "+z.2f") == Cell("+0.00", 0.0)
    assert tables._number(-1.0, "+z.2f") == Cell("−1.00", -1.0)
    sheet = Sheet("x", "50 %.", ("a_b",), (Column("x", "X_1"),), ((Cell("−1.00", -1.0),),))
    assert r"a\_b & $-$1.00 \\" in latex(sheet)
    assert markdown(sheet).startswith("| Model |   X_1 |\n| :---- | ----: |\n| a_b   | −1.00 |\n")


def test_html_is_a_sortable_page_that_needs_nothing_else(folder):
    text = (folder / "accuracy.html").read_text()
    assert re.search(r'<td data-value="40.0"><u>40.00 ± 0.50</u></td>', text)
    assert '<td class="failed">diverged</td>' in text
    assert "<td>2 n^2 p</td>" in (folder / "flops.html").read_text()
    assert text.count('<button type="button">') == 10
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_rows_are_those_of_the_table(table, folder):
    assert list(cells(folder / "accuracy.csv")) == list(dict.fromkeys(row.attention for row in read_rows(table)))
