from __future__ import annotations

import csv
import dataclasses
import re

import pytest

from lra.results import tables
from lra.results.rendering import Column, Entry, Sheet, View, latex, markdown
from lra.results.rows import TableRow, read_rows, write_rows
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
        "text": "60",
        "average": "50",
        "listops_with_failures": "40",
        "text_with_failures": "60",
        "average_with_failures": "50",
        "listops_paper": "38.15",
        "text_paper": "57.69",
        "average_paper": "47.92",
        "listops_difference": "1.85",
        "text_difference": "2.31",
        "average_difference": "2.08",
    }


def test_a_failed_cell_shows_how_and_has_no_average(folder):
    row = cells(folder / "accuracy.csv")["vmean"]
    assert (row["text"], row["text_difference"], row["average"]) == ("diverged", "", "")
    assert " diverged |" in (folder / "accuracy.md").read_text()


def test_failed_runs_at_the_majoritys_accuracy_are_a_view(folder, table):
    """Without it a method that diverges on hard seeds has the mean of its easy ones."""
    failed = read_rows(table)[5]
    row = cells(folder / "accuracy.csv")["vmean"]
    assert float(row["text_with_failures"]) == pytest.approx(100 * failed.majority_accuracy)
    text = (folder / "accuracy.md").read_text()
    assert "(3 failed)" in text and "(1 failed)" in text
    assert "Test accuracy with the 4 runs that failed, counted with" in text


def test_markdown_marks_the_best_verdicts_intervals_and_seeds(folder, table):
    lines = (folder / "accuracy.md").read_text().splitlines()
    assert lines[0] == "**Accuracy**"
    assert len({len(line) for line in lines[2:7]}) == 1
    skeinformer = next(line for line in lines if line.startswith("| Skeinformer"))
    row = read_rows(table)[1]
    half = 50 * (row.accuracy_high - row.accuracy_low)
    assert f"**55.00 ± {half:.2f} ▲**" in skeinformer
    assert re.search(r"\| 61.00 ± \d+.\d\d \(2/3 seeds\) \|", skeinformer)
    assert re.search(r"Standard +\| +40.00 ± ", lines[4])


def test_a_verdict_over_one_task_only_has_an_open_mark(table):
    rows = read_rows(table)[:3]
    rows[1] = dataclasses.replace(rows[1], adjusted_p_all_tasks=0.06)
    rows[2] = dataclasses.replace(rows[2], adjusted_p_all_tasks=0.06, versus_softmax="worse")
    view = tables.accuracy(rows).views[0]
    assert [line[0].text[-1] for line in view.lines[1:]] == ["△", "▽"]
    assert "of all tasks; △ and ▽ over those of one task only" in view.caption


def test_the_average_has_an_interval(table):
    rows = [dataclasses.replace(row, accuracy_low=row.accuracy - 0.03, accuracy_high=row.accuracy + 0.03)
            for row in read_rows(table) if row.accuracy]  # fmt: skip
    average = tables.accuracy(rows).views[0].lines[0][-1]
    assert average.text == "50.00 ± 2.12"  # 3 / sqrt(2)


def test_latex_is_a_booktabs_tabular_with_every_cell(folder):
    text = (folder / "accuracy.tex").read_text()
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(body) == 4 * 4
    assert {line.count("&") for line in body} == {3}
    assert re.search(r"\\textbf\{55.00 \$\\pm\$ \d.\d\d\$\^\{\\uparrow\\uparrow\}\$\}", text)
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}{lrrr}", r"\end{tabular}"):
        assert text.count(command) == 4
    assert all(line.isascii() for line in body)


def test_time_is_measured_or_absent_and_compared_with_exact_attention_without_dropout(table, tmp_path):
    rows = read_rows(table)
    rows.insert(1, dataclasses.replace(rows[0], attention="softmax_nodropout", seconds_per_1000_steps=2560 * 2))
    write_rows(rows, tmp_path / "table.csv")
    write_tables(tmp_path / "table.csv", tmp_path)
    found = cells(tmp_path / "time.csv")
    assert found["skeinformer"]["listops"] == f"{20 * 128 / 60:.2f}"
    assert found["skeinformer"]["listops_share"] == "0.5"
    assert float(found["skeinformer"]["listops_paper_share"]) == pytest.approx(9.66 / 19.50, abs=0.005)
    assert (found["softmax"]["text"], found["vmean"]["text_share"]) == ("oom", "")
    assert (found["skeinformer"]["text"], found["skeinformer"]["average"]) == ("", "")
    text = (tmp_path / "time.md").read_text()
    sizes = "at length n (ListOps 2048, Text 2048) with 32 features in fp32"
    assert f"Measured alone on the machine (a processor, 2 threads) {sizes}." in text
    assert "Add `softmax_nodropout`" not in text


def test_without_the_yardstick_there_are_no_shares_and_it_is_said(folder):
    assert cells(folder / "time.csv")["skeinformer"]["listops_share"] == ""
    assert "Add `softmax_nodropout` to the attentions of config.yaml" in (folder / "time.md").read_text()


