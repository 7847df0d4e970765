"""Retrieval: pairs of snippets, and the released AAN files against rows worked out by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lra.tasks import retrieval, sources
from lra.tasks.contract import SPLITS, Rows, Task
from lra.tasks.retrieval import Settings
from tasks.reading import refuses, rows
from tasks.snippet_archive import TEXTS, write_snippets

FILES = {"train": "new_aan_pairs.train.tsv", "dev": "new_aan_pairs.eval.tsv", "test": "new_aan_pairs.test.tsv"}


def bytes_of(tokens: list[int]) -> bytes:
    return bytes(token - 1 for token in tokens)


def make(**settings: Any) -> Settings:
    return Settings(**{"source": "vader", "max_length": 128, "rows": Rows(400, 50, 101), **settings})


def read(settings: Settings, path: Path, workers: int = 1) -> dict[str, list[tuple[Any, ...]]]:
    examples = retrieval.examples(settings, path, workers)
    return {split: rows(examples[split]) for split in SPLITS}


def test_pairs_of_snippets(tmp_path: Path) -> None:
    splits = read(make(), write_snippets(tmp_path / "vader.tar.gz"))
    used: dict[str, set[bytes]] = {}
    for split in SPLITS:
        pairs = [(bytes_of(left), bytes_of(right)) for left, right, _ in splits[split]]
        kinds = [tuple(text in TEXTS["tweets"] for text in pair) for pair in pairs]
        assert [label for *_, label in splits[split]] == [int(left == right) for left, right in kinds]
        counts = Counter(kinds).values()
        assert len(counts) == 4
        assert max(counts) - min(counts) <= 1
        assert len(set(pairs)) == len(pairs)
        assert all(left != right for left, right in pairs)
        used[split] = {text for pair in pairs for text in pair}
        assert used[split] <= {*TEXTS["tweets"], *TEXTS["nytEditorialSnippets"]}
    assert {split: len(splits[split]) for split in SPLITS} == {"train": 400, "dev": 50, "test": 101}
    assert sum(map(len, used.values())) == len(set.union(*used.values()))
    labels = [label for *_, label in splits["train"]]
    assert labels != sorted(labels)


def test_pairs_depend_on_the_seed_alone(tmp_path: Path) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    first = read(make(), archive)
    assert read(make(), archive, workers=2) == first
    assert read(make(seed=1), archive) != first


def test_all_possible_pairs_can_be_asked_for() -> None:
    rng = np.random.default_rng(0)
    for lefts, rights, same, possible in [(3, 3, True, 6), (3, 4, False, 12), (1, 1, True, 0)]:
        pairs = set(zip(*map(np.ndarray.tolist, retrieval._different(lefts, rights, same, possible, rng)), strict=True))
        assert pairs == {(i, j) for i in range(lefts) for j in range(rights) if not (same and i == j)}
        with refuses("asks for more pairs than the snippets"):
            retrieval._different(lefts, rights, same, possible + 1, rng)


def test_too_many_pairs(tmp_path: Path) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    with refuses("retrieval: `rows` asks for more pairs than the snippets of nytEditorialSnippets, tweets give"):
        read(make(rows=Rows(8000, 50, 100)), archive)


LINES = (
    b"1.0\tP00-1001\tP99-2002\tb'Ab\\n'\tb\"it's\"\n"
    b"0.0\tP00-1001\tX\"\tb'\"quoted\tb'a\rb'\n"
    b"1.0\t\t\tb'0123456789'\tx\n"
)
ROWS = [
    ([99, 40, 66, 99, 93, 111, 40], [99, 35, 106, 117, 40, 116, 35], 1),
    ([99, 40, 35, 114, 118, 112, 117, 102, 101], [99, 40, 98, 14, 99, 40], 0),
    ([99, 40, 49, 50, 51, 52, 53, 54, 55], [121], 1),
]


def write(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES.values():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("block", [1, 10, 60, 2**19])
@pytest.mark.parametrize(
    "data",
    [LINES, LINES.removesuffix(b"\n"), LINES.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + LINES],
    ids=["release", "last line not ended", "CRLF", "byte-order mark"],
)
def test_released_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, block: int) -> None:
    """No header, no quoting, literals as they stand, cut to 9 bytes; a lone CR ends no line."""
    monkeypatch.setattr(sources, "BLOCK", block)
    write(tmp_path / "tsv_data", data)
    assert read(Settings("lra_release", max_length=9), tmp_path) == dict.fromkeys(SPLITS, ROWS)
    assert read(Settings("aan", max_length=9), tmp_path / "tsv_data") == dict.fromkeys(SPLITS, ROWS)


@pytest.mark.parametrize("data", [b"", b"a", b"a\n", b"a\nb", b"\xef\xbb\xbfa\nb\n"])
def test_lines_of_the_shortest_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    lines = b"".join(sources.line_blocks(tmp_path / "file"))
    assert lines.splitlines() == data.removeprefix(b"\xef\xbb\xbf").splitlines()
    assert not lines or lines.endswith(b"\n")


def test_many_long_rows(tmp_path: Path) -> None:
    """Random bytes in many blocks, against the rows split one by one."""
    rng = np.random.default_rng(0)
    allowed = np.array([byte for byte in range(256) if byte not in b"\t\n\r"], dtype=np.uint8)
    texts = [rng.choice(allowed, size).tobytes() for size in rng.integers(1, 9000, 600)]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    lines = [b"%d.0\tid\t%d\t%s\t%s\n" % (i % 2, i, *pair) for i, pair in enumerate(pairs)]
    splits = read(Settings("aan"), write(tmp_path, b"".join(lines)))
    expected = [(*([byte + 1 for byte in text[:4000]] for text in pair), i % 2) for i, pair in enumerate(pairs)]
    assert splits["train"] == expected


def test_batches_are_small(tmp_path: Path) -> None:
    """A file is read block by block, and so many rows at a time."""
    write(tmp_path, b"1.0\ta\tb\t%s\t%s\n" % (b"x" * 5000, b"y" * 5000) * 600)
    batches = retrieval.examples(Settings("aan"), tmp_path, workers=1)["train"]
    assert [batch.num_rows for batch in batches] == [256, 256, 88]


@pytest.mark.parametrize(
    "line, sentence",
    [
        (b"1.0\ta\tb\tc", "expected label, two ids and two texts between tabs, not 4 fields"),
        (b"1.0\ta\tb\tc\td\te", "expected label, two ids and two texts between tabs, not 6 fields"),
        (b"", "expected label, two ids and two texts between tabs, not 1 fields"),
        (b"2.0\ta\tb\tc\td", "the label is '2.0', not 0.0 or 1.0"),
        (b"label\ta\tb\tc\td", "the label is 'label', not 0.0 or 1.0"),
        (b"1.0\ta\tb\t\td", "a text is empty"),
        (b"1.0\ta\tb\tc\t\r", "a text is empty"),
    ],
    ids=["4 fields", "6 fields", "empty line", "label", "header", "first text", "second text"],
)
@pytest.mark.parametrize("block", [30, 2**19])
def test_malformed_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, sentence: str, block: int) -> None:
    monkeypatch.setattr(sources, "BLOCK", block)
    write(tmp_path, LINES + line + b"\n" + LINES)
    with refuses(f"{tmp_path / FILES['train']}, line 4: {sentence}"):
        read(Settings("aan"), tmp_path)


def test_missing_file(tmp_path: Path) -> None:
    with refuses(f"{tmp_path / FILES['train']} cannot be read: No such file or directory"):
        read(Settings("aan"), tmp_path)


def test_describe() -> None:
    assert retrieval.describe(make()) == Task("retrieval", classes=2, vocabulary=257, max_length=128, towers=2)


def test_settings_are_checked(tmp_path: Path) -> None:
    with refuses("retrieval: unknown data source 'ann'. Did you mean 'aan'?"):
        read(make(source="ann"), tmp_path)
    with refuses("retrieval: data source 'vader' needs `rows"):
        read(make(rows=None), tmp_path)
    with refuses("retrieval: data source 'aan' is not given; name it under `sources`"):
        retrieval.examples(Settings("aan"), None, workers=1)
