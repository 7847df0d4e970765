"""How much padding each setting of ``train.pad`` leaves, how fast it trains, and how fast batches are made beside that.

    python benchmarks/loader.py            # two cores, three minutes

On made-up rows of the paper's lengths in the paper's batches: listops (the task's own trees) and text (random bytes as
long as IMDb's reviews). The share of positions that are padding, and positions a row; batches made a second by one
thread, from Parquet to padded tensors, over more than a pool of rows. Then training examples a second, of V-Mean, the
cheapest method, and of Skeinformer; how many times as many as with ``pad: length``; and how many times as fast the
loader makes examples. A step trains 4 rows of a batch, padded as that batch is, so that many batches are seen.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from made_up import make_shards, trainer

from lra.data.batches import POOL_ROWS, Batch
from lra.data.shards import Shards
from lra.training.evaluation import batches_of

PADS = ("length", "batch", "bucket")
ATTENTIONS = ("vmean", "skeinformer")
ROWS = 4


def shuffled(shards: Shards, pad: str, seed: int = 0) -> Iterator[Batch]:
    run = trainer(shards, "vmean", pad)
    return batches_of(run.model, shards, "train", run.settings.batch, run.settings).shuffled(seed)


def padding(batches: list[Batch]) -> tuple[float, float]:
    """Share of positions that are padding, and positions a row."""
    real = sum(int(mask.sum()) for batch in batches for mask in batch.mask)
    positions = sum(mask.numel() for batch in batches for mask in batch.mask)
    return 1 - real / positions, positions / sum(map(len, batches))


def loader_seconds(shards: Shards, pad: str, count: int, repeats: int) -> float:
    """Seconds a batch, reading and shuffling of the pool included: the median of some epochs."""
    times = []
    for seed in range(repeats):
        started = time.perf_counter()
        for _ in itertools.islice(shuffled(shards, pad, seed), count):
            pass
        times.append((time.perf_counter() - started) / count)
    return statistics.median(times)


def training_seconds(shards: Shards, attention: str, pads: list[str], steps: int) -> list[float]:
    """Seconds an example of each setting, in turn: means over the steps after a first one to warm up."""
    runs = [(trainer(shards, attention, pad), shuffled(shards, pad)) for pad in pads]
    spent = [0.0] * len(pads)
    for step in range(1 + steps):
        for i, (run, batches) in enumerate(runs):
            rows = next(next(batches).split(ROWS))
            started = time.perf_counter()
            run.step(rows)
            spent[i] += (time.perf_counter() - started) * (step > 0)
    return [seconds / steps / ROWS for seconds in spent]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="listops,text")
    parser.add_argument("--threads", type=int, default=2, help="threads of a training step")
    parser.add_argument("--steps", type=int, default=16, help="training steps that are timed")
    parser.add_argument("--repeats", type=int, default=3, help="times that an epoch of batches is made")
    options = parser.parse_args()
    columns = "".join(f"{f'{name}/s':>15}{'faster':>8}{'loader':>8}" for name in ATTENTIONS)
    print(f"{'task':8} {'pad':8}{'padding':>8}{'positions':>10}{'batches/s':>10}{columns}")
    with tempfile.TemporaryDirectory() as folder:
        for task in options.tasks.split(","):
            shards = make_shards(task, POOL_ROWS + POOL_ROWS // 4, Path(folder))
            torch.set_num_threads(options.threads)
            training = [training_seconds(shards, attention, list(PADS), options.steps) for attention in ATTENTIONS]
            torch.set_num_threads(1)
            for i, pad in enumerate(PADS):
                batch = trainer(shards, "vmean", pad).settings.batch
                count = shards.rows("train") // batch
                share, positions = padding(list(itertools.islice(shuffled(shards, pad), count)))
                made = loader_seconds(shards, pad, count, options.repeats)
                line = f"{task:8} {pad:8}{share:8.1%}{positions:10.0f}{1 / made:10.0f}"
                for times in training:
                    line += f"{1 / times[i]:15.2f}{times[0] / times[i]:7.2f}x{times[i] * batch / made:7.0f}x"
                print(line, flush=True)


if __name__ == "__main__":
    main()
