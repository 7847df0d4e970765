"""A training step of this package beside a plain restatement of the paper's loop, and what makes up the difference.

    python benchmarks/training_loop.py            # two cores, four minutes

Both train the paper's model (2 layers, embedding 64, hidden 128, 2 heads of 32, d = 256) on the same made-up reviews
(random bytes as long as IMDb's, cut at 4000) in batches of the same size, in turn in one process. The plain loop is
what one writes first: a Dataset of padded rows that a DataLoader collates, attention under checkpointing, Adam, and a
look at the loss after every step. Its attention is softmax in whole matrices, or the released formula of Skeinformer.

Each line changes one more thing: no checkpointing; the step, batches and attention of this package (``pad: length``);
padding to the batch's longest (``pad: batch``); batches of rows of about the same length (``pad: bucket``, here among
the rows of this benchmark; in training among 32 batches). The plain loop comes once more at the end, to show how much
the machine itself wavers.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from made_up import make_shards, trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset

from lra.attention import build
from lra.config.settings import ModelSettings
from lra.data.batches import Batch, Batches
from lra.data.shards import Shards
from lra.model import Model

LENGTH, FEATURES = 4096, 256
Step = Callable[[], None]


class PlainRows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Rows of token ids as Python lists, padded one at a time."""

    def __init__(self, rows: list[tuple[list[int], int]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        tokens, label = self.rows[index]
        missing = LENGTH - len(tokens)
        mask = [1] * len(tokens) + [0] * missing
        return torch.tensor(tokens + [0] * missing), torch.tensor(mask, dtype=torch.bool), torch.tensor(label)


class PlainSoftmax(nn.Module):
    """The textbook's attention, with dropout of its weights."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        logits = logits - 1e6 * (1 - mask[:, None, None].float())
        return dropout(logits.softmax(-1), 0.1, self.training) @ value


class Checkpointed(nn.Module):
    """An attention that is computed again in the backward pass."""

    uses_key = True

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, *inputs: Tensor) -> Tensor:
        return checkpoint(self.attention, *inputs, use_reentrant=False)


def plain_attention(name: str, checkpointed: bool) -> nn.Module:
    if name == "softmax":
        attention: nn.Module = PlainSoftmax()
    else:
        attention = build(name, heads=2, head_dim=32, max_length=LENGTH, features=FEATURES, released=True)
    attention.uses_key = True
    return Checkpointed(attention) if checkpointed else attention


def plain_loop(name: str, batches: list[Batch], checkpointed: bool) -> Step:
    """A function that makes the next step of the plain loop."""
    model = Model(
        ModelSettings(),
        lambda: plain_attention(name, checkpointed),  # type: ignore[arg-type, return-value]
        vocabulary=257,
        max_length=LENGTH,
        classes=2,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-4, total_steps=20000)
    rows = [
        (tokens[mask].tolist(), int(label))
        for batch in batches
        for tokens, mask, label in zip(batch.tokens[0], batch.mask[0], batch.label, strict=True)
    ]
    loader = iter(DataLoader(PlainRows(rows), batch_size=len(batches[0]), num_workers=0))
    losses = []

    def step() -> None:
        tokens, mask, label = next(loader)
        optimizer.zero_grad()
        loss = cross_entropy(model([tokens], [mask]), label)
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())

    return step


def ours(name: str, shards: Shards, batch: int, batches: Iterator[Batch]) -> Step:
    """A function that makes the next step of this package's loop."""
    run = trainer(shards, name, "length", batch, FEATURES)
    return lambda: run.step(next(batches))


def compare(name: str, shards: Shards, batch: int, steps: int) -> None:
    """Print a line for each way to train."""

    def batches(trim: bool, window: int = 1) -> Iterator[Batch]:
        source = Batches(shards, "train", batch, LENGTH, trim=trim, window=window).shuffled(0)
        first = next(source)
        yield first  # to warm up
        yield first
        yield from source

    padded = [b for b, _ in zip(batches(trim=False), range(steps + 1), strict=False)]
    real = sum(int(b.mask[0].sum()) for b in padded[1:])
    ways: dict[str, tuple[Step, int]] = {}
    for title, trim, window in (("length", False, 1), ("batch", True, 1), ("bucket", True, steps)):
        positions = sum(b.mask[0].numel() for b, _ in zip(batches(trim, window), range(steps + 1), strict=False))
        positions -= next(batches(trim, window)).mask[0].numel()
        ways[f"this package, pad: {title}"] = ours(name, shards, batch, batches(trim, window)), positions
    full = steps * batch * LENGTH
    ways = {
        "plain loop": (plain_loop(name, padded, checkpointed=True), full),
        "plain loop, no checkpointing": (plain_loop(name, padded, checkpointed=False), full),
        **ways,
        "plain loop, again": (plain_loop(name, padded, checkpointed=True), full),
    }
    spent = dict.fromkeys(ways, 0.0)
    for number in range(1 + steps):
        for title, (step, _) in ways.items():
            started = time.perf_counter()
            step()
            spent[title] += (time.perf_counter() - started) * (number > 0)
    for title, (_, positions) in ways.items():
        rate, ratio = steps * batch / spent[title], spent["plain loop"] / spent[title]
        print(f"{name:12} {title:30}{1 - real / positions:9.1%}{rate:12.2f}{ratio:8.2f}x", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attentions", default="skeinformer,softmax", help="of these two")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6, help="steps of each way, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'attention':12} {'loop':30}{'padding':>9}{'examples/s':>12}{'faster':>9}")
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards("text", options.batch * (options.steps + 1), Path(folder))
        for name in options.attentions.split(","):
            compare(name, shards, options.batch, options.steps)


if __name__ == "__main__":
    main()
