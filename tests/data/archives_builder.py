"""Small archives with the layout of the released ones; the same arguments always give the same bytes."""

from __future__ import annotations

import gzip
import io
import random
import statistics
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

OUTER, INNER = "lra_release", "lra_release/lra_release"
HARD = "pathfinder32/curv_contour_length_14"
ROWS = {"train": 6, "dev": 3, "test": 3}
LISTOPS_NAMES = {"train": "basic_train.tsv", "dev": "basic_val.tsv", "test": "basic_test.tsv"}
AAN_NAMES = {
    "train": "new_aan_pairs.train.tsv",
    "dev": "new_aan_pairs.eval.tsv",
    "test": "new_aan_pairs.test.tsv",
}

Files = Iterable[tuple[str, bytes]]


def write_tar_gz(path: Path, files: Files) -> Path:
    """A tar of files and of the folders they are in, without dates or owners."""
    folders: set[str] = set()
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, content in files:
            for end in (i for i, character in enumerate(name) if character == "/"):
                if (folder := name[:end]) not in folders:
                    folders.add(folder)
                    header = tarfile.TarInfo(folder)
                    header.type, header.mode = tarfile.DIRTYPE, 0o755
                    tar.addfile(header)
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    return path


def lra_release(
    path: Path,
    *,
    listops: Mapping[str, int] = ROWS,
    retrieval: Mapping[str, int] = ROWS,
    batches: int = 2,
    images: int = 5,
    seed: int = 0,
) -> Path:
    """Write ``lra_release.gz``.

    Args:
        path: the archive to write.
        listops: expressions of each split.
        retrieval: pairs of articles of each split.
        batches: batches of pathfinder images of each difficulty.
        images: images of a batch.
        seed: of everything that is drawn.
    """
    return write_tar_gz(path, release_files(listops, retrieval, batches, images, seed))


def release_files(
    listops: Mapping[str, int] = ROWS,
    retrieval: Mapping[str, int] = ROWS,
    batches: int = 2,
    images: int = 5,
    seed: int = 0,
) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file of ``lra_release.gz``, the outer duplicates first."""
    rng = random.Random(seed)
    for name in LISTOPS_NAMES.values():
        yield f"{OUTER}/listops-1000/{name}", b"Source\tTarget\nan outer duplicate\t0\n"
    yield f"{OUTER}/pathfinder128/curv_baseline/imgs/0/sample_0.png", b""
    for split, name in LISTOPS_NAMES.items():
        yield f"{INNER}/listops-1000/{name}", listops_tsv(listops[split], rng)
    for split, name in AAN_NAMES.items():
        yield f"{INNER}/tsv_data/{name}", aan_tsv(split, retrieval[split], rng)
    for difficulty in ("curv_baseline", "curv_contour_length_9", "curv_contour_length_14"):
        for file, content in pathfinder_files(batches, images, rng):
            yield f"{INNER}/pathfinder32/{difficulty}/{file}", content
    # The one empty image that the release is known to have.
    yield f"{INNER}/pathfinder32/curv_baseline/imgs/0/sample_172.png", b""
    for size in (64, 128, 256):
        for file, content in pathfinder_files(1, 10 if size == 128 else 1, rng, size):
            yield f"{INNER}/pathfinder{size}/curv_contour_length_14/{file}", content


def listops_tsv(rows: int, rng: random.Random) -> bytes:
    """``basic_*.tsv``: a header, then expression and value, parentheses included."""
    seen: dict[str, int] = {}
    while len(seen) < rows:
        text, value = _tree(rng, depth=1)
        if text.startswith("("):
            seen[text] = value
    lines = [f"{text}\t{value}" for text, value in seen.items()]
    return "\n".join(["Source\tTarget", *lines, ""]).encode()


_OPERATORS = {"[MIN": min, "[MAX": max, "[MED": lambda x: int(statistics.median(x)), "[SM": lambda x: sum(x) % 10}


def _tree(rng: random.Random, depth: int) -> tuple[str, int]:
    if depth > 1 and (depth == 4 or rng.random() < 0.6):
        digit = rng.randrange(10)
        return str(digit), digit
    operator = rng.choice(list(_OPERATORS))
    children = [_tree(rng, depth + 1) for _ in range(rng.randint(2, 5))]
    text = operator
    for child, _ in children:
        text = f"( {text} {child} )"
    return f"( {text} ] )", _OPERATORS[operator]([value for _, value in children])


def aan_tsv(split: str, rows: int, rng: random.Random) -> bytes:
    """``new_aan_pairs.*.tsv``: label, two ids and two texts, which are Python bytes literals; no header, no quoting."""
    lines = []
    for row in range(rows):
        texts = [_article(f"{split} {row} {tower}", rng) for tower in (1, 2)]
        ids = [f"{rng.choice('CDJNPW')}{rng.randrange(100):02}-{rng.randrange(10000):04}" for _ in texts]
        lines.append("\t".join([f"{float(rng.random() < 0.5)}", *ids, *texts]))
    return "".join(f"{line}\n" for line in lines).encode()


def _article(title: str, rng: random.Random) -> str:
    words = ["attention", '"quoted', "isn't", "na\u00efve", "tab\there", "line\nbreak", "the", "of", "a"]
    return repr(" ".join([title, *rng.choices(words, k=rng.randint(20, 60))]).encode())


def pathfinder_files(batches: int, images: int, rng: random.Random, size: int = 32) -> Iterator[tuple[str, bytes]]:
    """Images and the plain-text metadata of one difficulty, whose fourth column is the label."""
    for batch in range(batches):
        lines = []
        for i in range(images):
            yield f"imgs/{batch}/sample_{i}.png", png(rng, size)
            lines.append(f"imgs/{batch} sample_{i}.png {i} {rng.randrange(2)} 1.0 6 2 2 0.5 1 1\n")
        yield f"metadata/{batch}.npy", "".join(lines).encode()


def png(rng: random.Random, size: int) -> bytes:
    """A grey image of ``size`` x ``size`` pixels, most of them black."""
    noise = np.frombuffer(rng.randbytes(2 * size * size), dtype=np.uint8).reshape(2, size, size)
    stream = io.BytesIO()
    Image.fromarray(np.where(noise[0] < 90, noise[1], 0).astype(np.uint8)).save(stream, format="png")
    return stream.getvalue()


def pathfinder_tfds(path: Path) -> Path:
    """The layout of ``pathfinder_tfds.gz``; the contents of its files are none that tensorflow could read."""
    folder = "TFDS/pathfinder32/1.0.0"
    names = ["dataset_info.json", "features.json"]
    names += [f"pathfinder32-{level}.tfrecord-00000-of-00001" for level in ("easy", "intermediate", "hard")]
    files = [(f"{folder}/{name}", name.encode()) for name in names]
    return write_tar_gz(path, [*files, ("TFDS/pathfinder64/1.0.0/dataset_info.json", b"{}")])
