"""The cost of an attention's core against exact attention: forward and backward time, and peak memory.

    lra bench --attentions skeinformer nystrom --lengths 1024 4096

Exact attention is torch's ``scaled_dot_product_attention`` with the same key-padding mask; on a GPU it is also timed
without a mask, and over the real tokens only. All are timed in turn in one process, because a ratio of times is similar
on another machine, and a time is not. Q, K and V are given: a pass contains the method's random choices, but no
projections. Each row has its own options of training: ``softmax``, the paper's Standard, drops attention weights, which
no fused CPU kernel can do.
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lra.attention.contract import Attention
from lra.config.settings import AttentionSettings, ModelSettings
from lra.cost.flops import attention_flops
from lra.cost.limits import Limits, measure_limits
from lra.cost.probes import allocated_peak, milliseconds
from lra.cost.timing import in_turn, largest_that_runs, ratio
from lra.devices import default_device, machine, prepare_cpu
from lra.errors import LraError, reason_of
from lra.model import build_attention
from lra.sealing import read_sealed_csv, write_sealed_csv

HEADS, HEAD_DIM = 2, 32
POSITIONS = {"cpu": 4096, "cuda": 2**19}
"""Positions of a batch at every length; on a GPU as many as in the paper's batch of listops, 256 sequences of 2048."""
SECONDS = {"cpu": 0.0, "cuda": 3.0}
"""Time for more rounds than ``repeats``, while the ratios are not known to 2 %."""
TRAINING = 3
"""FLOPs of a forward and backward pass as a multiple of the forward pass: the backward pass takes twice as many."""
TENSORS = 12
"""Tensors read or written at least: Q, K, V and the output once forwards, these and their gradients once backwards."""
MIB = 2**20

Forward = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class CoreRow:
    """One attention at one length.

    Args:
        attention: its name.
        length: positions of a sequence.
        batch: sequences.
        device: cpu or cuda.
        dtype: type of Q, K, V and the products; parameters stay float32, as under autocast.
        machine: name of the processor or GPU.
        ms: median time of forward and backward pass, milliseconds.
        sdpa_ms: the same for exact attention.
        ratio: geometric mean over the rounds of the method's time divided by exact attention's.
        low: lower end of its 95 % confidence interval; None for a single round.
        high: upper end.
        peak_mib: most MiB that forward and backward pass allocate at any moment, without the inputs.
        sdpa_peak_mib: the same for exact attention.
        unmasked_ms: time of exact attention without a mask; measured on a GPU only, as are the next three.
        unmasked_ratio: ratio to exact attention without a mask, a geometric mean as ``ratio``.
        varlen_ms: time of exact attention over the real tokens only, sequences of several lengths in one call.
        varlen_ratio: ratio to that, a geometric mean as ``ratio``.
        copy_gb_s: measured rate at which the device copies, 10^9 bytes a second.
        matmul_tflop_s: measured rate of a large matrix product of this dtype, 10^12 FLOPs a second.
        copy_ms: the least time to read and write Q, K, V, the output and their gradients at ``copy_gb_s``.
        matmul_ms: the least time for the counted FLOPs of forward and backward pass at ``matmul_tflop_s``.
        reason: why the row has no numbers; empty if it has.
        key: digest of the settings and the code of the measurement.
    """

    attention: str
    length: int
    batch: int
    device: str
    dtype: str
    machine: str
    ms: float | None = None
    sdpa_ms: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    peak_mib: float | None = None
    sdpa_peak_mib: float | None = None
    unmasked_ms: float | None = None
    unmasked_ratio: float | None = None
    varlen_ms: float | None = None
    varlen_ratio: float | None = None
    copy_gb_s: float | None = None
    matmul_tflop_s: float | None = None
    copy_ms: float | None = None
    matmul_ms: float | None = None
    reason: str = ""
    key: str = ""