def test_the_lowest_cost_is_bold_and_a_lone_one_is_not(folder):
    text = (folder / "time.md").read_text()
    assert "**10.67**" in text and text.count("**10.67**") == 1
    assert re.search(r"\| +19.20 \|", text)


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
    write_rows(
        [TableRow("mini", "text", "vmean", "ok", "", 1, 1, accuracy=0.5, train_seconds=9.0)], tmp_path / "table.csv"
    )
    write_tables(tmp_path / "table.csv", tmp_path)
    assert cells(tmp_path / "time.csv")["vmean"]["text"] == ""
    assert cells(tmp_path / "memory.csv")["vmean"]["text"] == ""
    assert "Measured" not in (tmp_path / "time.md").read_text()


@pytest.mark.parametrize("seeds", [1, 2])
def test_below_three_seeds_nothing_is_marked_and_it_is_said(seeds):
    """With one seed bold and arrows are decided by the seed that was taken."""
    rows = [
        TableRow("mini", "text", name, "ok", "", seeds, seeds, accuracy=0.5, accuracy_low=0.4, accuracy_high=0.6)
        for name in ("softmax", "vmean")
    ]
    view = tables.accuracy(rows).views[0]
    assert "With fewer than 3 seeds there are no marks" in view.caption
    assert "▲" not in view.caption and "Bold" not in view.caption
    assert [column.key for column in view.columns] == ["text"]
    assert view.lines[0][0] == Entry("50.00 ± 10.00", 50.0, half_width=pytest.approx(10))


def test_tables_name_the_data_they_stand_on(folder):
    text = (folder / "accuracy.md").read_text()
    assert "Data: ListOps: generated here, up to 2048 tokens, 400 test examples; Text: generated here" in text
    assert text.rstrip().endswith("Trained with 32 features in fp32.")
    page = (folder / "accuracy.html").read_text()
    assert "<span>ListOps</span> <small>generated here, n ≤ 2048</small>" in page


def test_a_task_that_an_attention_was_not_run_on_is_a_dash():
    rows = [TableRow("mini", "text", "vmean", "ok", "", 1, 1, accuracy=0.5)]
    rows.append(TableRow("mini", "listops", "softmax", "ok", "", 1, 1, accuracy=0.5))
    view = tables.accuracy(rows).views[0]
    assert [entry.text for entry in view.lines[0]] == ["50.00", "–", "–"]


def test_the_lowest_goes_by_the_digits_shown():
    shown = [Entry("2", 2.0), Entry("1", 1.0), Entry("oom"), Entry("1", 1.0)]
    assert [entry.bold for entry in tables._embolden(shown)] == [False, True, False, True]
    assert not any(entry.bold for entry in tables._embolden([Entry("1", 1.0), Entry("oom")]))


def test_minus_signs_and_zeros():
    assert tables._number(-0.004, "+z.2f") == Entry("+0.00", 0.0)
    assert tables._number(-1.0, "+z.2f") == Entry("−1.00", -1.0)
    view = View("a", "50 %.", (Column("x", "X_1"),), ((Entry("−1.00", -1.0),),))
    sheet = Sheet("x", "", ("a_b",), (view,))
    assert r"a\_b & $-$1.00 \\" in latex(sheet)
    assert markdown(sheet).startswith("| Model |   X_1 |\n| :---- | ----: |\n| a_b   | −1.00 |\n\n50 %.\n")


def test_html_is_a_sortable_page_that_needs_nothing_else(folder):
    text = (folder / "accuracy.html").read_text()
    assert re.search(r'data-value="55.0"><strong>55.00 ± \d.\d\d ▲</strong></td>', text)
    assert 'class="failed">diverged</td>' in text
    assert ">2 n^2 p</td>" in (folder / "flops.html").read_text()
    assert text.count('<button type="button">') == 4 * 4
    assert not re.search(r'(src|href)="(?!data:|#)', text)


def test_the_rows_are_those_of_the_table(table, folder):
    assert list(cells(folder / "accuracy.csv")) == list(dict.fromkeys(row.attention for row in read_rows(table)))


def beyond(scale):
    """One task of an arena with a row of the same protocol, one of the Arena's, and a yardstick."""
    return [
        TableRow(scale=scale, task="listops", attention=name, status="ok", reason="", seeds_ok=1, seeds_run=1,
                 accuracy=0.4, published_accuracy=0.3869 if name == "skyformer" else None)
        for name in ("softmax", "skyformer", "luna", "s4d")
    ]  # fmt: skip


def test_what_was_published_under_another_protocol_is_marked():
    sheet = tables.accuracy(beyond("paper"))
    views = {view.label: view for view in sheet.views}
    assert [line[0].text for line in views["Other protocols"].lines] == ["–", "–", "37.25 *", "60.52 **"]
    assert "Luna: Ma et al. 2021" in views["Other protocols"].caption
    assert "Skyformer" not in views["Other protocols"].caption
    assert "Skyformer: Chen et al. 2021 (arXiv 2111.00035))." in views["Paper"].caption
    assert [line[0].text for line in views["Paper"].lines] == ["–", "38.69", "–", "–"]


def test_numbers_of_full_data_do_not_stand_beside_small_data():
    assert "Other protocols" not in {view.label for view in tables.accuracy(beyond("mini")).views}


def test_yardsticks_are_explained_where_there_are_some():
    sentence = "A yardstick is another kind of layer, not an attention."
    assert sentence in tables.accuracy(beyond("mini")).views[0].caption
    assert sentence not in tables.accuracy(beyond("mini")[:3]).views[0].caption
