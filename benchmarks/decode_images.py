"""How fast Pathfinder images are read and drawn, beside a plain row-by-row pipeline on the same files in the same run.

    python benchmarks/decode_images.py --images 4000 --repeats 3

Draws images, writes them as the Long Range Arena released them (PNG files and plain-text metadata) and packed into one
Parquet file. Then, in turn, a ``tf.data`` pipeline reads and decodes an image in a ``py_function`` and pickles it; this
package reads the files, or the packed file, into record batches; and it reads the packed file and writes shards.
Needs tensorflow.
"""

from __future__ import annotations

import argparse
import collections
import io
import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lra.data.prepare import prepare
from lra.tasks import pathfinder
from lra.tasks.pathfinder_drawing import Parameters
from lra.tasks.pathfinder_generator import generate

BATCH = 1000
PATH_X = Parameters(
    image_size=128,
    paddle_length=5.0,
    thickness=1.5,
    margin=2.0,
    continuity=1.8,
    seed_border=40,
    seed_distance=20.0,
    marker_radius=3.0,
    distractors=8,
    snake_contrast=0.9,
    paddle_contrast=1.0,
)
"""Path-X, but that its margin is 2 or 3."""


def write_input(folder: Path, images: int) -> tuple[Path, Path]:
    """The same images as files, and packed."""
    hard = folder / "files" / "pathfinder32" / "curv_contour_length_14"
    pixels, labels = generate(Parameters(), images, np.random.default_rng(0))
    metadata = collections.defaultdict(str)
    contents = {}
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, format="png")
        batch, sample = f"imgs/{i // BATCH}", f"sample_{i % BATCH}.png"
        contents[f"{batch}/{sample}"] = stream.getvalue()
        metadata[f"metadata/{i // BATCH}.npy"] += f"{batch} {sample} {i % BATCH} {label} 1.0 14 4 2 0.5 1 1\n"
    contents |= {name: lines.encode() for name, lines in metadata.items()}
    for name, content in contents.items():
        (hard / name).parent.mkdir(parents=True, exist_ok=True)
        (hard / name).write_bytes(content)
    packed = folder / "packed" / "pathfinder32.parquet"
    packed.parent.mkdir()
    pq.write_table(pa.table({"path": list(contents), "bytes": list(contents.values())}), packed, compression="zstd")
    return folder / "files", folder / "packed"


def row_by_row(files: Path, packed: Path, out: Path, workers: int) -> None:
    """The yardstick."""
    import tensorflow as tf

    hard = files / "pathfinder32" / "curv_contour_length_14"
    fields = [line.split() for path in (hard / "metadata").iterdir() for line in path.read_text().splitlines()]
    paths, labels = [str(hard / f[0] / f[1]) for f in fields], [int(f[3]) for f in fields]

    def load(path):
        return np.asarray(Image.open(path.numpy().decode()), np.int32).reshape(-1)

    rows = tf.data.Dataset.from_tensor_slices((paths, labels))
    rows = rows.map(lambda path, label: (tf.py_function(load, [path], tf.int32), label))
    with (out / "rows.pickle").open("wb") as file:
        for row in rows.as_numpy_iterator():
            pickle.dump(row, file)


def read(source: Path, workers: int) -> None:
    for batches in pathfinder.examples(pathfinder.Settings("lra_release"), source, workers).values():
        collections.deque(batches, maxlen=0)


def read_files(files: Path, packed: Path, out: Path, workers: int) -> None:
    """This package: from PNG files to record batches."""
    read(files, workers)


def read_packed(files: Path, packed: Path, out: Path, workers: int) -> None:
    """This package: from the packed file to record batches."""
    read(packed, workers)


def write_shards(files: Path, packed: Path, out: Path, workers: int) -> None:
    """This package: from the packed file to shards and manifest."""
    prepare("pathfinder", {"source": "lra_release"}, packed, out, workers)


WAYS = (row_by_row, read_files, read_packed, write_shards)


def seconds(
    way: Callable[[Path, Path, Path, int], None], files: Path, packed: Path, workers: int
) -> tuple[float, float]:
    """Wall-clock time, and processor time of this process, of one way to read the images."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter(), time.process_time()
        way(files, packed, Path(out), workers)
        return time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    """Print images per second of each way, its ratio to the first, and milliseconds per drawn image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4000, help="images to write and read")
    parser.add_argument("--workers", type=int, default=1, help="processes that decode")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn; medians are printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, packed = write_input(Path(folder), options.images)
        seconds(row_by_row, files, packed, 1)  # imports tensorflow, and the files are in memory from here on
        times = [[seconds(way, files, packed, options.workers) for way in WAYS] for _ in range(options.repeats)]
    medians = np.median(times, axis=0)
    print("images per second (and how many times as many as row by row), microseconds of processor time an image")
    for way, (wall, processor) in zip(WAYS, medians, strict=True):
        rate, cost = options.images / wall, processor / options.images * 1e6
        print(f"{way.__name__:12} {rate:8.0f} ({medians[0][0] / wall:4.1f} x) {cost:8.0f} us")
    for name, p, count in ("32x32 hard", Parameters(), 256), ("128x128", PATH_X, 64):
        drawn = []
        for i in range(options.repeats + 1):
            start = time.process_time()
            generate(p, count, np.random.default_rng(i))
            drawn.append((time.process_time() - start) / count * 1000)
        print(f"drawing {name}: {np.median(drawn[1:]):.2f} ms of processor time an image")


if __name__ == "__main__":
    main()
