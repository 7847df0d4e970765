"""Check a method against the contract: ``lra check my_attention.py:MyAttention``.

Each check is a function of a maker; its docstring states the requirement, which ``lra check`` prints.
"""

from __future__ import annotations

import itertools
import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import scaled_dot_product_attention

from lra.attention.contract import Attention, Draws
from lra.attention.registry import build

HEADS, HEAD_DIM, FEATURES = 2, 8, 16
LENGTHS = (1, 2, 63, 64, 65, 257)
"""Around block sizes and chunk lengths, and shorter than the number of features."""

Make = Callable[[int], Attention]
Check = Callable[[Make], None]


def maker(name: str, **options: Any) -> Make:
    """Makes the method called ``name`` for a maximum length, small; each module has other weights than the last."""
    seeds = itertools.count()

    def make(max_length: int) -> Attention:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(next(seeds))
            size = {"heads": HEADS, "head_dim": HEAD_DIM, "max_length": max_length, "features": FEATURES}
            return build(name, **(size | options))

    return make


def violations(make: Make) -> Iterator[tuple[str, str | None]]:
    """Run the checks; yields each requirement and the violation, None for a method that meets it.

    After a failure of one of the first two checks the others are skipped, because they would fail for the same reason.
    """
    for check in CHECKS:
        wanted = " ".join((check.__doc__ or check.__name__).split())  # `python -OO` has no docstrings
        failure = None
        try:
            check(make)
        except AssertionError as problem:
            failure = str(problem)
        except Exception as problem:
            failure = _told(problem)
        if failure and check in CHECKS[:2]:
            yield wanted, f"{failure}; further checks come after this one"
            return
        yield wanted, failure