def benchmark(
    attentions: Sequence[AttentionSettings], lengths: Sequence[int], *, repeats: int, threads: int
) -> Iterator[CoreRow]:
    """Time every attention at every length; float32, and on a GPU also bfloat16.

    Args:
        attentions: the methods, each with its budget d and its options.
        lengths: positions of a sequence. A batch has 4096 positions; on a GPU 524288, halved until a pass fits in
            memory.
        repeats: timed rounds at least.
        threads: CPU threads.

    Yields:
        A row for each attention, dtype and length, one attention after another; if a method cannot be built or run, its
        reason and no numbers.
    """
    prepare_cpu(threads)
    device = default_device()
    name = machine(device, threads)["device"]
    dtypes = (torch.float32, torch.bfloat16) if device.type == "cuda" else (torch.float32,)
    limits = {dtype: measure_limits(device, dtype) for dtype in dtypes}
    for attention, dtype, length in itertools.product(attentions, dtypes, lengths):
        batch = max(1, POSITIONS[device.type] // length)
        row = CoreRow(attention.name, length, batch, device.type, str(dtype).removeprefix("torch."), name)
        try:
            row = _timed(row, attention, repeats, device, dtype, limits[dtype])
        except Exception as problem:  # a method that crashes is a row
            row = replace(row, reason=reason_of(problem))
        yield row


def _timed(
    row: CoreRow, settings: AttentionSettings, repeats: int, device: torch.device, dtype: torch.dtype, limits: Limits
) -> CoreRow:
    """The row with its measured numbers."""
    torch.manual_seed(0)
    length = row.length
    method = build_attention(settings, ModelSettings(heads=HEADS, head_dim=HEAD_DIM), length).to(device).train()
    flops = attention_flops(method, length, device)
    batch = row.batch
    if device.type == "cuda":
        # The first pass also allocates the workspaces of libraries, which do not count as memory of a pass.
        batch = largest_that_runs(lambda batch: _try(method, length, batch, device, dtype), batch)
    ours = Pass(method, length, batch, device, dtype)
    exact = yardsticks(length, batch, device, dtype)
    # The memory is counted first and warms up for the timing.
    peak, exact_peak = (allocated_peak(run, device) / MIB for run in (ours, exact["sdpa"]))
    calls = [lambda run=run: milliseconds(run, device) for run in (ours, *exact.values())]
    rounds = in_turn(calls, least=repeats, seconds=SECONDS[device.type])
    names = ("ms", *(f"{name}_ms" for name in exact))
    medians = dict(zip(names, map(statistics.median, zip(*rounds, strict=True)), strict=True))
    ratios = {name: ratio(rounds, place) for place, name in enumerate(exact, 1)}
    measured = {
        **medians,
        **{f"{name}_ratio": value.value for name, value in ratios.items() if name != "sdpa"},
        "batch": batch,
        "ratio": ratios["sdpa"].value,
        "low": ratios["sdpa"].low,
        "high": ratios["sdpa"].high,
        "peak_mib": peak,
        "sdpa_peak_mib": exact_peak,
        "copy_gb_s": limits.copy_gb_s,
        "matmul_tflop_s": limits.matmul_tflop_s,
        "copy_ms": limits.copy_ms(TENSORS * batch * HEADS * length * HEAD_DIM * dtype.itemsize),
        "matmul_ms": limits.matmul_ms(TRAINING * flops * batch),
    }
    return CoreRow(**(asdict(row) | measured))


def _try(method: Attention, length: int, batch: int, device: torch.device, dtype: torch.dtype) -> None:
    """Run a pass of the method, and one of each yardstick."""
    for run in (Pass(method, length, batch, device, dtype), *yardsticks(length, batch, device, dtype).values()):
        run()


def yardsticks(length: int, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Pass]:
    """Exact attention with a mask; on a GPU, whose kernels differ, also without one and over the real tokens only."""
    sizes = (length, batch, device, dtype)
    exact: dict[str, Pass] = {"sdpa": Pass(exact_attention, *sizes)}
    if device.type == "cuda":
        exact |= {"unmasked": Pass(unmasked_attention, *sizes), "varlen": PackedPass(exact_attention, *sizes)}
    return exact


def exact_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Exact attention over the keys of the mask, with which every method is compared."""
    return scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])


def unmasked_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Exact attention over all keys, padding included."""
    return scaled_dot_product_attention(query, key, value)


class Pass:
    """A forward and backward pass over random Q, K, V (batch, heads, length, head_dim); call it without arguments.

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

    def output(self) -> Tensor:
        """(batch, heads, length, head_dim)"""
        query, key, value = self.inputs
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            return self.forward(query, key, value, self.mask)

    def __call__(self) -> None:
        self.output().backward(self.gradient)
        for tensor in (*self.inputs, *self.parameters):
            tensor.grad = None


def has_varlen(query: Tensor) -> bool:
    """Whether torch's ``varlen_attn`` takes this: it came with torch 2.10, and is for a GPU in half precision."""
    half = query.dtype in (torch.bfloat16, torch.float16)
    return half and query.is_cuda and importlib.util.find_spec("torch.nn.attention.varlen") is not None


class PackedPass(Pass):
    """Exact attention over the real tokens only, all sequences in one tensor (tokens, heads, head_dim).

    Packing is not timed: a model that computes no padding keeps its sequences packed from layer to layer. Where torch
    has no operator for this, a nested tensor does it, at more cost beside the attention.
    """

    def __init__(self, forward: Forward, length: int, batch: int, device: torch.device, dtype: torch.dtype):
        super().__init__(forward, length, batch, device, dtype)
        lengths = self.mask.sum(1)
        self.longest, self.shortest = int(lengths.max()), int(lengths.min())
        self.offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        pack = self.mask.nonzero(as_tuple=True)
        self.inputs = [one.detach().transpose(1, 2)[pack].requires_grad_() for one in self.inputs]
        self.gradient = self.gradient.transpose(1, 2)[pack]

    def output(self) -> Tensor:
        """(tokens, heads, head_dim)"""
        query, key, value = self.inputs
        if has_varlen(query):
            from torch.nn.attention.varlen import varlen_attn

            offsets = self.offsets.int()
            attended = varlen_attn(query, key, value, offsets, offsets, self.longest, self.longest)
            assert isinstance(attended, Tensor)  # alone, since no log-sum-exp is asked for
            return attended
        query, key, value = (
            torch.nested.nested_tensor_from_jagged(
                one, self.offsets, min_seqlen=self.shortest, max_seqlen=self.longest
            ).transpose(1, 2)
            for one in self.inputs
        )
        return scaled_dot_product_attention(query, key, value).transpose(1, 2).values()


COLUMNS = [field.name for field in fields(CoreRow)]
"""Columns of the table."""


def write_rows(rows: Iterable[Sequence[object]], out: Path) -> None:
    """Write rows of :data:`COLUMNS` as CSV, and their checksum."""
    write_sealed_csv(out, COLUMNS, rows)


def read_rows(path: Path) -> dict[str, list[list[str]]]:
    """The rows of an earlier table by their key; empty if the table is missing, damaged or edited."""
    try:
        header, lines = read_sealed_csv(path, "lra bench")
    except (LraError, OSError, ValueError, csv.Error):
        return {}
    rows: dict[str, list[list[str]]] = {}
    for line in lines if header == COLUMNS else []:
        rows.setdefault(line[-1], []).append(line)
    return rows


def report(row: CoreRow) -> None:
    """Print a row."""
    cell = f"{row.attention:18} {row.length:6} x {row.batch:<3} {row.dtype:8}"
    if row.reason:
        print(f"{cell} skipped: {row.reason}", flush=True)
        return
    times = f"{row.ms:9.2f} ms, exact {row.sdpa_ms:9.2f} ms"
    interval = "" if row.low is None else f" ({row.low:.3f} to {row.high:.3f})"
    ratio = f"ratio {row.ratio:6.3f}{interval}"
    print(f"{cell} {times}, {ratio}, peak {row.peak_mib:8.1f} MiB, exact {row.sdpa_peak_mib:.1f} MiB", flush=True)
