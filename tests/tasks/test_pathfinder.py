"""Pathfinder: generated, and read from the release's folder, its packed form and tensorflow_datasets' files."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lra.cli.main import main
from lra.config.mapping import as_mapping, from_mapping
from lra.data.prepare import prepare
from lra.tasks import pathfinder
from lra.tasks.contract import SPLITS, Rows, Task
from lra.tasks.pathfinder import Settings
from lra.tasks.pathfinder_drawing import Parameters, contact_sheet
from tasks.image_files import png, prepare_pathfinder, write_release
from tasks.reading import refuses, rows

Splits = dict[str, list[tuple[Any, ...]]]

SMALL = Parameters(
    image_size=11,
    padding=0,
    antialias=1,
    contour_length=2,
    distractors=0,
    paddle_length=1.0,
    thickness=1.0,
    margin=0.0,
    seed_border=5,
    seed_distance=5.0,
    marker_radius=1.0,
    snake_contrast=0.5,
)
GENERATE = Settings("generate", rows=Rows(600, 100, 300), generator=SMALL)
COUNT = 50
BLACK = 3
"""Of the images below, so many more are black."""


def read(settings: Settings, source: Path | None, workers: int = 1) -> Splits:
    examples = pathfinder.examples(settings, source, workers)
    return {split: rows(examples[split]) for split in SPLITS}


@pytest.fixture(scope="module")
def images() -> tuple[list[np.ndarray], list[int]]:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(256, size=(32, 32), dtype=np.uint8) for _ in range(COUNT)]
    pixels[10:10] = [np.zeros((32, 32), np.uint8)] * BLACK
    return pixels, rng.integers(2, size=COUNT + BLACK).tolist()


@pytest.fixture(scope="module")
def release(images: tuple[list[np.ndarray], list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    files = [png(pixels) for pixels in images[0]]
    files[11] = b""  # the release has such a file
    write_release(folder / "pathfinder32" / "curv_contour_length_14", files, images[1])
    return folder


@pytest.fixture(scope="module")
def prepared(images: tuple[list[np.ndarray], list[int]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow_datasets")
    files = [png(pixels) for pixels in images[0]]
    return prepare_pathfinder(tmp_path_factory.mktemp("prepared"), files, images[1])


def pack(release: Path, file: Path, **changed: bytes) -> Path:
    """The Parquet file that the extraction of the archive writes."""
    hard = release / "pathfinder32" / "curv_contour_length_14"
    paths = sorted(path for path in hard.rglob("*") if path.is_file())
    names = [path.relative_to(hard).as_posix() for path in paths]
    contents = [changed.get(name, path.read_bytes()) for name, path in zip(names, paths, strict=True)]
    kept = [i for i, content in enumerate(contents) if content is not None]
    pq.write_table(pa.table({"path": [names[i] for i in kept], "bytes": [contents[i] for i in kept]}), file)
    return file


def test_description() -> None:
    assert pathfinder.describe(Settings("lra_release")) == Task("pathfinder", 2, 256, 1024)
    assert pathfinder.describe(GENERATE) == Task("pathfinder", 2, 256, 121)


def test_generated_images_are_distinct_and_depend_on_the_seed_alone() -> None:
    first = read(GENERATE, None)
    assert {split: len(first[split]) for split in SPLITS} == {"train": 600, "dev": 100, "test": 300}
    everything = [tuple(tokens) for split in SPLITS for tokens, _ in first[split]]
    assert len(set(everything)) == 1000 and {len(tokens) for tokens in everything} == {121}
    assert set(np.unique(everything)) <= {0, 96, 255}  # black, a curve, a disc
    assert 0.4 < np.mean([label for _, label in first["train"]]) < 0.6
    assert read(GENERATE, None, workers=2) == first
    other = read(Settings("generate", rows=GENERATE.rows, seed=1, generator=SMALL), None)
    assert len(set(everything) & {tuple(tokens) for tokens, _ in other["train"]}) < 60


def test_a_split_does_not_depend_on_the_others_being_read() -> None:
    all_of_them = read(GENERATE, None)
    alone = pathfinder.examples(GENERATE, None, 1)
    assert rows(alone["dev"]) == all_of_them["dev"]
    assert rows(alone["dev"]) == all_of_them["dev"]


def test_duplicates_are_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(settings: Settings, chunk: int) -> tuple[np.ndarray, np.ndarray]:
        """Images 0 1 2 3, then 2 3 4 5, then 4 5 6 7."""
        pixels = np.zeros((4, 11, 11), np.uint8)
        pixels[:, 0, 0] = np.arange(4) + 2 * chunk
        return pixels, np.arange(4, dtype=np.uint8) % 2

    monkeypatch.setattr(pathfinder, "_draw", draw)
    settings = Settings("generate", rows=Rows(3, 2, 2), generator=SMALL)
    firsts = {split: [tokens[0] for tokens, _ in found] for split, found in read(settings, None).items()}
    assert firsts == {"test": [0, 1], "dev": [2, 3], "train": [4, 5, 6]}


def test_too_few_different_images(monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones((256, 11, 11), np.uint8)
    monkeypatch.setattr(pathfinder, "_draw", lambda settings, chunk: (ones, ones[:, 0, 0]))
    with refuses("pathfinder: only 1 different images came out of 5376; ask for fewer `rows`"):
        read(Settings("generate", rows=Rows(5, 5, 5), generator=SMALL), None)


def test_the_release_and_its_packed_form_and_tfds_give_the_same_splits(
    images: tuple[list[np.ndarray], list[int]],
    release: Path,
    prepared: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings("lra_release")
    splits = read(settings, release)
    assert {split: len(splits[split]) for split in SPLITS} == {"train": 40, "dev": 5, "test": 5}
    assert "left out 3 images that are black all over" in caplog.text
    known = {pixels.tobytes(): label for pixels, label in zip(*images, strict=True) if pixels.any()}
    found = [(bytes(tokens), label) for split in SPLITS for tokens, label in splits[split]]
    assert dict(found) == known and len(found) == COUNT
    # sorted by a keyed hash of the pixels
    keys = [hashlib.blake2b(tokens, digest_size=16, key=bytes(8)).digest() for tokens, _ in found]
    assert keys == sorted(keys)
    pack(release, tmp_path / "pathfinder32.parquet")
    assert read(settings, tmp_path) == splits
    assert read(settings, tmp_path / "pathfinder32.parquet", workers=2) == splits
    assert read(settings, release / "pathfinder32" / "curv_contour_length_14") == splits
    assert read(Settings("pathfinder_tfds"), prepared) == splits
    assert read(Settings("pathfinder_tfds"), prepared / "pathfinder32" / "1.0.0", workers=2) == splits
    reseeded = read(Settings("lra_release", seed=1), release)
    assert {bytes(tokens) for split in SPLITS for tokens, _ in reseeded[split]} == {tokens for tokens, _ in found}
    assert reseeded["test"] != splits["test"]


def test_the_arena_slices_the_tfds_file(images: tuple[list[np.ndarray], list[int]], prepared: Path) -> None:
    splits = read(Settings("pathfinder_tfds", split="lra"), prepared)
    # tensorflow_datasets sorts what it stores by the MD5 sum of the split's name and the key
    names = [f"imgs/0/sample_{i}.png" for i in range(COUNT + BLACK)]
    order = sorted(range(len(names)), key=lambda i: hashlib.md5(f"hard{names[i]}".encode()).digest())
    parts = np.split(order, [42, 48])  # 80 % and 90 % of 53
    for split, part in zip(SPLITS, parts, strict=True):
        expected = [(images[0][i].ravel().tolist(), images[1][i]) for i in part if images[0][i].any()]
        assert splits[split] == expected


def test_equal_images_count_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pixels = [png(np.full((32, 32), grey, np.uint8)) for grey in [1, 2, 3, 1, 4, 5, 6, 7, 8, 9, 9, 10]]
    write_release(tmp_path, pixels, [0] * 12)
    splits = read(Settings("lra_release"), tmp_path)
    assert sorted(tokens[0] for found in splits.values() for tokens, _ in found) == list(range(1, 11))
    assert "left out 2 images that equal another one" in caplog.text


def test_nothing_but_black_images(tmp_path: Path) -> None:
    write_release(tmp_path, [png(np.zeros((32, 32), np.uint8))] * 3, [0, 1, 0])
    with refuses("pathfinder: the source has no images that are not black all over."):
        read(Settings("lra_release"), tmp_path)


def test_a_contact_sheet_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the first rows of the training split, as they are stored."""
    shards = prepare("pathfinder", as_mapping(GENERATE), None, tmp_path / "data", workers=1)
    out = tmp_path / "new" / "sheet.png"
    assert main(["contact-sheet", str(shards.folder), "--images", "9", "--out", str(out)]) == 0
    stored = pq.read_table(shards.files("train")[0])[:9].to_pydict()
    pixels = np.array(stored["tokens"], np.uint8).reshape(9, 11, 11)
    contact_sheet(pixels, np.array(stored["label"]), tmp_path / "expected.png")
    assert out.read_bytes() == (tmp_path / "expected.png").read_bytes()
    assert main(["contact-sheet", str(shards.folder), "--out", str(shards.folder)]) == 1
    assert capsys.readouterr().err == f"Error: {shards.folder} cannot be written: it is a folder.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "expected.png", "new"]


