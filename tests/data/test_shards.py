from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import toy_examples
from lra.config.settings import SHARD_ROWS
from lra.data.shards import Shards, read_shards, verify, write_shards
from lra.errors import LraError
from lra.paths import MANIFEST
from lra.tasks.contract import Rows, Task, list_array, record_batch

TASK = Task("toy", classes=2, vocabulary=9, max_length=24)


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    examples = toy_examples(rows=600)
    shards = write_shards(tmp_path, TASK, examples, expected=None, provenance={"source": "here"})
    table = pq.read_table(shards.files("train")[0])
    assert table.column("tokens").to_pylist() == examples["train"][0]["tokens"].to_pylist()  # type: ignore[index]
    assert table.column("label").to_pylist() == examples["train"][0]["label"].to_pylist()  # type: ignore[index]
    tokens = table.schema.field("tokens")
    assert tokens.type.value_type == pa.uint8()
    assert not any(field.nullable for field in (tokens, tokens.type.value_field, table.schema.field("label")))
    assert json.loads(table.schema.metadata[b"lra"])["task"]["name"] == "toy"
    assert pq.read_metadata(shards.files("train")[0]).num_row_groups == 3


def test_manifest_counts(tmp_path: Path) -> None:
    same = list_array(np.array([1, 2, 1, 2, 3], dtype=np.uint8), np.array([2, 2, 1]))  # rows 0 and 1 are equal
    other = list_array(np.array([3, 4], dtype=np.uint8), np.array([1, 1]))  # 3 stands in train too
    batches = {"train": record_batch(np.array([0, 1, 1]), same), "dev": record_batch(np.array([0, 1]), other)}
    batches["test"] = record_batch(np.array([1]), list_array(np.array([5], dtype=np.uint8), np.array([1])))
    examples = {split: [batch] for split, batch in batches.items()}
    shards = write_shards(tmp_path, TASK, examples, expected=None, provenance={})  # type: ignore[arg-type]
    train = shards.splits["train"]
    assert (train["rows"], train["classes"], train["tokens"]) == (3, [1, 2], 5)
    assert (train["shortest"], train["longest"], train["duplicates"], train["also_in_another_split"]) == (1, 2, 1, 1)
    assert shards.splits["dev"]["also_in_another_split"] == 1
    assert shards.splits["test"]["also_in_another_split"] == 0
    assert shards.majority("train") == pytest.approx(2 / 3)


def test_files_have_the_promised_number_of_rows(tmp_path: Path) -> None:
    rows = 2 * SHARD_ROWS + 5
    tokens = list_array(np.ones(rows, dtype=np.uint8), np.ones(rows, dtype=int))
    batch = record_batch(np.zeros(rows), tokens)
    examples = toy_examples() | {"train": [batch.slice(0, 700), batch.slice(700)]}
    shards = write_shards(tmp_path, TASK, examples, expected=None, provenance={})
    assert [file["rows"] for file in shards.splits["train"]["files"]] == [SHARD_ROWS, SHARD_ROWS, 5]


def test_unexpected_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LraError, match=r"toy train has 96 rows, not the expected 95.*expected_rows: null"):
        write_shards(tmp_path, TASK, toy_examples(), expected=Rows(95, 40, 40), provenance={})
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    ("tokens", "label", "sentence"),
    [
        ([9], 0, "token id 9, but the vocabulary has 9"),
        ([1], 2, "label 2, but the task has 2 classes"),
        ([], 0, "sequences of 0 to 0 tokens"),
        ([1] * 25, 0, "sequences of 25 to 25 tokens, not 1 to 24"),
    ],
    ids=["token", "label", "empty", "long"],
)
def test_rows_that_the_task_does_not_have(tmp_path: Path, tokens: list[int], label: int, sentence: str) -> None:
    batch = record_batch(np.array([label]), list_array(np.array(tokens, dtype=np.uint8), np.array([len(tokens)])))
    with pytest.raises(LraError, match=sentence):
        write_shards(tmp_path, TASK, toy_examples() | {"dev": [batch]}, expected=None, provenance={})


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LraError, match="toy dev has no rows"):
        write_shards(tmp_path, TASK, toy_examples() | {"dev": []}, expected=None, provenance={})


