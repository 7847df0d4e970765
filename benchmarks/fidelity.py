"""What `released: true` does to an attention's output; docs/fidelity.md quotes the table.

    python benchmarks/fidelity.py --length 1024 --features 64 --trials 4

Q, K and V are normal, so logits have a deviation of 1 and there is no structure to find: errors are larger than on real
text, for which there is `lra approximate`. A quarter of the sequence is padding. A figure is ||difference|| /
||reference|| (Frobenius norms over the real positions), mean of the trials, in evaluation mode, where both forms use
the same fixed random numbers:

* error: from exact attention, by the method's own paper and as released;
* between: from the method's own paper to the released form;
* neighbours: from the sequence alone to the sequence in a batch with a short one of twice the queries and keys;
* padding: from the padded sequence to the same one without padding.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import scaled_dot_product_attention

from lra.attention import build, load, names, resolve

HEADS, HEAD_DIM = 2, 32
COLUMNS = ("error", "error released", "between", "neighbours", "neighbours released", "padding", "padding released")
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]
Attend = Callable[..., Tensor]


def inputs(length: int, trial: int) -> Inputs:
    """Q, K, V (2, heads, length, head_dim) and mask: of a sequence that fills three quarters, and of its neighbour."""
    generator = Generator().manual_seed(trial)
    query, key, value = (torch.randn(2, HEADS, length, HEAD_DIM, generator=generator) for _ in range(3))
    query[1] *= 2
    key[1] *= 2
    mask = torch.arange(length) < torch.tensor([[length * 3 // 4], [length // 32]])
    return query, key, value, mask


def compare(name: str, length: int, features: int, trial: int) -> list[float]:
    """One trial's figures, in the order of COLUMNS."""
    together = inputs(length, trial)
    alone: Inputs = tuple(tensor[:1] for tensor in together)  # type: ignore[assignment]
    real = int(alone[3].sum())
    cut: Inputs = (*(tensor[:, :, :real] for tensor in alone[:3]), alone[3][:, :real])  # type: ignore[assignment]
    exact = exact_attention(name, *cut[:3])
    outputs = [
        [first(method, batch, real) for batch in (alone, together, cut)] for method in both(name, length, features)
    ]
    ours, released = outputs
    return [
        share(ours[0], exact),
        share(released[0], exact),
        share(released[0], ours[0]),
        share(ours[1], ours[0]),
        share(released[1], released[0]),
        share(ours[2], ours[0]),
        share(released[2], released[0]),
    ]


def exact_attention(name: str, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(heads, length, head_dim) what the method approximates."""
    if name != "reformer":
        return scaled_dot_product_attention(query, key, value)[0]
    # Logits q_i . q_j / |q_j|, and no token attends to itself.
    others = ~torch.eye(query.shape[2], dtype=torch.bool)
    key = torch.nn.functional.normalize(query, dim=-1)
    return scaled_dot_product_attention(query, key, value, attn_mask=others, scale=1.0)[0]


def both(name: str, length: int, features: int) -> list[Any]:
    """The method by its own paper and as released, in evaluation mode."""
    approximation = load(resolve(name).path).approximation
    size = {"heads": HEADS, "head_dim": HEAD_DIM, "max_length": length, "features": features}
    methods = []
    for options in ({}, {"released": True}):
        torch.manual_seed(0)
        methods.append(build(name, **size, **approximation, **options).eval())
    return methods


@torch.no_grad()
def first(method: Attend, batch: Inputs, real: int) -> Tensor:
    """(heads, real, head_dim) the output for the real tokens of the batch's first sequence."""
    return method(*batch)[0, :, :real]


def share(other: Tensor, reference: Tensor) -> float:
    return float((other - reference).norm() / reference.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=1024, help="padded length (default: 1024)")
    parser.add_argument("--features", type=int, default=64, help="budget d (default: 64)")
    parser.add_argument("--trials", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| method | " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---|" * len(COLUMNS))
    for name in names():
        trials = [compare(name, options.length, options.features, trial) for trial in range(options.trials)]
        means = [statistics.fmean(column) for column in zip(*trials, strict=True)]
        print(f"| {name} | " + " | ".join("0" if mean < 1e-5 else f"{mean:.2g}" for mean in means) + " |")


if __name__ == "__main__":
    main()
