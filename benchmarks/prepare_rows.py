"""How fast text becomes Parquet shards, beside a plain row-by-row pipeline on the same input in the same run.

    python benchmarks/prepare_rows.py --rows 5000 --repeats 3

Makes files as the Long Range Arena released them (ListOps trees; pairs of bytes literals as in AAN). Then, in turn, a
``tf.data`` pipeline encodes a row in a ``py_function`` and pickles it; this package reads the text into record batches;
and it reads it, looks for duplicates, and writes shards and manifest. That both write the same rows is checked first.
A busy machine slows the two threads of ``write`` more than the yardstick's one; ratios of processor time tell. Needs
tensorflow.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from lra.data.prepare import prepare
from lra.data.shards import read_shards
from lra.tasks.contract import SPLITS
from lra.tasks.listops_trees import CLOSE, OPERATOR, TOKENS, Generator, generate

IDS = {token: i for i, token in enumerate(TOKENS)}
FILES = {
    "listops": [f"listops-1000/basic_{split}.tsv" for split in ("train", "val", "test")],
    "retrieval": [f"tsv_data/new_aan_pairs.{split}.tsv" for split in ("train", "eval", "test")],
}
SETTINGS = {
    "listops": {"source": "lra_release", "max_length": 2000},
    "retrieval": {"source": "lra_release", "max_length": 4000},
}


def nested(tokens: list[int]) -> str:
    """The text form of a tree, ``( ( ( [MAX 2 ) 9 ) ] )``."""
    open_nodes: list[str] = []
    for token in tokens:
        text = TOKENS[token]
        if OPERATOR <= token < CLOSE:
            open_nodes.append(text)
            continue
        if token == CLOSE:
            text = f"( {open_nodes.pop()} ] )"
        if open_nodes:
            open_nodes[-1] = f"( {open_nodes[-1]} {text} )"
    return text


def listops_lines() -> Iterator[str]:
    """Rows of a ListOps file without end."""
    for batch in generate(Generator(), 0, brackets=True):
        for row in batch.to_pylist():
            yield f"{nested(row['tokens'])}\t{row['label']}\n"


def aan_lines() -> Iterator[str]:
    """Rows of an AAN file without end; papers have 20 000 characters on average."""
    rng = np.random.default_rng(0)
    words = ["".join(map(chr, rng.integers(97, 123, size))) for size in rng.integers(2, 10, 5000)]
    breaks = np.array([" "] * 11 + ["\n"])
    while True:
        texts = []
        for words_in_text in rng.lognormal(8.0, 0.4, 2).astype(int):
            chosen = (words[i] for i in rng.integers(len(words), size=words_in_text))
            text = "".join(a + b for a, b in zip(chosen, rng.choice(breaks, words_in_text), strict=True))
            texts.append(repr(text.encode()))
        yield "\t".join([f"{rng.integers(2)}.0", "P00-1001", "P99-1001", *texts]) + "\n"


def write_input(task: str, folder: Path, rows: int) -> int:
    """Write the three files of a task, a twentieth of the rows in the two small ones; returns their rows in all."""
    lines = listops_lines() if task == "listops" else aan_lines()
    counts = [rows, rows // 20, rows // 20]
    for name, count in zip(FILES[task], counts, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            if task == "listops":
                file.write("Source\tTarget\n")
            file.writelines(next(lines) for _ in range(count))
    return sum(counts)


def encode_listops(line):
    source, target = line.numpy().decode().split("\t")
    return [IDS[word] for word in source.split() if word in IDS], int(target)


def encode_aan(line):
    label, _, _, first, second = line.numpy().split(b"\t")
    return [byte + 1 for byte in first[:4000]], [byte + 1 for byte in second[:4000]], int(float(label))


def row_by_row(task: str, source: Path, out: Path) -> None:
    """The yardstick."""
    import tensorflow as tf

    encode, towers = (encode_listops, 1) if task == "listops" else (encode_aan, 2)
    types = [tf.int32] * (towers + 1)
    for name in FILES[task]:
        lines = tf.data.TextLineDataset(str(source / name)).skip(int(task == "listops"))
        rows = lines.map(lambda line: tf.py_function(encode, [line], types))
        with (out / f"{Path(name).name}.pickle").open("wb") as file:
            for row in rows.as_numpy_iterator():
                pickle.dump(row, file)


def read(task: str, source: Path, out: Path) -> None:
    """This package: from text to record batches."""
    module = importlib.import_module(f"lra.tasks.{task}")
    for batches in module.examples(module.Settings(**SETTINGS[task]), source, workers=1).values():
        collections.deque(batches, maxlen=0)


def write(task: str, source: Path, out: Path) -> None:
    """This package: from text to shards and manifest."""
    prepare(task, SETTINGS[task], source, out / "shards", workers=1)


WAYS = (row_by_row, read, write)


def check(task: str, source: Path) -> None:
    """Raise unless the yardstick and this package write the same rows."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        row_by_row(task, source, out)
        write(task, source, out)
        shards = read_shards(out / "shards")
        for split, name in zip(SPLITS, FILES[task], strict=True):
            columns = [column.to_numpy() for column in pq.read_table(shards.files(split)).columns]
            with (out / f"{Path(name).name}.pickle").open("rb") as file:
                for row in zip(*columns, strict=True):
                    assert all(map(np.array_equal, row, pickle.load(file))), f"{name}: another row"
                assert not file.read(), f"{name}: rows are missing"


def seconds(function: Callable[[str, Path, Path], None], task: str, source: Path) -> tuple[float, float]:
    """Wall-clock time, and processor time of all threads, of one way to prepare a task."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter(), time.process_time()
        function(task, source, Path(out))
        return time.perf_counter() - start[0], time.process_time() - start[1]


def peak_mib(task: str, source: Path) -> float:
    """Largest resident memory of a fresh process that prepares a task with this package."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_mib, (task, source))


def _peak_mib(task: str, source: Path) -> float:
    seconds(write, task, source)
    status = Path("/proc/self/status").read_text()  # not getrusage, which counts the parent's memory too
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print rows per second of each way, its ratios to the yardstick, and the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000, help="rows of the training file")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn; medians are printed")
    arguments = parser.parse_args()
    print("rows per second (and how many times as many as row by row: in time, in processor time)")
    print(f"{'task':<10}{'MB':>6}{'rows':>7}{'row by row':>12}{'read':>24}{'write':>24}{'peak MiB':>10}")
    for task in FILES:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder)
            rows = write_input(task, source, arguments.rows)
            size = sum((source / name).stat().st_size for name in FILES[task]) / 1e6
            check(task, source)  # and imports tensorflow
            times = np.array([[seconds(way, task, source) for way in WAYS] for _ in range(arguments.repeats)])
            slow, *ours = rows / np.median(times[..., 0], axis=0)
            ratios = np.median(times[:, :1] / times[:, 1:], axis=0)  # (ways, time and processor time)
            columns = "".join(f"{rate:>9.0f} ({r[0]:5.1f}x,{r[1]:5.1f}x)" for rate, r in zip(ours, ratios, strict=True))
            print(f"{task:<10}{size:>6.0f}{rows:>7}{slow:>12.0f}{columns}{peak_mib(task, source):>10.0f}", flush=True)


if __name__ == "__main__":
    main()
