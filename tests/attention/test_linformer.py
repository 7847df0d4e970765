"""Linformer and its unreduced sketch against recorded vectors and a naive reference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiles_for_two_lengths
from attention.references.linformer import linformer, linformer_jlt
from lra.attention import Attention, build

BOTH = ["linformer", "linformer_jlt"]
MAX_LENGTH = 300


def make(name: str, **options: Any) -> Attention:
    torch.manual_seed(0)
    size = {"heads": 2, "head_dim": 8, "max_length": MAX_LENGTH, "features": 16}
    return build(name, **{**size, **options})


def inputs(length: int, batch: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query, key, value and a mask with a full row, then rows with ever more holes, each with one real token."""
    torch.manual_seed(length)
    tensors = [torch.randn(batch, 2, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    mask = torch.rand(batch, length) < torch.linspace(1.1, 0.1, batch)[:, None]
    mask[:, length // 2] = True
    return [*tensors, mask]


@pytest.mark.parametrize("case", golden.cases("linformer"))
def test_equals_recorded(case: str) -> None:
    record = golden.load("linformer", case)
    _, heads, length, head_dim = record.shape
    projection = record.draws["E"]
    attention = build(
        "linformer", heads=heads, head_dim=head_dim, max_length=length, features=projection.shape[1], released=True
    )
    attention.E.requires_grad_().data.copy_(projection)
    golden.assert_equal(attention, record, {})
    if "gE" in record.draws:
        golden.assert_close(attention.E.grad, record.draws["gE"], 1e-5, "gradient of E")


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 257])
@pytest.mark.parametrize("name", BOTH)
def test_equals_reference(name: str, length: int) -> None:
    attention = make(name).double()
    query, key, value, mask = inputs(length)
    upstream = torch.randn_like(query) * mask[:, None, :, None]
    draws = attention.draw(query, key, value, mask, torch.Generator().manual_seed(1))
    output = attention(query, key, value, mask, draws)
    if name == "linformer":
        wanted = linformer(query, key, value, mask, attention.E)
    else:
        wanted = linformer_jlt(query, key, value, mask, draws["S"].double())
    leaves = [query, key, value, *attention.parameters()]
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(
        torch.autograd.grad(output, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream)
    )


@pytest.mark.parametrize("name", BOTH)
def test_neighbours_and_padding_do_not_matter(name: str) -> None:
    attention = make(name).double().eval()
    query, key, value, mask = inputs(64)
    mask[0, 40:] = False
    alone = attention(*(tensor[:1, :, :40] for tensor in (query, key, value)), mask[:1, :40])
    dirty = [tensor.masked_fill(~mask[:, None, :, None], 1e4) for tensor in (query, key, value)]
    torch.testing.assert_close(attention(*dirty, mask)[:1, :, :40], alone)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("real", [0, 1])
def test_finite_at_large_logits_and_without_tokens(name: str, dtype: torch.dtype, real: int) -> None:
    query, key, value, mask = inputs(33, dtype=dtype)
    mask[:] = False
    mask[:, :real] = True
    output = make(name)(200 * query, 200 * key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))


@pytest.mark.parametrize("name", BOTH)
def test_autocast(name: str) -> None:
    attention = make(name).eval()
    arguments = inputs(65, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output.float(), attention(*arguments), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("name", BOTH)
def test_compiles_in_one_graph_and_exports(name: str) -> None:
    attention = make(name).eval()
    arguments = inputs(65, dtype=torch.float32)
    wanted = attention(*arguments)
    exported = torch.export.export(attention, tuple(argument.detach() for argument in arguments))
    torch.testing.assert_close(exported.module()(*arguments), wanted)
    compiles_for_two_lengths(attention, lambda length, dtype: inputs(length, dtype=dtype))


@pytest.mark.parametrize("name", BOTH)
def test_counts_its_flops(name: str) -> None:
    attention = make(name, max_length=256, features=32)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*inputs(256, batch=1))
    assert counter.get_total_flops() == 2 * attention.heads * attention.multiply_adds(256)


def test_projection_is_trained_and_saved_unless_released() -> None:
    """One for all heads, as the paper shares it, from the start of the official code; one a head as released."""
    attention, released = make("linformer"), make("linformer", released=True)
    assert attention.E.requires_grad and not released.E.requires_grad
    assert attention.E.shape == (16, MAX_LENGTH) and released.E.shape == (2, 16, MAX_LENGTH)
    assert "E" in attention.state_dict() and "E" in released.state_dict()
    assert attention.E.std().item() == pytest.approx((16 + MAX_LENGTH) ** -0.5, rel=0.05)
    assert attention.E.abs().max().item() == pytest.approx((3 / (16 + MAX_LENGTH)) ** 0.5, rel=0.01)
    assert released.E.std().item() == pytest.approx(0.02, rel=0.05)


def test_sketch_is_unbiased() -> None:
    """Over 400 sketches the mean output comes within sampling error of exact attention."""
    attention = make("linformer_jlt", max_length=20, features=64)
    query, key, value, mask = (tensor.detach() for tensor in inputs(20, batch=1, dtype=torch.float32))
    seeds = [torch.Generator().manual_seed(seed) for seed in range(400)]
    draws = [attention.draw(query, key, value, mask, seed) for seed in seeds]
    outputs = torch.stack([attention(query, key, value, mask, drawn) for drawn in draws])
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=20)(query, key, value, mask)
    sampling_error = outputs.std(0) / 400**0.5
    assert ((outputs.mean(0) - exact).abs() < 5 * sampling_error).all()


def test_sketch_is_fixed_and_always_finite() -> None:
    """A new sketch in every training pass leaves nothing to learn, and evaluation would have yet another one."""
    attention, arguments = make("linformer_jlt"), inputs(20)
    trained = attention.draw(*arguments)["S"]
    assert torch.equal(trained, attention.draw(*arguments)["S"])
    assert torch.equal(trained, attention.eval().draw(*arguments)["S"])
    attention.evaluation_S[0, :2] = torch.tensor([0, 2**24 - 1])
    assert attention.draw(*arguments)["S"].isfinite().all()


@pytest.mark.parametrize("name", BOTH)
def test_gradients_by_finite_differences(name: str) -> None:
    """With a row that is all padding, too."""
    attention = make(name, max_length=9, features=4).double()
    query, key, value, mask = inputs(5)
    mask[2] = False
    real = mask[:, None, :, None]
    assert torch.autograd.gradcheck(
        lambda *tensors: attention(*tensors, mask) * real, (query, key, value), fast_mode=True
    )
