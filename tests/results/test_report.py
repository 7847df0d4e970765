from __future__ import annotations

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lra.errors import LraError
from lra.results import provenance
from lra.results.plots import accuracy_time, loss
from lra.results.report import inline_svg, write_report
from lra.results.table import collect
from results.builder import write_measure, write_run
from results.publishing import publish

FIGURES = ("accuracy_time", "loss_seconds", "loss_steps")


@pytest.fixture(scope="module")
def report(table, metrics, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    accuracy_time.draw(table, folder / "accuracy_time")
    loss.draw(metrics, folder / "loss_seconds", "seconds")
    loss.draw(metrics, folder / "loss_steps", "step")
    write_report(table, metrics, [folder / f"{name}.svg" for name in FIGURES], folder / "report.html")
    return folder / "report.html"


class Page(HTMLParser):
    """Links, identifiers and unclosed elements of a page."""

    VOID = ("meta", "link", "br", "path", "use", "rect", "image")

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("src", "href", "xlink:href") if attributes.get(name)]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_it_needs_nothing_but_itself(report):
    page = Page(report.read_text())
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    local = {f"#{name}" for name in page.ids}
    assert {link for link in page.links if link != "data:,"} <= local
    assert "@import" not in report.read_text()
    assert not re.search(r"url\((?!#)", report.read_text())


def test_it_opens_with_findings_and_shows_tables_and_figures(report):
    text = report.read_text()
    order = [
        'id="basis-table"',
        "Failures",
        "Not distinguishable",
        'id="accuracy-1-table"',
        'id="time-1-table"',
        'id="accuracy_time"',
    ]
    order += ['id="loss_seconds"', 'id="cells-table"', 'id="provenance"']
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert text.count("<svg") == 3


def test_its_head_says_what_each_tasks_numbers_stand_on(report):
    """Without it "Pathfinder 98.70 %" at 121 generated tokens reads like a result on the Arena."""
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", report.read_text().split('id="findings"')[0]))
    assert "ListOps generated here 2048 8000 400 32 fp32 2048 32 fp32 a processor, 2 threads" in text


