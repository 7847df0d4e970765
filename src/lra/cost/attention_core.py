"""What an attention's core costs against exact attention: forward and backward time, and peak memory.

    lra bench --attentions skeinformer nystrom --lengths 1024 4096

Exact attention is torch's ``scaled_dot_product_attention`` with the same key-padding mask. Both are timed in turn in
one process, since a ratio travels between machines and a millisecond does not. Q, K and V are given, so projections
are no part of it; a method's random choices are. Each row trains with its own options: ``softmax`` drops attention
weights, which is what the paper calls Standard and no fused CPU kernel can do.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lra.attention import build
from lra.config.settings import AttentionSettings
from lra.cost.probes import allocated_peak, milliseconds
from lra.devices import default_device
from lra.errors import reason_of
from lra.files import write_csv

HEADS, HEAD_DIM = 2, 32
TOKENS = 8192
"""Positions of a batch at every length: 8 sequences of 1024, 2 of 4096."""
MIB = 2**20

Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One attention at one length.

    Args:
        attention: its name.
        length: positions of a sequence.
        batch: sequences.
        device: cpu or cuda.
        dtype: of Q, K, V and the products; parameters stay float32, as under autocast.
        ms: median time of forward and backward pass, milliseconds.
        sdpa_ms: the same of exact attention.
        ratio: median over the repeats of one divided by the other, low and high being its quartiles.
        low: lower quartile.
        high: upper quartile.
        peak_mib: MiB that forward and backward pass allocate at the worst moment, inputs not counted.
        sdpa_peak_mib: the same of exact attention.
        reason: why there are no numbers, if there are none.
    """

    attention: str
    length: int
    batch: int
    device: str
    dtype: str
    ms: float | None = None
    sdpa_ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    sdpa_peak_mib: float | None = None
    reason: str = ""


def benchmark(
    attentions: Sequence[AttentionSettings], lengths: Sequence[int], *, repeats: int, threads: int
) -> Iterator[Row]:
    """Time every attention at every length; float32, and on a GPU also bfloat16.

    Args:
        attentions: the methods, each with its budget d and its options.
        lengths: positions of a sequence; a batch has as many sequences as make 8192 positions.
        repeats: timed pairs, after a warm-up.
        threads: CPU threads.

    Yields:
        One row each; with a reason and no numbers where a method cannot be built or run.
    """
    torch.set_num_threads(threads)
    device = default_device()
    for dtype in (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,):
        for length in lengths:
            for attention in attentions:
                yield _row(attention, length, repeats, device, dtype)


def _row(attention: AttentionSettings, length: int, repeats: int, device: torch.device, dtype: torch.dtype) -> Row:
    row = Row(attention.name, length, max(1, TOKENS // length), device.type, str(dtype).removeprefix("torch."))
    torch.manual_seed(0)
    try:
        module = build(
            attention.module or attention.name,
            heads=HEADS,
            head_dim=HEAD_DIM,
            max_length=length,
            features=attention.features,
            **attention.options,
        )
        ours = Pass(module.to(device).train(), length, row.batch, device, dtype)
        exact = Pass(exact_attention, length, row.batch, device, dtype)
        if device.type == "cuda":
            for one in (ours, exact):
                one()  # allocates the libraries' workspaces, which are no part of a pass
        # The memory is counted first and warms up for the timing.
        peak, exact_peak = (allocated_peak(one, device) / MIB for one in (ours, exact))
        pairs = [(milliseconds(ours, device), milliseconds(exact, device)) for _ in range(repeats)]
    except Exception as problem:  # a method that crashes is a row
        return replace(row, reason=reason_of(problem))
    times, exact_times = zip(*pairs, strict=True)
    low, ratio, high = quartiles([time / exact_time for time, exact_time in pairs])
    return replace(
        row,
        ms=statistics.median(times),
        sdpa_ms=statistics.median(exact_times),
        ratio=ratio,
        low=low,
        high=high,
        peak_mib=peak,
        sdpa_peak_mib=exact_peak,
    )


def exact_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """What every method is compared with."""
    return scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])


class Pass:
    """A forward and backward pass over random Q, K, V (batch, heads, length, head_dim), called without arguments.

    The last eighth of every second sequence is padding.
    """

    def __init__(self, forward: Forward | nn.Module, length: int, batch: int, device: torch.device, dtype: torch.dtype):
        self.forward, self.device, self.dtype = forward, device, dtype
        shape = (batch, HEADS, length, HEAD_DIM)
        self.inputs = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3)]
        self.gradient = torch.randn(shape, device=device, dtype=dtype)
        self.mask = torch.ones(batch, length, dtype=torch.bool, device=device)
        self.mask[1::2, length - length // 8 :] = False
        self.parameters = list(forward.parameters()) if isinstance(forward, nn.Module) else []

    def __call__(self) -> None:
        query, key, value = self.inputs
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            output = self.forward(query, key, value, self.mask)
        output.backward(self.gradient)
        for tensor in (*self.inputs, *self.parameters):
            tensor.grad = None


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile; of a single value, thrice that value."""
    if len(values) == 1:
        return (values[0],) * 3
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def write_rows(rows: Sequence[Row], out: Path) -> None:
    """Write the rows, their fields being the columns."""
    write_csv(out, [field.name for field in fields(Row)], map(astuple, rows))


def report(row: Row) -> None:
    """Print a row."""
    what = f"{row.attention:18} {row.length:6} x {row.batch:<3} {row.dtype:8}"
    if row.reason:
        print(f"{what} skipped: {row.reason}", flush=True)
        return
    times = f"{row.ms:9.2f} ms, exact {row.sdpa_ms:9.2f} ms"
    ratio = f"ratio {row.ratio:6.3f} ({row.low:.3f} to {row.high:.3f})"
    print(f"{what} {times}, {ratio}, peak {row.peak_mib:8.1f} MiB, exact {row.sdpa_peak_mib:.1f} MiB", flush=True)
