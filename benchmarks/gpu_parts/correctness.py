"""Every method's outputs and gradients on the device against the same method in float64 on the CPU.

Both get the same random choices, recorded on the device. Errors are relative, in the Frobenius norm of a sequence's
head: the worst of all, but the median of the methods that choose rows or buckets while they attend, since of two nearly
equal scores another type may find the other one larger.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor

from gpu_parts.record import Record, Result
from gpu_parts.sizes import Sizes
from gpu_parts.turns import Turns
from lra.attention import build
from lra.attention.contract import Attention
from lra.attention.registry import METHODS

HEADS, HEAD_DIM, SEQUENCES = 2, 32, 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHOOSE = ("informer", "informer_mask", "reformer")
TOLERANCE = {"fp32": 1e-4, "bf16": 3e-2}
"""Bfloat16 rounds to 2^-9 = 2e-3, several times on the way."""
LOOSE = {"nystrom": 4.0}
"""Its inverse makes more of a rounding: so many times the tolerance."""
LAST = 8
"""Of very many sequences, those that are compared."""


def run(record: Record, sizes: Sizes, attentions: tuple[str, ...], device: torch.device, turns: Turns) -> None:
    """All methods, at the lengths that go wrong first."""
    for dtype, name in itertools.product(("bf16", "fp32"), attentions):
        for length in sorted(sizes.lengths, key=lambda length: -length % 128):
            what = {"attention": name, "dtype": dtype, "length": length, "sequences": SEQUENCES}
            record.attempt(what, lambda case=what: compare(**case, features=sizes.features, device=device))
        if dtype == "bf16" and name == "softmax":
            record.attempt({"attention": name, "dtype": dtype, "dropout": 0.1}, lambda: dropped_share(device))
    for dtype, name in itertools.product(("bf16", "fp32"), attentions):
        sequences, length = sizes.many_rows[name == "bigbird"]
        what = {"attention": name, "dtype": dtype, "length": length, "sequences": sequences}
        record.attempt(what, lambda case=what: compare(**case, features=sizes.features, device=device))


def compare(attention: str, dtype: str, length: int, sequences: int, features: int, device: torch.device) -> Result:
    """Relative errors of the output and of the worst gradient, and whether they are tolerable."""
    torch.manual_seed(length)
    options = dict(METHODS[attention].options)
    if "dropout" in options:
        options["dropout"] = 0.0  # random numbers that cannot be replayed
    if attention == "bigbird" and sequences > SEQUENCES:
        options["block_size"] = 16
    module = build(attention, heads=HEADS, head_dim=HEAD_DIM, max_length=length, features=features, **options)
    reference = copy.deepcopy(module).double()
    module = module.to(device)
    shape = (sequences, HEADS, length, HEAD_DIM)
    given = [torch.randn(shape).to(DTYPES[dtype]) for _ in range(4)]
    mask = made_mask(sequences, length)
    given[3] *= mask[:, None, :, None]  # no gradient comes from padding
    given = [tensor.to(device) for tensor in given]
    found = attended(module, given, mask.to(device), None)
    choices = found.pop()
    few = slice(-LAST if sequences > LAST else None, None)
    drawn = {key: (value[few] if len(value) == sequences else value).cpu() for key, value in choices.items()}
    drawn = {key: value.double() if value.is_floating_point() else value for key, value in drawn.items()}
    expected = attended(reference, [tensor[few].cpu().double() for tensor in given], mask[few], drawn)[:-1]
    finite = all(bool(tensor.isfinite().all()) for tensor in found)
    real = mask[few][:, None, :, None]
    upstream = head_size(given[3][few].cpu().double())
    errors = [
        error(one[few].cpu() * real, other * real, upstream, attention)
        for one, other in zip(found, expected, strict=True)
    ]
    allowed = TOLERANCE[dtype] * LOOSE.get(attention, 1.0)
    output, gradient = errors[0], max(errors[1:])
    return {"ok": finite and max(output, gradient) <= allowed, "output": output, "gradient": gradient, "finite": finite}


def made_mask(sequences: int, length: int) -> Tensor:
    """(sequences, length) in turn: all real; half of it; holes, and at times nothing real."""
    mask = torch.ones(sequences, length, dtype=torch.bool)
    mask[1::3, (length + 1) // 2 :] = False
    mask[2::3] = torch.rand(len(mask[2::3]), length) < 0.6
    return mask


def attended(module: Attention, given: list[Tensor], mask: Tensor, draws: dict[str, Tensor] | None) -> list:
    """The output, the gradients of query, key and value, and the draws, which are made where none are given."""
    query, key, value = (tensor.clone().requires_grad_() for tensor in given[:3])
    with torch.autocast(query.device.type, dtype=torch.bfloat16, enabled=query.dtype == torch.bfloat16):
        draws = module.draw(query, key, value, mask) if draws is None else draws
        output = module(query, key, value, mask, draws)
    gradients = torch.autograd.grad(output, (query, key, value), given[3].to(output.dtype), allow_unused=True)
    leaves = (query, key, value)
    zeros = (torch.zeros_like(leaf) if one is None else one for one, leaf in zip(gradients, leaves, strict=True))
    return [output.detach(), *zeros, draws]


def error(actual: Tensor, expected: Tensor, upstream: Tensor, attention: str) -> float:
    """Relative to the root mean square of all heads; of the upstream gradient where there is none to speak of."""
    differences = (actual.double() - expected).flatten(2).norm(dim=-1)
    size = head_size(expected)
    size = upstream if size < 1e-6 else size  # a single key, say, has no gradient
    return float((differences.median() if attention in CHOOSE else differences.max()) / size)


def head_size(tensor: Tensor) -> Tensor:
    """Root mean square of the Frobenius norms of all sequences' heads; 1 if all are zero."""
    size = tensor.flatten(2).norm(dim=-1).square().mean().sqrt()
    return size if size > 0 else torch.ones_like(size)


def dropped_share(device: torch.device) -> Result:
    """Weights, seen by values that are the unit matrix: a tenth of them is 0, the others grew by a ninth."""
    torch.manual_seed(0)
    size, sequences = HEAD_DIM, 64
    query, key = torch.randn(2, sequences, HEADS, size, size, device=device).bfloat16()
    value = torch.eye(size, device=device).bfloat16().expand_as(query).contiguous()
    mask = torch.ones(sequences, size, dtype=torch.bool, device=device)
    shape = {"heads": HEADS, "head_dim": size, "max_length": size}
    weights = build("softmax", dropout=0.1, **shape).train()(query, key, value, mask).double()
    whole = (query.double() @ key.double().mT / size**0.5).softmax(-1)
    dropped = weights == 0
    share = float(dropped.double().mean())
    off = float(((weights - whole / 0.9) / whole).masked_fill(dropped, 0).abs().max())
    deviation = (0.1 * 0.9 / weights.numel()) ** 0.5
    return {"ok": abs(share - 0.1) < 6 * deviation and off < TOLERANCE["bf16"], "dropped": share, "output": off}
