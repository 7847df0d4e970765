"""Text: snippets of four kinds, and IMDb reviews from the original archive and as TFDS prepares them."""

from __future__ import annotations

import contextlib
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lra.errors import LraError
from lra.tasks import text
from lra.tasks.byte_tokens import byte_tokens
from lra.tasks.contract import SPLITS, Rows, Task
from lra.tasks.snippets import KINDS, read_snippets
from lra.tasks.text import Settings
from tasks.reading import refuses, rows
from tasks.snippet_archive import TEXTS, add, content, write_snippets

ROWS = Rows(80, 12, 22)


def bytes_of(tokens: list[int]) -> bytes:
    return bytes(token - 1 for token in tokens)


def make(**settings: Any) -> Settings:
    return Settings(**{"source": "vader", "max_length": 128, "rows": ROWS, **settings})


def read(settings: Settings, path: Path, workers: int = 1) -> dict[str, list[tuple[Any, ...]]]:
    examples = text.examples(settings, path, workers)
    return {split: rows(examples[split]) for split in SPLITS}


def test_byte_tokens() -> None:
    array = byte_tokens([b"Hi!", b"\x00\xff", b"abcdef"], max_length=4)
    assert array.to_pylist() == [[73, 106, 34], [1, 256], [98, 99, 100, 101]]
    assert str(array.type.value_type) == "uint16"


def test_snippets_are_labelled_by_kind(tmp_path: Path) -> None:
    splits = read(make(), write_snippets(tmp_path / "vader.tar.gz"))
    texts = {split: [bytes_of(tokens) for tokens, _ in splits[split]] for split in SPLITS}
    for split in SPLITS:
        for snippet, (_, label) in zip(texts[split], splits[split], strict=True):
            assert snippet in TEXTS[KINDS[label]]
    everything = [snippet for split in SPLITS for snippet in texts[split]]
    assert len(everything) == len(set(everything)) == 114
    counts = {split: [sum(label == kind for _, label in splits[split]) for kind in range(4)] for split in SPLITS}
    assert counts == {"train": [20] * 4, "dev": [3] * 4, "test": [6, 6, 5, 5]}
    labels = [label for _, label in splits["train"]]
    assert labels != sorted(labels)


def test_snippets_depend_on_the_seed_alone(tmp_path: Path) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    first = read(make(), archive)
    assert read(make(), archive, workers=2) == first
    assert read(make(seed=1), archive) != first


def test_repeated_snippets_are_left_out(tmp_path: Path) -> None:
    files = {
        "movieReviewSnippets": content([b"Same beginning, one", b"Same beginning, two", b" Fine ", b"Fine"]),
        "amazonReviewSnippets": content([b"Fine", b"Good"]) + b"\n\n",
        "nytEditorialSnippets": content([b"a\tb", b"caf\xc3\xa9"]),
        "tweets": content([b"Good", b"lol"]),
    }
    archive = write_snippets(tmp_path / "vader.tar.gz", files)
    assert read_snippets(archive, KINDS, 10) == [
        [b"Same begin", b"Fine"],
        [b"Good"],
        [b"a\tb", b"caf\xc3\xa9"],
        [b"lol"],
    ]
    assert read_snippets(archive, ("tweets",), 10) == [[b"Good", b"lol"]]


def test_too_few_snippets(tmp_path: Path) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    with refuses(f"{archive} has 40 different amazonReviewSnippets, but `rows` asks for 42 of each kind"):
        read(make(rows=Rows(160, 2, 2)), archive)


@pytest.mark.parametrize(
    "files, sentence",
    [
        ({}, "holds no movieReviewSnippets_GroundTruth.txt; it must be the source distribution"),
        (
            {"movieReviewSnippets": b"1\t0.5\tGood\n2\t0.5\n"},
            "movieReviewSnippets_GroundTruth.txt, line 2: expected id",
        ),
        ({"movieReviewSnippets": b""}, "movieReviewSnippets_GroundTruth.txt has no text"),
    ],
    ids=["missing", "malformed", "empty"],
)
def test_other_layout(tmp_path: Path, files: dict[str, bytes], sentence: str) -> None:
    with refuses(sentence):
        read(make(), write_snippets(tmp_path / "vader.tar.gz", files))


@pytest.mark.parametrize("length", [0, 20, -40])
def test_damaged_archive(tmp_path: Path, length: int) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    archive.write_bytes(archive.read_bytes()[:length])
    with refuses(f"{archive} is not the source distribution of vaderSentiment"):
        read(make(), archive)


def test_a_flipped_bit_is_no_traceback(tmp_path: Path) -> None:
    archive = write_snippets(tmp_path / "vader.tar.gz")
    content = archive.read_bytes()
    for place in range(200, len(content), 23):
        archive.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with contextlib.suppress(LraError):
            read(make(), archive)


def test_the_true_archive() -> None:
    """What Hutto and Gilbert's archive holds, where the workflow has downloaded it."""
    archive = Path(__file__).parents[2] / "data" / "sources" / "vader"
    if not archive.exists():
        pytest.skip("not downloaded")
    assert [len(texts) for texts in read_snippets(archive, KINDS, 4000)] == [10603, 3697, 5119, 4200]


TRAIN = [(b"train review %d" % i, i % 2) for i in range(48)] + [(b"twice", 1), (b"twice", 1)]
TEST = [(b"test review %d" % i, i % 2) for i in range(20)] + [(b"<br />caf\xc3\xa9", 0)]


