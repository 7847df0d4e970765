"""Performer against recorded vectors, a naive reference, and what FAVOR+ promises of its random features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiled
from attention.references.performer import features, performer
from lra.attention import Attention, build
from lra.attention.performer import orthogonal_gaussian


def make(**options: Any) -> Attention:
    return build("performer", **{"heads": 2, "head_dim": 8, "max_length": 300, "features": 20, **options})


def inputs(length: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> list[Tensor]:
    """Query, key, value and a mask: a full row, a prefix, holes, and one real token."""
    torch.manual_seed(length)
    tensors = [torch.randn(4, 2, length, 8, dtype=dtype) for _ in range(3)]
    query, key, value = (x.mul(factor).requires_grad_() for x, factor in zip(tensors, (scale, scale, 1), strict=True))
    mask = torch.rand(4, length) < torch.tensor([2.0, 2.0, 0.6, 0.0])[:, None]
    mask[1, 2 * length // 3 :] = False
    mask[:, length // 2] = True
    return [query, key, value, mask]


@pytest.mark.parametrize("case", golden.cases("performer"))
def test_equals_recorded(case: str) -> None:
    record = golden.load("performer", case)
    _, heads, length, head_dim = record.shape
    attention = build("performer", heads=heads, head_dim=head_dim, max_length=length, features=8, released=True)
    golden.assert_equal(attention, record, record.draws)


@pytest.mark.parametrize("scale", [1.0, 8.0], ids=["usual", "large"])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 257])
def test_equals_reference(length: int, scale: float) -> None:
    """At scale 8 the logits reach +-200, the features 10^90."""
    attention = make()
    query, key, value, mask = inputs(length, scale=scale)
    draws = attention.draw(query, key, value, mask, Generator().manual_seed(1))
    output = attention(query, key, value, mask, draws)
    wanted = performer(query, key, value, mask, draws["projection"].double())
    torch.testing.assert_close(output, wanted)
    upstream = torch.randn_like(output)
    leaves = [query, key, value]
    torch.testing.assert_close(
        torch.autograd.grad(output, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream)
    )


def test_one_projection_a_head() -> None:
    query, key, value, mask = inputs(33)
    projections = torch.randn(2, 12, 8)
    output = make()(query, key, value, mask, {"projection": projections})
    for h in range(2):
        one = [tensor[:, h : h + 1] for tensor in (query, key, value)]
        torch.testing.assert_close(output[:, h : h + 1], performer(*one, mask, projections[h].double()))


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 65])
def test_finite_at_large_logits_and_without_tokens(length: int, dtype: torch.dtype, released: bool) -> None:
    query, key, value, mask = inputs(length, dtype, scale=10)
    mask[1] = False
    attention = make(released=released)
    output = attention(query, key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))
    precise = attention.double().eval()
    exact = [tensor.double() for tensor in (query, key, value)]
    difference = attention.eval()(query, key, value, mask).double() - precise(*exact, mask)
    assert difference[mask[:, None, :, None].expand_as(difference)].abs().max() < 4 * torch.finfo(dtype).eps ** 0.75


def test_neighbours_and_padding_do_not_matter() -> None:
    attention = make().eval()
    query, key, value, mask = (tensor.detach() for tensor in inputs(64))
    mask[0, 40:] = False
    alone = attention(*(tensor[:1, :, :40] for tensor in (query, key, value)), mask[:1, :40])
    padded = ~mask[:, None, :, None]
    for filler in (1e4, torch.inf, torch.nan):
        dirty = [query, key.masked_fill(padded, filler), value.masked_fill(padded, filler)]
        torch.testing.assert_close(attention(*dirty, mask)[:1, :, :40], alone)


def test_fresh_in_training_fixed_in_evaluation_and_replayable() -> None:
    attention, arguments = make(), inputs(16)
    fresh = [attention.draw(*arguments)["projection"] for _ in range(2)]
    assert not torch.equal(*fresh)
    seeded = [attention.draw(*arguments, Generator().manual_seed(3))["projection"] for _ in range(2)]
    assert torch.equal(*seeded)
    attention.eval()
    assert torch.equal(attention(*arguments), attention(*arguments))
    other = make().eval()
    assert not torch.equal(attention(*arguments), other(*arguments))
    other.load_state_dict(attention.state_dict())
    assert torch.equal(attention(*arguments), other(*arguments))


@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (5, 8), (8, 8), (20, 8), (3, 1)])
def test_directions_are_orthogonal_within_a_block(rows: int, columns: int) -> None:
    projection = orthogonal_gaussian(rows, columns)
    assert projection.shape == (rows, columns)
    for block in torch.nn.functional.normalize(projection).split(columns):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)))


def test_each_direction_is_gaussian() -> None:
    """Means 0 and covariance 1 of every row over 4000 draws; without the sign of R they are far from it."""
    rows = torch.stack([orthogonal_gaussian(6, 4, Generator().manual_seed(seed)) for seed in range(4000)])
    assert rows.mean(0).abs().max() < 5 / 4000**0.5
    covariance = torch.einsum("srp,srq->rpq", rows, rows) / 4000
    assert (covariance - torch.eye(4)).abs().max() < 5 * (2 / 4000) ** 0.5
    assert rows.norm(dim=-1).square().var(0).sub(2 * 4).abs().max() < 1.5  # chi-squared with 4 degrees of freedom


def test_kernel_is_estimated_without_bias() -> None:
    """phi(x) . phi(y) averages exp(x . y), with less variance than independent Gaussian vectors give."""
    torch.manual_seed(0)
    x, y = 0.25 * torch.randn(2, 10, 8).double()

    def estimates(draw: Callable[[], Tensor]) -> Tensor:
        return torch.stack([features(x, w) @ features(y, w).T for w in (draw().double() for _ in range(2000))])

    orthogonal, independent = estimates(lambda: orthogonal_gaussian(8, 8)), estimates(lambda: torch.randn(8, 8))
    error = (orthogonal.mean(0) - (x @ y.T).exp()) / (orthogonal.std(0) / 2000**0.5)
    assert error.abs().max() < 5
    assert (orthogonal.var(0) / independent.var(0)).median() < 0.95


def test_converges_to_exact_attention() -> None:
    query, key, value, mask = (tensor.detach() for tensor in inputs(64, scale=0.5))
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=64)(query, key, value, mask)

    def error(count: int) -> float:
        outputs = [make(features=count)(query, key, value, mask) for _ in range(8)]
        return torch.stack(outputs).sub(exact).square().mean().sqrt().item()

    coarse, fine = error(64), error(64 * 64)
    assert fine < 0.006
    assert 4 < coarse / fine < 16  # the square root of 64 is 8


def test_autocast() -> None:
    attention = make().eval()
    arguments = inputs(65, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output, attention(*arguments))


def test_compiles_in_one_graph_and_exports() -> None:
    attention = make().eval()
    arguments = [argument.detach() for argument in inputs(65, torch.float32)]
    wanted = attention(*arguments)
    torch.testing.assert_close(compiled(attention)(*arguments), wanted)
    torch.testing.assert_close(torch.export.export(attention, tuple(arguments)).module()(*arguments), wanted)
    assert compiled(attention.train())(*inputs(65, torch.float32)).isfinite().all()


def test_counts_its_flops() -> None:
    """The table counts one of the two projections on the random features; padding to a multiple of 4 adds 36 / 32."""
    attention = make(head_dim=32, max_length=512, features=64).eval()
    arguments = [torch.randn(1, 2, 512, 32)] * 3 + [torch.ones(1, 512, dtype=torch.bool)]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*arguments)
    assert counter.get_total_flops() == pytest.approx(2 * 2 * attention.multiply_adds(512) * 4 / 3 * 36 / 32, rel=0.01)


def test_keeps_one_matrix_of_length_times_features() -> None:
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    query, key, value, mask = inputs(257, torch.float32)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        output = make(features=256)(query, key, value, mask)
    large = 4 * 2 * 257 * 256 * 4  # batch, heads, length, features, bytes
    assert sum(size >= large for size in kept.values()) == 1
    output.sum().backward()