def test_missing_and_unknown_sources(tmp_path: Path, release: Path) -> None:
    with refuses("pathfinder: unknown data source 'generated'. Did you mean 'generate'?"):
        read(Settings("generated"), None)
    with refuses("data source 'generate' needs `rows:"):
        read(Settings("generate"), None)
    with refuses(f"{tmp_path} holds neither pathfinder32.parquet nor pathfinder32/curv_contour_length_14"):
        read(Settings("lra_release"), tmp_path)
    with refuses(f"{tmp_path} holds no pathfinder32/<version>/dataset_info.json"):
        read(Settings("pathfinder_tfds"), tmp_path)
    with refuses("`split: lra` follows the order of `source: pathfinder_tfds`"):
        read(Settings("lra_release", split="lra"), release)
    with refuses("generator: unknown key 'margins'. Did you mean 'margin'?"):
        from_mapping(Settings, {"source": "generate", "generator": {"margins": 1}}, "data")


@pytest.mark.parametrize("damage", ["cut", "no image", "colour", "size", "missing"])
def test_damaged_images(damage: str, tmp_path: Path) -> None:
    good = png(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    bad, sentence = {
        "cut": (good[: len(good) // 2], "is not a PNG image, or damaged"),
        "no image": (b"<html>", "is not a PNG image, or damaged"),
        "colour": (
            png(np.ones((32, 32, 3), np.uint8)),
            "is an image of shape (32, 32, 3) and type uint8, not (32, 32)",
        ),
        "size": (png(np.ones((28, 28), np.uint8)), "is an image of shape (28, 28)"),
        "missing": (b"", "cannot be read: No such file or directory."),
    }[damage]
    write_release(tmp_path, [good, bad, good], [0, 1, 0])
    path = tmp_path / "imgs" / "0" / "sample_1.png"
    if damage == "missing":
        path.unlink()
    for workers in 1, 2:
        with refuses(f"{path} {sentence}"):
            read(Settings("lra_release"), tmp_path, workers)


def test_damaged_metadata(release: Path, tmp_path: Path) -> None:
    images = [png(np.ones((32, 32), np.uint8))] * 2
    write_release(tmp_path / "release" / "pathfinder32" / "curv_contour_length_14", images, [0, 2])
    with refuses("metadata/0.npy, line 2: expected folder, file, index and label, not 'imgs/0 sample_1.png 1 2 1.0"):
        read(Settings("lra_release"), tmp_path / "release")
    file = pack(tmp_path / "release", tmp_path / "pathfinder32.parquet")
    with refuses(f"{file}: metadata/0.npy, line 2: expected"):
        read(Settings("lra_release"), file)


def test_damaged_packed_files(release: Path, tmp_path: Path) -> None:
    file = pack(release, tmp_path / "pathfinder32.parquet", **{"imgs/2/sample_3.png": b"<html>"})
    with refuses(f"{file}: imgs/2/sample_3.png is not a PNG image"):
        read(Settings("lra_release"), tmp_path)
    table = pq.read_table(file)
    pq.write_table(table.filter(pa.compute.not_equal(table["path"], "imgs/2/sample_3.png")), file)
    with refuses(f"{file} lacks imgs/2/sample_3.png and 0 other images that its metadata lists."):
        read(Settings("lra_release"), tmp_path)
    file.write_bytes(b"PAR1 or so")
    with refuses(f"{file} is not a Parquet file with the columns path and bytes"):
        read(Settings("lra_release"), tmp_path)
    pq.write_table(pa.table({"name": ["a"]}), file)
    with refuses(f"{file} is not a Parquet file with the columns path and bytes"):
        read(Settings("lra_release"), tmp_path)


def test_damaged_tfds_files(prepared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    folder = tmp_path / "pathfinder32" / "1.0.0"
    folder.mkdir(parents=True)
    for path in (prepared / "pathfinder32" / "1.0.0").iterdir():
        content = path.read_bytes()
        (folder / path.name).write_bytes(content[:-20] if "00002-of" in path.name else content)
    with refuses(f"{folder} cannot be read by tensorflow_datasets:"):
        read(Settings("pathfinder_tfds"), tmp_path)