def write_imdb(path: Path, shift: int = 0, leave_out: str = "nothing") -> Path:
    """An archive with the layout of aclImdb_v1.tar.gz, its members rotated by ``shift``."""
    members = [
        (f"aclImdb/{part}/{'pos' if label else 'neg'}/{i}_7.txt", review)
        for part, reviews in (("train", TRAIN), ("test", TEST))
        for i, (review, label) in enumerate(reviews)
    ]
    members += [("aclImdb/train/unsup/0_0.txt", b"no label"), ("aclImdb/train/labeledBow.feat", b"1:1")]
    members += [("aclImdb/README", b"read me"), ("aclImdb/test/urls_pos.txt", b"http")]
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members[shift:] + members[:shift]:
            if leave_out not in name:
                add(tar, name, data)
    return path


def test_imdb_archive(tmp_path: Path) -> None:
    splits = read(Settings("imdb"), write_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    texts = {split: [(bytes_of(tokens), label) for tokens, label in splits[split]] for split in SPLITS}
    assert sorted(texts["train"] + texts["dev"]) == sorted(TRAIN)
    assert sorted(texts["test"]) == sorted(TEST)
    assert len(texts["dev"]) == 5
    assert not set(texts["train"]) & set(texts["dev"])
    assert texts["test"] != TEST


def test_imdb_dev_can_be_the_test_set(tmp_path: Path) -> None:
    splits = read(Settings("imdb", dev="test"), write_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    assert splits["dev"] == splits["test"]
    assert {split: len(splits[split]) for split in SPLITS} == {"train": 50, "dev": 21, "test": 21}


@pytest.mark.parametrize("seed", range(40))
def test_equal_reviews_stay_together(tmp_path: Path, seed: int) -> None:
    """Also the two reviews that are equal after the cut, wherever the border falls."""
    splits = read(Settings("imdb", max_length=13, seed=seed), write_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    train, dev = ({tuple(tokens) for tokens, _ in splits[split]} for split in ("train", "dev"))
    assert not train & dev
    assert sum(map(len, (splits["train"], splits["dev"]))) == 50


def test_imdb_does_not_depend_on_the_order_of_the_archive(tmp_path: Path) -> None:
    settings = Settings("imdb", seed=3)
    first = read(settings, write_imdb(tmp_path / "a.tar.gz"))
    assert read(settings, write_imdb(tmp_path / "b.tar.gz", shift=31)) == first
    assert read(Settings("imdb", seed=4), tmp_path / "a.tar.gz") != first


def test_imdb_golden(tmp_path: Path) -> None:
    splits = read(Settings("imdb", max_length=8, dev="test"), write_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    assert ([117, 120, 106, 100, 102], 1) in splits["train"]  # twice
    assert ([61, 99, 115, 33, 48, 63, 100, 98], 0) in splits["test"]  # <br />ca, cut before f


def test_imdb_prepared_by_tfds(tmp_path: Path) -> None:
    tfds = pytest.importorskip("tensorflow_datasets")
    import tensorflow as tf

    folder = tmp_path / "imdb_reviews" / "plain_text" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    for part, reviews in (("train", TRAIN), ("test", TEST)):
        with tf.io.TFRecordWriter(str(folder / f"imdb_reviews-{part}.tfrecord-00000-of-00001")) as writer:
            for review, label in reviews:
                writer.write(features.serialize_example({"text": review, "label": label}))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder), features=features, supervised_keys=("text", "label"), check_data=False
    )
    settings = Settings("imdb", max_length=14)
    expected = read(settings, write_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    assert read(settings, tmp_path) == read(settings, folder) == expected
    damaged = folder / "imdb_reviews-test.tfrecord-00000-of-00001"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with refuses(f"{folder} cannot be read by tensorflow_datasets:"):
        read(settings, tmp_path)


def test_imdb_folder_of_another_kind(tmp_path: Path) -> None:
    with refuses(f"{tmp_path} holds no imdb_reviews/plain_text/<version>/dataset_info.json"):
        read(Settings("imdb"), tmp_path)


def test_imdb_prepared_by_tfds_which_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "imdb_reviews" / "plain_text" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with refuses(f"Reading {folder} needs tensorflow_datasets (import of tensorflow_datasets halted"):
        read(Settings("imdb"), tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_imdb_without_reviews(tmp_path: Path, part: str) -> None:
    archive = write_imdb(tmp_path / "aclImdb_v1.tar.gz", leave_out=f"/{part}/")
    with refuses(f"{archive} has no {part} reviews"):
        read(Settings("imdb"), archive)


def test_imdb_cut_short(tmp_path: Path) -> None:
    archive = write_imdb(tmp_path / "aclImdb_v1.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-300])
    with refuses(f"{archive} cannot be read as a .tar.gz archive"):
        read(Settings("imdb"), archive)


def test_describe() -> None:
    assert text.describe(make()) == Task("text", classes=4, vocabulary=257, max_length=128)
    assert text.describe(Settings("imdb")) == Task("text", classes=2, vocabulary=257, max_length=4000)


def test_settings_are_checked(tmp_path: Path) -> None:
    with refuses("text: unknown data source 'vadar'. Did you mean 'vader'?"):
        read(make(source="vadar"), tmp_path)
    with refuses("text: data source 'vader' needs `rows"):
        read(make(rows=None), tmp_path)
    with refuses("text: data source 'imdb' is not given; name it under `sources`"):
        text.examples(Settings("imdb"), None, workers=1)