def test_damage_is_noticed(toy_shards: Shards) -> None:
    path = toy_shards.files("train")[0]
    content = path.read_bytes()
    verify(toy_shards)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(LraError, match=f"{path} is not what was written"):
        verify(toy_shards)
    path.write_bytes(content[:-10])
    with pytest.raises(LraError, match=f"{path} is truncated or changed; .*snakemake prepare_toy"):
        read_shards(toy_shards.folder)
    path.unlink()
    with pytest.raises(LraError, match=f"{path} is missing"):
        read_shards(toy_shards.folder)


@pytest.mark.parametrize("content", ["", "{}", '{"task": {}}', "[1"])
def test_a_damaged_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(LraError, match=f"{tmp_path / MANIFEST}"):
        read_shards(tmp_path)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """However they are cut into batches."""
    task = Task("toy", classes=2, vocabulary=9, max_length=24, towers=2)
    whole = toy_examples(rows=600, towers=2)
    train = next(iter(whole["train"]))
    cut = whole | {"train": [train.slice(begin, 130) for begin in range(0, 600, 130)]}
    for name, examples in {"a": whole, "b": whole, "c": cut}.items():
        write_shards(tmp_path / name, task, examples, expected=None, provenance={})
    manifests = [(tmp_path / name / MANIFEST).read_bytes() for name in "abc"]
    assert manifests[0] == manifests[1] == manifests[2]


def test_content_is_tokens_and_labels_in_order(tmp_path: Path) -> None:
    """Neither where the examples came from, nor how they are cut and stored, nor how wide an integer holds them."""
    train = next(iter(toy_examples()["train"]))
    wide = pa.RecordBatch.from_pydict({"tokens": train["tokens"].cast(pa.list_(pa.uint16())), "label": train["label"]})
    cut = [train.slice(begin, 40) for begin in range(0, 96, 40)]
    first, last = train.slice(0, 2), train.slice(2)
    turned = pa.RecordBatch.from_pydict({"tokens": train["tokens"], "label": pa.array(1 - train["label"].to_numpy())})
    shifted = list_array(train["tokens"].flatten().to_numpy(), np.roll(train["tokens"].value_lengths().to_numpy(), 1))
    kinds = {
        "first": [train],
        "wide": [wide],
        "cut": cut,
        "order": [last, first],
        "labels": [turned],
        "lengths": [record_batch(train["label"].to_numpy(), shifted)],
        "fewer": [last],
    }
    found = {}
    for name, batches in kinds.items():
        examples = toy_examples() | {"train": batches}
        shards = write_shards(tmp_path / name, TASK, examples, expected=None, provenance={"source": name})
        found[name] = shards.identity
        assert set(shards.content) == {"train", "dev", "test"}
        assert read_shards(tmp_path / name).identity == shards.identity
    assert found["first"] == found["wide"] == found["cut"]
    assert len(set(found.values())) == 5
    larger = write_shards(tmp_path / "larger", Task("toy", 2, 10, 24), toy_examples(), expected=None, provenance={})
    assert larger.identity != found["first"], "a larger vocabulary makes another model"
    other = write_shards(tmp_path / "name", Task("other", 2, 9, 24), toy_examples(), expected=None, provenance={})
    assert other.identity == found["first"]


@pytest.mark.parametrize("old, new", [('"classes": 2', '"classes": 3'), ('"longest": 24', '"longest": 23')])
def test_a_manifest_that_was_edited(toy_shards: Shards, old: str, new: str) -> None:
    """It decides the model's sizes and which runs are compared."""
    path = toy_shards.folder / MANIFEST
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(LraError, match=f"{path} is not what was written: its checksum differs; delete it and prepare"):
        read_shards(toy_shards.folder)