def test_every_cell_shows_difference_interval_and_p_over_both_families(report):
    cells = report.read_text().split('id="cells-table"')[1]
    text = html.unescape(re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", cells)))
    assert re.search(r"Skeinformer \S+ – 3 of 3 55.00 \S+ to \S+ \+15.00 \+\S+ to \+\S+ < 0.001 < 0.001 better", text)
    assert re.search(r"V-Mean ListOps – 3 of 3 39.50 \S+ to \S+ −0.50 −\S+ to \+\S+ 0.\d{3} 0.\d{3} undecided", text)


def test_provenance_says_what_the_runs_recorded(report):
    text = html.unescape(report.read_text())
    assert "d" * 64 in text
    assert "code-of-skeinformer" in text
    assert "a processor" in text
    assert "2026-11-24T22:11:00+00:00 to 2026-11-24T22:13:00+00:00" in text
    assert '"steps": 500' in text


def test_what_differs_between_runs_is_counted(tmp_path):
    from lra.results.reading import read_runs

    paths = [
        write_run(tmp_path, "text", "vmean", 1),
        write_run(tmp_path, "text", "softmax", 1, machine={"device": "b"}),
    ]
    facts = dict(provenance.provenance(read_runs(paths))["facts"])
    assert facts["Device"] == "a processor (1 of 2 runs); b (1 of 2 runs)"
    assert facts["Torch"] == "2.13.0 (1 of 2 runs); unknown (1 of 2 runs)"


def test_the_commit_or_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    assert provenance.commit() == "unknown (not in a git checkout)"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    (tmp_path / "file").write_text("x")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance.commit() == head
    (tmp_path / "file").write_text("y")
    assert provenance.commit() == f"{head}-dirty"


def test_reasons_are_escaped(tmp_path):
    path = write_run(tmp_path, "text", "vmean", status="failed", reason="<script>alert(1)</script>")
    collect([path], tmp_path / "table.csv", scale="mini")
    write_report(tmp_path / "table.csv", [path], [], tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert 'id="figures"' not in text and 'id="time"' not in text


def test_a_missing_figure_is_told_in_one_sentence(tmp_path):
    with pytest.raises(LraError, match="make it with `lra plots loss_steps`"):
        inline_svg(tmp_path / "loss_steps.svg")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

PROBE = """
<iframe id="page" src="report.html" style="border: 0; width: {width}px; height: 900px"></iframe>
<script>
document.getElementById("page").addEventListener("load", (event) => {{
  const page = event.target.contentDocument;
  const table = page.getElementById("cells-table");
  const column = (name) => [...table.tHead.rows[0].cells]
    .find((cell) => cell.querySelector("span").textContent === name);
  const state = (heading) =>
    heading.getAttribute("aria-sort") + ":" + [...table.tBodies[0].rows].map((row) =>
      row.cells[heading.cellIndex].textContent.trim()).join("|");
  const results = {{ scroll: page.documentElement.scrollWidth, width: page.documentElement.clientWidth }};
  for (const name of ["Accuracy %", "Model"]) {{
    const heading = column(name);
    heading.querySelector("button").click();
    results[name + " up"] = state(heading);
    heading.querySelector("button").click();
    results[name + " down"] = state(heading);
  }}
  const accuracy = page.getElementById("accuracy-1-table");
  const text = [...accuracy.tHead.rows[0].cells]
    .findIndex((cell) => cell.querySelector("span").textContent === "Text");
  for (const way of ["up", "down"]) {{
    accuracy.tHead.rows[0].cells[text].querySelector("button").click();
    results["Text " + way] = [...accuracy.tBodies[0].rows].map((row) => row.cells[text].dataset.value).join("|");
  }}
  const wide = [...page.querySelectorAll(".wide")].filter((box) => !box.querySelector("svg"));
  results.aside = wide.filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.ariaLabel).join("|");
  const shown = () => [...page.querySelectorAll("#time .view")].filter((view) => view.offsetHeight > 0)
    .map((view) => view.id).join("|");
  const switches = page.querySelectorAll("#time .switch button");
  results.views = [...switches].map((button) => button.textContent).join("|");
  results["view first"] = shown();
  switches[1].click();
  results["view second"] = shown();
  results.pressed = [...switches].map((button) => button.ariaPressed).join("|");
  results.sorted = [...table.tHead.rows[0].cells].filter((cell) => cell.hasAttribute("aria-sort")).length;
  results.dark = page.defaultView.getComputedStyle(page.body).backgroundColor;
  const list = document.createElement("dl");
  for (const [name, value] of Object.entries(results)) {{
    list.append(Object.assign(document.createElement("dt"), {{ textContent: name }}));
    list.append(Object.assign(document.createElement("dd"), {{ textContent: value }}));
  }}
  document.body.replaceChildren(list);
}});
</script>
"""


def browse(report: Path, profile: Path, width: int, *options: str) -> dict[str, str]:
    """Open the report in a frame of a width, click on headings, and say what came of it."""
    probe = report.with_name(f"probe-{width}.html")
    probe.write_text(f"<!DOCTYPE html><body>{PROBE.format(width=width)}</body>")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={profile}"]
    flags += ["--allow-file-access-from-files", "--virtual-time-budget=20000", "--window-size=1400,1000", *options]
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", done.stdout)
    assert pairs, done.stdout[-500:] + done.stderr[-2000:]
    return {html.unescape(name): html.unescape(value) for name, value in pairs}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install it to test the report in a browser")
@pytest.mark.parametrize("width", [400, 1280], ids=["phone", "desktop"])
def test_in_a_browser_tables_sort_and_nothing_overflows(report, tmp_path, width):
    seen = browse(report, tmp_path, width)
    assert seen["Accuracy % up"] == "ascending:39.50|40.00|55.00|60.00|61.00|–"
    assert seen["Accuracy % down"] == "descending:61.00|60.00|55.00|40.00|39.50|–"
    assert (seen["Text up"], seen["Text down"]) == ("60.0|61.0|", "61.0|60.0|")
    assert seen["Model up"].startswith("ascending:Skeinformer|Skeinformer|Standard")
    assert seen["Model down"].startswith("descending:V-Mean|V-Mean|Standard")
    assert seen["sorted"] == "1"
    assert int(seen["width"]) == width or int(seen["width"]) == width - 15  # a scroll bar
    assert int(seen["scroll"]) <= int(seen["width"])
    assert seen["aside"] == ""  # no column of a table is only found by scrolling sideways
    assert seen["views"] == "Minutes|Share of exact attention|Shares in the paper"
    assert (seen["view first"], seen["view second"]) == ("time-1", "time-2")
    assert seen["pressed"] == "false|true|false"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: install it to test the report in a browser")
def test_in_a_browser_it_follows_the_dark_scheme(report, tmp_path):
    light = browse(report, tmp_path / "light", 800)["dark"]
    dark = browse(report, tmp_path / "dark", 800, "--force-dark-mode")["dark"]
    assert light == "rgb(255, 255, 255)"
    assert dark == "rgb(22, 24, 28)"


def text_of(path, name):
    """The words of a section."""
    section = path.read_text().partition(f'<section id="{name}">')[2].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", section)).split())


def test_published_values_and_reference_results_stand_beside_rows(metrics, tmp_path):
    publish(metrics[0], tmp_path / "reference")
    collect(metrics, tmp_path / "table.csv", scale="paper", reference=tmp_path / "reference")
    write_report(tmp_path / "table.csv", metrics, [], tmp_path / "report.html")
    text = text_of(tmp_path / "report.html", "published-values")
    assert re.search(r"Standard ListOps 40\.00 [\d.]+ to [\d.]+ 3 seeds 400 test rows 38\.15 yes test", text)
    assert re.search(r"39\.50 [\d.]+ to [\d.]+ 1 seed 400 test rows yes", text)
    assert "V-Mean Text 65.29" in text and text.count(" not run ") == 5


def test_other_scales_and_methods_compare_with_nothing_published(metrics, tmp_path):
    for scale, run, words in (
        ("mini", metrics[0], "the scale “mini” is not comparable with the paper's."),
        ("paper", write_run(tmp_path, "text", "mine"), "There are no published values for these methods and tasks."),
    ):
        collect([run], tmp_path / "table.csv", scale=scale)
        write_report(tmp_path / "table.csv", [run], [], tmp_path / "report.html")
        assert words in text_of(tmp_path / "report.html", "published-values")


def test_what_is_reached_at_equal_compute_is_a_table(tmp_path):
    names = ("softmax_nodropout", "vmean")
    metrics = [write_run(tmp_path / "runs", "listops", name) for name in names]
    measures = [write_measure(tmp_path / "measures", "listops", name, 7.0) for name in names]
    collect(metrics, tmp_path / "table.csv", measures=measures)
    write_report(tmp_path / "table.csv", metrics, [], tmp_path / "report.html", measures)
    assert "equal compute" in (tmp_path / "report.html").read_text().lower()
    write_report(tmp_path / "table.csv", metrics, [], tmp_path / "report.html")
    assert "equal compute" not in (tmp_path / "report.html").read_text().lower()
