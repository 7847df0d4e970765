"""Small sources with the true layouts of the published ones, and what must come of them, worked out a row at a time."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image
from tests.data import archives_builder as builder

from tasks.image_files import prepare_cifar10, prepare_pathfinder
from workflow.arena import ROOT

SPLITS = ("train", "dev", "test")
TASKS = ("listops", "text", "retrieval", "pathfinder", "image")
ROWS = {
    "listops": [7, 3, 4],
    "text": [18, 2, 10],
    "retrieval": [6, 5, 3],
    "pathfinder": [16, 2, 2],
    "image": [45, 5, 20],
}
LISTOPS, AAN = (dict(zip(SPLITS, ROWS[task], strict=True)) for task in ("listops", "retrieval"))
RELEASE = dict(builder.release_files(LISTOPS, AAN, batches=4, images=5))
INNER = {name.removeprefix(f"{builder.INNER}/"): content for name, content in RELEASE.items()}

# TFDS strips the white space around reviews.
REVIEWS = {
    f"aclImdb/{part}/{folder}/{i}_7.txt": f" {folder} {part} <br />caf\u00e9 {i}\n".encode()
    for part, count in (("train", 10), ("test", 5))
    for folder in ("pos", "neg")
    for i in range(count)
} | {"aclImdb/train/unsup/0_0.txt": b"without a label"}

RANDOM = np.random.default_rng(0)
COLOURS = [RANDOM.integers(256, size=(count, 32, 32, 3), dtype=np.uint8) for count in (50, 20)]
CLASSES = [RANDOM.integers(10, size=count).tolist() for count in (50, 20)]

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Sources:
    """Paths of the sources: the release as an archive, and what tensorflow_datasets wrote."""

    lra_release: Path
    pathfinder_tfds: Path
    imdb: Path
    imdb_archive: Path
    cifar10: Path

    @classmethod
    def create(cls, folder: Path) -> Sources:
        """Write all of them, the TFRecords by the published builders of tensorflow_datasets."""
        imdb_archive = builder.write_tar_gz(folder / "aclImdb_v1.tar.gz", REVIEWS.items())
        images = hard_images()
        tfds = prepare_pathfinder(folder, list(images.values()), [labels()[name] for name in images])
        files = sorted(path for path in tfds.rglob("*") if path.is_file())
        packed = [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]
        return cls(
            lra_release=builder.write_tar_gz(folder / "lra_release.gz", RELEASE.items()),
            pathfinder_tfds=builder.write_tar_gz(folder / "pathfinder_tfds.gz", packed),
            imdb=prepare_imdb(folder / "imdb", imdb_archive),
            imdb_archive=imdb_archive,
            cifar10=prepare_cifar10(folder / "cifar10", *COLOURS, CLASSES),
        )

    def unpacked(self, folder: Path) -> Path:
        """The release as a folder."""
        with tarfile.open(self.lra_release) as tar:
            tar.extractall(folder, filter="data")
        return folder / "lra_release"


def prepare_imdb(folder: Path, archive: Path) -> Path:
    """``imdb_reviews/plain_text/1.0.0`` by the real builder, from an archive like the one that it downloads."""
    from tensorflow_datasets.datasets.imdb_reviews.imdb_reviews_dataset_builder import Builder

    class ImdbReviews(Builder, skip_registration=True):  # type: ignore[misc]
        name = "imdb_reviews"
        __module__ = "a_script"  # else tensorflow_datasets looks for the source of this test
        pkg_dir_path = Builder._get_pkg_dir_path()

        def _split_generators(self, manager: Any) -> Any:
            manager.download = lambda url: archive
            manager.iter_archive = lambda path: self._members()
            return super()._split_generators(manager)

        def _members(self) -> Any:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.isfile():
                        yield member.name, tar.extractfile(member)

    ImdbReviews(config="plain_text", data_dir=folder).download_and_prepare()
    return folder


def paper(sources: Mapping[str, list[dict[str, Any]]], **data: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the checkout at the scale of the paper, for sources of any size; other data settings."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"scale": "paper", "attentions": ["softmax"], "sources": {**config["sources"], **sources}}
    for task, settings in config["scales"]["paper"]["tasks"].items():
        settings["data"] |= {"expected_rows": None, **data.get(task, {})}
    return config


def prepared(folder: Path, task: str) -> dict[str, Rows]:
    """Tokens (of both towers) and label of each row of the shards, in order."""
    rows: dict[str, Rows] = {}
    for split in SPLITS:
        (path,) = (folder / "data" / "paper" / task / split).iterdir()
        rows[split] = [tuple(row.values()) for row in pq.read_table(path).to_pylist()]
    return rows


def expected_listops(split: str) -> Rows:
    """Rows of the released code's 14 tokens."""
    ids = {token: i for i, token in enumerate(["0", *"123456789", "[MIN", "[MAX", "[MED", "[SM"], start=1)}
    lines = INNER[f"listops-1000/{builder.LISTOPS_NAMES[split]}"].decode().splitlines()[1:]
    pairs = [line.split("\t") for line in lines]
    return [([ids[word] for word in text.split() if word in ids], int(value)) for text, value in pairs]


def expected_retrieval(split: str) -> Rows:
    """Rows as they stand in the file."""
    lines = [line.split(b"\t") for line in INNER[f"tsv_data/{builder.AAN_NAMES[split]}"].splitlines()]
    return [(tokens(first), tokens(second), int(float(label))) for label, _, _, first, second in lines]


def expected_text(part: str) -> Rows:
    """The reviews of a part, in no order."""
    labelled = {name: text for name, text in REVIEWS.items() if name.split("/")[1:3] in ([part, "pos"], [part, "neg"])}
    return [(tokens(text.strip()), int("/pos/" in name)) for name, text in labelled.items()]


def expected_images() -> Rows:
    """All images of CIFAR-10 in grey as tensorflow computes it, in no order."""
    import tensorflow as tf

    grey = [tf.image.rgb_to_grayscale(part).numpy().reshape(len(part), -1).tolist() for part in COLOURS]
    return list(zip(itertools.chain(*grey), itertools.chain(*CLASSES), strict=True))


def expected_pathfinder() -> Rows:
    """All hard images, in no order."""
    pixels = {name: np.asarray(Image.open(io.BytesIO(png))).ravel().tolist() for name, png in hard_images().items()}
    return [(pixels[name], labels()[name]) for name in pixels]


def tokens(text: bytes) -> list[int]:
    """Bytes plus one."""
    return [byte + 1 for byte in text]


def hard_images() -> dict[str, bytes]:
    """PNG files of the hard images by their names in the metadata."""
    start = "pathfinder32/curv_contour_length_14/"
    return {name.removeprefix(start): png for name, png in INNER.items() if name.startswith(f"{start}imgs/")}


def labels() -> dict[str, int]:
    """The label of each hard image."""
    lines = [
        line.split()
        for name, text in INNER.items()
        if name.startswith("pathfinder32/curv_contour_length_14/metadata/")
        for line in text.decode().splitlines()
    ]
    return {f"{folder}/{file}": int(label) for folder, file, _, label, *_ in lines}
