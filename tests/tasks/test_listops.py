"""ListOps: splits of generated trees, and files against rows by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lra.tasks import listops
from lra.tasks.contract import SPLITS, Rows, Task
from lra.tasks.listops import Settings
from lra.tasks.listops_trees import TOKENS, Generator, generate
from tasks.reading import refuses, rows
from tasks.test_listops_trees import SMALL

HEADER = b"Source\tTarget\n"


def make(**settings: Any) -> Settings:
    return Settings(**{"source": "generate", "rows": Rows(300, 50, 80), "generator": SMALL, **settings})


def nested(tokens: Sequence[int]) -> str:
    """The text form that was released, ``( ( ( [MAX 2 ) 9 ) ] )``."""
    open_nodes: list[str] = []
    text = ""
    for text in (TOKENS[token] for token in tokens):
        if text.startswith("["):
            open_nodes.append(text)
            continue
        if text == "]":
            text = f"( {open_nodes.pop()} ] )"
        if open_nodes:
            open_nodes[-1] = f"( {open_nodes[-1]} {text} )"
    return text


@pytest.mark.parametrize("brackets", [True, False])
def test_generated_splits(brackets: bool) -> None:
    settings = make(brackets=brackets)
    examples = listops.examples(settings, None, workers=1)
    test_first = rows(examples["test"])
    splits = {split: rows(examples[split]) for split in SPLITS}
    assert {split: len(trees) for split, trees in splits.items()} == {"train": 300, "dev": 50, "test": 80}
    assert splits["test"] == test_first
    sequences = [tuple(tokens) for trees in splits.values() for tokens, _ in trees]
    assert len(set(sequences)) == 430
    two = listops.examples(settings, None, workers=2)
    assert {split: rows(two[split]) for split in SPLITS} == splits
    other = listops.examples(make(brackets=brackets, seed=1), None, workers=1)
    assert rows(other["test"]) != splits["test"]


def test_splits_longer_than_a_chunk() -> None:
    examples = listops.examples(make(rows=Rows(9000, 10, 9000)), None, workers=1)
    sequences = [tuple(tokens) for split in SPLITS for tokens, _ in rows(examples[split])]
    assert len(sequences) == len(set(sequences)) == 18010


def test_too_few_trees() -> None:
    generator = Generator(min_length=3, max_length=5, max_depth=2, digit_probability=0.5, max_children=2)
    with refuses("only 400 different trees came out of"):  # 4 operators over 2 digits
        rows(listops.examples(make(rows=Rows(399, 1, 1), generator=generator), None, workers=1)["train"])
    single = Generator(min_length=1, max_length=5, max_depth=1)  # a digit, which is too short
    with refuses("only 0 different trees came out of"):
        rows(listops.examples(make(rows=Rows(1, 1, 1), generator=single), None, workers=1)["train"])


def test_describe() -> None:
    assert listops.describe(make()) == Task("listops", classes=10, vocabulary=16, max_length=64)
    assert listops.describe(Settings("lra_release", brackets=False)) == Task(
        "listops", classes=10, vocabulary=15, max_length=2000
    )


def test_parse() -> None:
    assert listops.parse("( ( ( [MAX 2 ) 9 ) ] )") == [12, 3, 10, 15]
    assert listops.parse("[MIN 0 [MED 1 2 ] [SM 3 4 ] ]") == [11, 1, 13, 2, 3, 15, 14, 4, 5, 15, 15]
    assert listops.parse("[MAX 2 9 ]", brackets=False) == [12, 3, 10]
    with refuses("'[SUM' is not a token of ListOps"):
        listops.parse("[SUM 1 2 ]")


BODY = b"( ( ( [MAX 2 ) 9 ) ] )\t9\n( ( ( ( [SM 3 ) 4 ) ( ( ( [MIN 5 ) 0 ) ] ) ) ] )\t7\n7\t7\n"
ROWS = [([12, 3, 10, 15], 9), ([14, 4, 5, 11, 6, 1, 15, 15], 7), ([8], 7)]


def write(folder: Path, name: str, data: bytes) -> Path:
    for split in ("train", "val", "test"):
        path = folder / name.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "name, data",
    [
        ("listops-1000/basic_{}.tsv", HEADER + BODY),
        ("basic_{}.tsv", HEADER + BODY.removesuffix(b"\n")),
        ("basic_{}.tsv", (HEADER + BODY).replace(b"\n", b"\r\n")),
        ("data/listops_{}.csv", (HEADER + BODY).replace(b"\t", b",")),
        ("{}.tsv", HEADER + BODY.replace(b"(", b"").replace(b")", b"")),
        ("{}.tsv", b"\xef\xbb\xbf" + HEADER + BODY),
        ("{}.tsv", HEADER + BODY.replace(b"( (", b" (  (").replace(b"\t", b" \t ")),
    ],
    ids=["release", "last line not ended", "CRLF", "CSV", "without parentheses", "byte-order mark", "more spaces"],
)
def test_read_text(tmp_path: Path, name: str, data: bytes) -> None:
    examples = listops.examples(Settings("lra_release"), write(tmp_path, name, data), workers=1)
    assert {split: rows(examples[split]) for split in SPLITS} == dict.fromkeys(SPLITS, ROWS)


@pytest.mark.parametrize("kind", [int, str])
def test_read_parquet(tmp_path: Path, kind: type) -> None:
    lines = [line.split("\t") for line in BODY.decode().splitlines()]
    table = pa.table({"Source": [source for source, _ in lines], "Target": [kind(target) for _, target in lines]})
    for split in ("train", "validation", "test"):
        pq.write_table(table.slice(0, 2), tmp_path / f"{split}-00000-of-00002.parquet", row_group_size=1)
        pq.write_table(table.slice(2), tmp_path / f"{split}-00001-of-00002.parquet")
    examples = listops.examples(Settings("listops"), tmp_path, workers=1)
    assert {split: rows(examples[split]) for split in SPLITS} == dict.fromkeys(SPLITS, ROWS)


def test_read_without_brackets(tmp_path: Path) -> None:
    write(tmp_path, "basic_{}.tsv", HEADER + BODY)
    examples = listops.examples(Settings("listops", brackets=False), tmp_path, workers=1)
    assert rows(examples["dev"]) == [([12, 3, 10], 9), ([14, 4, 5, 11, 6, 1], 7), ([8], 7)]


def test_generated_trees_survive_the_text_form(tmp_path: Path) -> None:
    trees = rows([next(generate(Generator(), 5, brackets=True))])[:300]
    lines = "".join(f"{nested(tokens)}\t{label}\n" for tokens, label in trees)
    write(tmp_path, "basic_{}.tsv", HEADER + lines.encode())
    assert rows(listops.examples(Settings("lra_release"), tmp_path, workers=1)["train"]) == trees


@pytest.mark.parametrize(
    "line, sentence",
    [
        (b"[MAX 2 9 ]\tx", "the label is 'x', not a digit"),
        (b"[MAX 2 9 ]\t12", "the label is '12', not a digit"),
        (b"[MAX 2 9 ]\t", "the label is '', not a digit"),
        (b"[MAX 2 9 ]", "expected an expression and a label, not '[MAX 2 9 ]'"),
        (b"[MAX 2 9 ]\t9\t9", "expected an expression and a label"),
        (b"", "the label is '', not a digit"),
        (b"\t3", "the expression has 0 tokens"),
        (b"[FOO 2 9 ]\t9", "'[FOO' is not a token"),
        (b"[MAX 12 9 ]\t9", "'12' is not a token"),
        (b"[MAX2 9 ]\t9", "'[MAX2' is not a token"),
        (b"[M AX 2 9 ]\t9", "'[M' is not a token"),
        (b"[MAXM 2 9 ]\t9", "'[MAXM' is not a token"),
        (b"[AXM 2 9 ]\t9", "'[AXM' is not a token"),
        (b"[MAX 2 A 9 ]\t9", "'A' is not a token"),
        (b"[MAX 2 N 9 ]\t9", "'N' is not a token"),
        (b"[MAX (2 9 ]\t9", "'(2' is not a token"),
        (b"[MAX 2 \xe9 ]\t9", "'\ufffd' is not a token"),
        (b" ".join([b"[MIN", *[b"1"] * 10, b"]"]) + b"\t1", "the expression has 12 tokens, not 1 to `max_length` (11)"),
    ],
    ids=lambda value: value.decode("latin-1")[:14] if isinstance(value, bytes) else "",
)
@pytest.mark.parametrize("before", [1, 50])
def test_malformed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, sentence: str, before: int
) -> None:
    """Its line is named, also after several blocks."""
    monkeypatch.setattr(listops, "BLOCK", 100)
    write(tmp_path, "basic_{}.tsv", HEADER + b"[MIN 2 9 ]\t2\n" * before + line + b"\n[MAX 2 9 ]\t9\n")
    examples = listops.examples(Settings("lra_release", max_length=11), tmp_path, workers=1)
    with refuses(f"{tmp_path / 'basic_val.tsv'}, line {before + 2}: {sentence}"):
        rows(examples["dev"])


def test_every_single_damage_is_seen() -> None:
    """A row with one byte removed, added or changed is read as its words say, or refused."""
    rng = np.random.default_rng(0)
    line = "( ( ( ( [SM 3 ) 4 ) ( ( ( [MIN 5 ) 0 ) ] ) ) ( [MAX 1 ) ( [MED 2 ) ] )"
    alphabet = "0123 ()[]MINAXEDS-x"
    accepted = 0
    for _ in range(4000):
        at, kind = rng.integers(len(line)), rng.integers(3)
        damaged = line[:at] + alphabet[rng.integers(len(alphabet))] * int(kind > 0) + line[at + int(kind < 2) :]
        words = [word for word in damaged.split() if word not in ("(", ")")]
        if set(words) <= set(TOKENS[1:]):
            assert listops.parse(damaged) == [TOKENS.index(word) for word in words]
            accepted += 1
        else:
            with refuses("is not a token"):
                listops.parse(damaged)
    assert 400 < accepted < 3000


def test_header_is_required(tmp_path: Path) -> None:
    write(tmp_path, "basic_{}.tsv", BODY)
    with refuses(f"{tmp_path / 'basic_train.tsv'}, line 1: expected the header 'Source\\tTarget'"):
        rows(listops.examples(Settings("lra_release"), tmp_path, workers=1)["train"])


@pytest.mark.parametrize("data", [b"", b"nothing\n"], ids=["empty", "one column"])
def test_not_a_table(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, "basic_{}.tsv", data)
    with refuses(f"{tmp_path / 'basic_train.tsv'}"):
        rows(listops.examples(Settings("lra_release"), tmp_path, workers=1)["train"])


def test_missing_files(tmp_path: Path) -> None:
    with refuses(f"{tmp_path} has no TSV, CSV or Parquet file of the train split"):
        listops.examples(Settings("lra_release"), tmp_path, workers=1)


def test_not_parquet(tmp_path: Path) -> None:
    write(tmp_path, "basic_{}.parquet", b"nothing")
    with refuses(f"{tmp_path / 'basic_train.parquet'} is not a Parquet file with the columns Source and Target"):
        rows(listops.examples(Settings("listops"), tmp_path, workers=1)["train"])


def test_parquet_row_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"Source": ["7", "x"], "Target": [7, 7]}), tmp_path / "train.parquet")
    for split in ("val", "test"):
        pq.write_table(pa.table({"Source": ["7"], "Target": [7]}), tmp_path / f"{split}.parquet")
    with refuses("train.parquet, row 2: 'x' is not a token"):
        rows(listops.examples(Settings("listops"), tmp_path, workers=1)["train"])


def test_settings_are_checked() -> None:
    with refuses("unknown data source 'lra_relase'. Did you mean 'lra_release'?"):
        listops.examples(Settings("lra_relase"), None, workers=1)
    with refuses("data source 'generate' needs `rows: {train: ..., dev: ..., test: ...}`"):
        listops.examples(Settings("generate"), None, workers=1)
    with refuses("data source 'listops' is not given; name it under `sources`"):
        listops.examples(Settings("listops"), None, workers=1)
