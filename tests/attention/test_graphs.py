"""Methods as graphs: one for all lengths when compiled or exported, one a length when traced.

Compiling for a GPU takes the columns of :mod:`lra.attention.exact`, which are compiled on the CPU here.
"""

from __future__ import annotations

import itertools
import warnings

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.export import Dim

from lra.attention import gather, names
from lra.attention.checking import inputs, maker, masks
from lra.attention.registry import METHODS as REGISTERED

METHODS = ["softmax", "vmean", "bigbird", "informer", "skeinformer"]
VARIANTS = ["softmax_nodropout", "informer_mask"]
VARIANTS += ["skein_uniform", "skein_nonorm", "skein_simplenorm", "skein_nopilot"]
BEYOND = list(REGISTERED)[list(REGISTERED).index("local") :]
"""The rows that are not the paper's."""
LENGTHS = (600, 1000)


def arguments(length: int) -> list[Tensor]:
    return [*(tensor.requires_grad_() for tensor in inputs(length)), masks(length)["holes"]]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "training", "on_gpu"),
    [
        *itertools.product([name for name in METHODS if name != "bigbird"], (False, True), (False, True)),
        *[("bigbird", *rest) for rest in ((False, False), (True, False), (True, True))],  # see test_fused.py, too
        *itertools.product(VARIANTS, [True], [True]),
        *itertools.product(BEYOND, [False], [False]),  # which do the same in training
    ],
)
def test_compiles_for_any_length(name: str, training: bool, on_gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a break, in at most three graphs for two lengths and a third, and with the same outputs."""
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: on_gpu)
    torch._dynamo.reset()
    # Without the operators for a GPU, the trace of the forward pass is enough: torch differentiates its own.
    counter = CompileCounterWithBackend("aot_eager" if on_gpu else "eager")
    attention = maker(name)(1024).train(training)
    compiled = torch.compile(attention, fullgraph=True, dynamic=True, backend=counter)
    for length in (*LENGTHS, 800):
        *tensors, mask = arguments(length)
        output = compiled(*tensors, mask)
        output.sum().backward()
        assert output.isfinite().all() and tensors[2].grad.isfinite().all()
        if not training:
            torch.testing.assert_close(output, attention(*tensors, mask), atol=1e-5, rtol=1e-5)
    assert counter.frame_count <= 3


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["informer", "informer_mask", "sinkhorn", "fnet", "s4d"])
def test_exports_for_any_length(name: str) -> None:
    """test_onnx.py exports those that ONNX has for any length."""
    attention = maker(name)(1024).eval()
    sizes = [{0: Dim.AUTO, 2: Dim.AUTO}] * 3 + [{0: Dim.AUTO, 1: Dim.AUTO}]
    with torch.no_grad():
        exported = torch.export.export(attention, tuple(arguments(600)), dynamic_shapes=tuple(sizes))
        for length in (600, 1000):
            given = [torch.cat([tensor, tensor]) for tensor in arguments(length)]
            torch.testing.assert_close(exported.module()(*given), attention(*given), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in names() if name != "performer"])
def test_traces_for_one_length(name: str) -> None:
    """For other batches of the same length; torch warns that shapes become constants."""
    attention = maker(name)(600).eval()
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        traced = torch.jit.trace(attention, tuple(arguments(600)))
        given = [*inputs(600, seed=1), masks(600)["prefix"]]
        torch.testing.assert_close(traced(*given), attention(*given), atol=1e-5, rtol=1e-5)
