"""The documentation is true: its examples run, its links lead somewhere, its tables are those of the classes."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
import yaml

from lra.attention import METHODS, build, load
from lra.attention.contract import Attention
from lra.cost.flops import attention_flops
from lra.results.published import title
from lra.results.rows import COLUMNS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
LENGTH, FEATURES, HEAD_DIM = 4096, 256, 32


def called(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def examples(page: Path) -> list[str]:
    """Fenced blocks of Python; what follows `<!-- not run -->` is left out."""
    return re.findall(r"(?<!<!-- not run -->\n)^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", list(filter(examples, PAGES)), ids=called)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order and in one namespace, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "example"}
    for example in examples(page):
        exec(compile(example, called(page), "exec"), namespace)


def settings(page: Path) -> list[dict[str, Any]]:
    """The YAML blocks that give attentions settings of their own."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [found for block in blocks if isinstance(found := yaml.safe_load(block), dict) and "attentions" in found]


@pytest.mark.parametrize("page", list(filter(settings, PAGES)), ids=called)
def test_settings_are_understood(page: Path) -> None:
    for block in settings(page):
        for item in block["attentions"]:
            name, given = (item, {}) if isinstance(item, str) else next(iter(item.items()))
            chosen = {"features": FEATURES} | given
            if "module" not in chosen:
                attention(chosen.get("method", name), features=chosen["features"], **chosen.get("options", {}))


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_links(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{called(page)} links to {name}, which is not there"
        assert not anchor or anchor in anchors(target), f"{called(page)} links to {link}, which is no heading"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def attention(name: str, features: int = FEATURES, **options: Any) -> Attention:
    return build(name, heads=1, head_dim=HEAD_DIM, max_length=LENGTH, features=features, **options)


def methods_table() -> str:
    """The table of all methods in Markdown."""
    exact, cpu = attention("softmax"), torch.device("cpu")
    heads = ["name", "in the tables", "output", "time and memory", "choices", "FLOPs", "leading terms", "source"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in METHODS:
        method = attention(name)
        cells = [
            f"[`{name}`](#{name})",
            title(name),
            "exact" if method.exact else "approximate",
            "linear" if method.linear else "quadratic",
            "random" if method.random else "deterministic",
            f"{100 * attention_flops(method, LENGTH, cpu) / attention_flops(exact, LENGTH, cpu):.3g} %",
            f"{100 * method.multiply_adds(LENGTH) / exact.multiply_adds(LENGTH):.3g} %",
            method.reference,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def test_table_of_methods() -> None:
    page = ROOT / "docs" / "attentions.md"
    found = re.search(r"<!-- methods -->\n(.*?)\n?<!-- /methods -->", page.read_text(), re.DOTALL)
    assert found is not None
    expected = methods_table()
    assert found[1] == expected, f"put this between the markers in {called(page)}:\n{expected}"


def test_the_readme_fits_on_a_screen() -> None:
    """What a visitor scrolls through: no page of the documentation is copied into it."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_columns_of_the_results() -> None:
    """docs/results.md explains every column of table.csv, and no other."""
    page = (ROOT / "docs" / "results.md").read_text()
    explained = re.findall(r"^\| (`.*?) \|", page.partition("## The marks")[0], re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(explained)) == list(COLUMNS)


def section(name: str) -> str:
    page = (ROOT / "docs" / "attentions.md").read_text()
    found = re.search(rf"^### {name}\n(.*?)(?=^### |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found is not None, f"docs/attentions.md has no section {name}"
    return " ".join(found[1].split())


@pytest.mark.parametrize("name", METHODS)
def test_cost_and_options(name: str) -> None:
    """Each section states the class's cost and its options with their defaults."""
    method, text = attention(name), section(name)
    cost = re.search(r"[Cc]ost: `([^`]+)`", text)
    assert cost is not None
    formula = re.sub(r"(?<=[\w)]) (?=[\w(])", "*", cost[1]).replace("^", "**")
    size = getattr(method, "block_size", getattr(method, "chunk_length", 1))
    values = {"n": LENGTH, "d": FEATURES, "p": HEAD_DIM, "b": size, "m": size, "N": math.ceil(LENGTH / size)}
    values |= {"r": getattr(method, "num_random_blocks", 0), "R": getattr(method, "num_hashes", 0)}
    letters = {
        "w": "window",
        "g": "global_tokens",
        "c": "summary",
        "l": "extra_length",
        "S": "state",
        "I": "iterations",
    }
    values |= {letter: getattr(method, option, 0) for letter, option in letters.items()} | {"log2": math.log2}
    assert eval(formula, values) == method.multiply_adds(LENGTH)

    common = {*inspect.signature(Attention).parameters, "common"}
    parameters = inspect.signature(load(METHODS[name].path)).parameters.values()
    own = {p.name: METHODS[name].options.get(p.name, p.default) for p in parameters if p.name not in common}
    assert all(f"`{option}: {default}`" in text for option, default in own.items()), own
    assert ("No options." in text) == (not own)


class Page(HTMLParser):
    """What a page of the site leads to, what it loads to be shown, and the names of its places."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.places: set[str] = set()
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.places |= {given[name] for name in ("id", "name") if given.get(name)}
        target = given.get("href") or given.get("src") or (given.get("data") if tag == "object" else None)
        if target:
            (self.links if tag == "a" else self.loaded).append(target)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` makes it."""
    folder = tmp_path_factory.mktemp("site")
    options = re.search(r"sphinx-build (.*) \. site", (ROOT / "Makefile").read_text())
    assert options is not None
    command = [sys.executable, "-m", "sphinx", *options[1].split(), ".", str(folder)]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.mark.slow
def test_site(site: Path) -> None:
    """Every page is there, its links lead somewhere, and it needs no network."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        assert site / page.relative_to(ROOT).with_suffix(".html") in pages
    for path, page in pages.items():
        assert not [target for target in page.loaded if re.match(r"(https?:)?//", target)], path
        for link in (link for link in page.links + page.loaded if not re.match(r"[a-z]+:", link)):
            name, _, anchor = unquote(link).partition("#")
            target = path.parent / name.partition("?")[0] if name else path
            assert target.is_file(), f"{path} links to {link}, which is not there"
            assert not anchor or anchor in pages[target.resolve()].places, f"{path} links to {link}, which is no place"


@pytest.mark.slow
def test_site_shows_the_docstrings(site: Path) -> None:
    text = (site / "docs" / "api.html").read_text()
    for name in ("build", "Attention", "load_run", "predict"):
        assert re.search(rf'id="[\w.]+\.{name}"', text), name
    assert (Attention.multiply_adds.__doc__ or "").split(",")[0] in text