def _told(problem: Exception) -> str:
    """An exception in a line, with the last line of code outside torch on the way to it."""
    inside = str(Path(torch.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(problem.__traceback__) if not frame.filename.startswith(inside)]
    told = " ".join(f"it raised {type(problem).__name__}: {problem}".split()).rstrip(".")
    return f"{told} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def inputs(length: int, batch: int = 3, seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    """Query, key and value (batch, heads, length, head_dim), normal; logits have a deviation of ``scale`` squared."""
    generator = Generator().manual_seed(seed)
    return [torch.randn(batch, HEADS, length, HEAD_DIM, generator=generator) * factor for factor in (scale, scale, 1.0)]


def masks(length: int) -> dict[str, Tensor]:
    """(3, length) masks: full, prefixes, with holes, one real token, no real token."""
    position = torch.arange(length)
    prefix = position < torch.tensor([[length], [max(1, length // 2)], [1]])
    holes = torch.rand(3, length, generator=Generator().manual_seed(length)) < 0.6
    holes[:, 0] = True
    single = (position == length // 2).expand(3, length)
    full = torch.ones(3, length, dtype=torch.bool)
    return {"full": full, "prefix": prefix, "holes": holes, "single": single, "no real token": ~full}


def check_shape(make: Make) -> None:
    """The output has the shape and type of value, (batch, heads, length, head_dim)."""
    for length, longest in itertools.chain.from_iterable(((n, n), (n, LENGTHS[-1])) for n in LENGTHS):
        query, key, value = inputs(length)
        attention = make(longest)
        where = f"at length {length}" + (f" of at most {longest}" if longest > length else "")
        try:
            output = attention(query, key, value, masks(length)["full"])
        except Exception as problem:
            raise AssertionError(f"{where} {_told(problem)}") from problem
        _require(isinstance(output, Tensor), f"it is a {type(output).__name__}, not a tensor")
        _require(output.shape == value.shape, f"{where} it is {tuple(output.shape)}, not {tuple(value.shape)}")
        _require(output.dtype == value.dtype, f"its type is {output.dtype}")


def check_arguments(make: Make) -> None:
    """It leaves its arguments as they are, since others use them too."""
    attention = make(65)
    for kind in ("holes", "no real token"):
        arguments = dict(zip(("query", "key", "value", "mask"), (*inputs(65), masks(65)[kind]), strict=True))
        before = {name: tensor.clone() for name, tensor in arguments.items()}
        attention(**arguments)
        for name, tensor in arguments.items():
            _require(torch.equal(tensor, before[name]), f"it changes {name} in place; write `x = x * 2`, not `x *= 2`")


def check_finite(make: Make) -> None:
    """Outputs and gradients are finite at any length and mask, padded positions and logits of +-200 included."""
    for length in LENGTHS:
        attention = make(length).train()
        for scale in (1.0, math.sqrt(200 / 2)):
            for kind, mask in masks(length).items():
                tensors = [tensor.requires_grad_() for tensor in inputs(length, scale=scale)]
                output = attention(*tensors, mask)
                where = f"length {length}, mask {kind!r}" + (", large logits" if scale > 1 else "")
                _require(bool(output.isfinite().all()), f"the output is not at {where}")
                if not output.requires_grad:
                    continue
                (output * mask[:, None, :, None]).sum().backward()
                for name, tensor in zip(("query", "key", "value"), tensors, strict=True):
                    gradient = tensor.grad
                    finite = gradient is None or bool(gradient.isfinite().all())
                    _require(finite, f"the gradient of {name} is not at {where}")


def check_neighbours(make: Make) -> None:
    """A sequence's output does not depend on the other rows of the batch, given the same random choices."""
    for length in (2, 65):
        for kind in ("prefix", "holes"):
            mask = masks(length)[kind]
            attention = make(length).eval()
            tensors = inputs(length)
            together = attention(*tensors, mask)
            for row in range(3):
                alone = attention(*(tensor[row : row + 1] for tensor in tensors), mask[row : row + 1])
                _require_close(alone[0], together[row], mask[row], f"row {row} alone, length {length}, mask {kind!r}")
            others = [torch.cat([t[:1], 3 * u[1:]]) for t, u in zip(tensors, inputs(length, seed=1), strict=True)]
            changed = attention(*others, torch.cat([mask[:1], masks(length)["full"][1:]]))
            _require_close(changed[0], together[0], mask[0], f"with other neighbours, length {length}, mask {kind!r}")


def check_padding(make: Make) -> None:
    """A sequence's output does not depend on how much padding follows it, nor on what the padding holds."""
    longest = 130
    attention = make(longest).eval()
    for length in (1, 2, 64, 65):
        for kind in ("full", "holes"):
            short_mask = masks(length)[kind]
            tensors = inputs(length)
            short = attention(*tensors, short_mask)
            mask = torch.nn.functional.pad(short_mask, (0, longest - length))
            real = mask[:, None, :, None]
            padded = [torch.nn.functional.pad(tensor, (0, 0, 0, longest - length)) for tensor in tensors]
            zeros, hundreds = (
                attention(*(torch.where(real, tensor, content) for tensor in padded), mask)[:, :, :length]
                for content in (0.0, 100.0)
            )
            where = f"length {length} padded to {longest}, mask {kind!r}"
            content = f"{where}, padding of 100 instead of 0; keys that the mask leaves out must not count"
            amount = f"{where}, whatever it holds; the padded length must not count, mask.sum(-1) or max_length may"
            for row in range(3):
                _require_close(hundreds[row], zeros[row], short_mask[row], content)
            for row in range(3):
                _require_close(zeros[row], short[row], short_mask[row], amount)


def check_determinism(make: Make) -> None:
    """Evaluation is deterministic, the same generator gives the same output, and recorded draws replay a pass."""
    length = 1024  # long enough that block-sparse methods leave something out
    query, key, value = inputs(length)
    mask = masks(length)["holes"]
    attention = make(length).eval()
    first, second = (attention(query, key, value, mask) for _ in range(2))
    advice = "make random choices in `draw`, with `self.noise` or its generator"
    _require(_same(first, second), f"two evaluations of the same input differ; {advice}")
    draws = [attention.draw(query, key, value, mask, Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    outputs = [attention(query, key, value, mask, drawn) for drawn in draws]
    _require(_same(outputs[0], outputs[1]), "the same generator gives two outputs")
    if attention.random:
        _require(not _same(outputs[0], outputs[2]), "it says that it is random, but two generators give one output")
    else:
        _require(not draws[0], "it makes draws, but does not say `random = True`")


def check_exactness(make: Make) -> None:
    """A method that says it is exact gives softmax attention over the real keys."""
    for length in LENGTHS:
        attention = make(length).eval()
        if not attention.exact:
            return
        query, key, value = inputs(length)
        for kind in ("full", "prefix", "holes"):
            mask = masks(length)[kind]
            expected = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
            output = attention(query, key, value, mask)
            for row in range(3):
                _require_close(output[row], expected[row], mask[row], f"length {length}, mask {kind!r}")


def check_half_precision(make: Make) -> None:
    """It works in bfloat16 and under autocast, near to its float32 output for the same random choices."""
    query, key, value = inputs(65)
    mask = masks(65)["holes"]
    attention = make(65).eval()
    draws = attention.draw(query, key, value, mask, Generator().manual_seed(0))
    expected = attention(query, key, value, mask, draws)
    halves = [tensor.bfloat16() for tensor in (query, key, value)]
    for how, output in _in_half_precision(attention, halves, mask, draws):
        _require(bool(output.isfinite().all()), f"the output is not finite {how}")
        # Rounding can change the selection of a method in a few rows, so that the typical error is compared.
        error = (output.float() - expected).abs()[mask[:, None].expand(3, HEADS, 65)].median().item()
        _require(error < 0.05, f"the output is off by {error:.2g} {how}")


def _in_half_precision(
    attention: Attention, halves: list[Tensor], mask: Tensor, draws: Draws
) -> Iterator[tuple[str, Tensor]]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield "under autocast", attention(*halves, mask, draws)
    yield "in bfloat16", attention.bfloat16()(*halves, mask, draws)


def check_state(make: Make) -> None:
    """A module that was built without memory (on the meta device) and loads another's state_dict gives its outputs."""
    tensors, mask = inputs(65), masks(65)["prefix"]
    trained = make(65).eval()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    advice = "a tensor that it keeps must be a parameter or, by `register_buffer`, a persistent buffer"
    try:
        with torch.device("meta"):
            loaded = make(65).eval()
        loaded = loaded.to_empty(device="cpu")
        with torch.no_grad():
            for tensor in itertools.chain(loaded.parameters(), loaded.buffers()):
                tensor.fill_(math.nan if tensor.is_floating_point() else 0)  # what was there before does not help
        loaded.load_state_dict(trained.state_dict())
        output = loaded(*tensors, mask)
    except Exception as problem:
        raise AssertionError(f"{_told(problem)}; {advice}") from problem
    _require(_same(output, trained(*tensors, mask)), f"the outputs differ; {advice}")


def check_cost(make: Make) -> None:
    """It states its leading cost, which grows as its ``linear`` says."""
    short, long = (make(16384).multiply_adds(length) for length in (2048, 16384))
    _require(isinstance(short, int) and short > 0, f"multiply_adds(2048) is {short!r}, not a whole number above 0")
    growth = long / short
    linear = make(16384).linear
    _require(
        (growth < 12) == linear,  # a logarithm may come on top of 8
        f"linear is {linear}, but 8 times the length costs {growth:.1f} times as much; correct one of the two",
    )


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether all elements are equal, two that are NaN too."""
    return torch.equal(first.nan_to_num(), second.nan_to_num())


def _require(holds: bool, violation: str) -> None:
    if not holds:
        raise AssertionError(violation)


def _require_close(actual: Tensor, expected: Tensor, mask: Tensor, where: str, tolerance: float = 2e-5) -> None:
    """Compare (heads, length, head_dim) at real positions."""
    difference = (actual - expected)[:, mask].abs()
    worst = difference.max().item() if difference.numel() else 0.0
    _require(worst <= tolerance, f"it is off by {worst:.1e}: {where}")


CHECKS: tuple[Check, ...] = (
    check_shape,
    check_arguments,
    check_finite,
    check_neighbours,
    check_padding,
    check_determinism,
    check_exactness,
    check_half_precision,
    check_state,
    check_cost,
)
