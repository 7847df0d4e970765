"""Performer against recorded vectors, a naive reference, and what FAVOR+ promises of its random features."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Generator, Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiles_for_two_lengths
from attention.references.performer import features, performer, relu_performer
from lra.attention import Attention, build, exact
from lra.attention.checking import CHECKS, Check, maker
from lra.attention.performer import favor_in_half_precision, orthogonal_gaussian


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


@pytest.mark.parametrize("length", [1, 2, 65, 257])
def test_fused_form_equals_reference(length: int) -> None:
    """The form for a GPU, to the accuracy of its float32 sums."""
    query, key, value, mask = inputs(length)
    weights = orthogonal_gaussian(20, 8).double()
    leaves, upstream = [query, key, value], torch.randn_like(query)
    output, wanted = favor_in_half_precision(*leaves, mask, weights), performer(*leaves, mask, weights)
    torch.testing.assert_close(output, wanted, atol=1e-5, rtol=1e-5)
    gradients = (torch.autograd.grad(result, leaves, upstream) for result in (output, wanted))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fused_form_in_half_precision(dtype: torch.dtype) -> None:
    """Outputs and gradients within a few roundings of float64, given the projection that it rounds."""
    query, key, value, mask = (tensor.detach() for tensor in inputs(257))
    weights = orthogonal_gaussian(64, 8)
    halves = [tensor.to(dtype).requires_grad_() for tensor in (query, key, value)]
    precise = [tensor.detach().double().requires_grad_() for tensor in halves]
    factor = 8**0.25  # what it multiplies by before it rounds
    rounded = (factor * weights).to(dtype).double() / factor
    real = mask[:, None, :, None]
    output = favor_in_half_precision(*halves, mask, weights) * real
    wanted = performer(*precise, mask, rounded) * real
    upstream = torch.randn_like(wanted)
    results = [output, *torch.autograd.grad(output, halves, upstream.to(dtype))]
    for found, expected in zip(results, [wanted, *torch.autograd.grad(wanted, precise, upstream)], strict=True):
        assert found.dtype == dtype
        assert (found.double() - expected).norm() < 2 * torch.finfo(dtype).eps * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_fused_form_is_finite(dtype: torch.dtype) -> None:
    query, key, value, mask = inputs(65, dtype, scale=10)
    mask[1] = False
    output = favor_in_half_precision(query, key, value, mask, orthogonal_gaussian(20, 8))
    output.sum().backward()
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))


@pytest.mark.slow
@pytest.mark.long
def test_fused_form_compiles() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(favor_in_half_precision, fullgraph=True, dynamic=True, backend="aot_eager")
    for length in (65, 130):
        arguments = [*inputs(length, torch.float32), orthogonal_gaussian(20, 8)]
        torch.testing.assert_close(compiled(*arguments), favor_in_half_precision(*arguments))


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
    doubles = [tensor.double() for tensor in (query, key, value)]
    difference = attention.eval()(query, key, value, mask).double() - precise(*doubles, mask)
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


ARGUMENTS = inputs(16)


def projection(attention: Attention) -> Tensor:
    """What the next pass projects on."""
    return attention.draw(*ARGUMENTS)["projection"]


@pytest.mark.parametrize("released", [False, True])
def test_features_are_fixed_saved_and_replayable(released: bool) -> None:
    """Were they drawn anew in training, a model would be evaluated with features that it has never seen."""
    attention, other = make(released=released), make(released=released)
    trained = projection(attention)
    assert torch.equal(trained, projection(attention))
    assert torch.equal(trained, projection(attention.eval()))
    seeded = [attention.draw(*inputs(16), Generator().manual_seed(3))["projection"] for _ in range(2)]
    assert torch.equal(*seeded) and not torch.equal(seeded[0], trained)
    assert not torch.equal(trained, projection(other)), "another layer has other features"
    other.load_state_dict(attention.state_dict())
    assert torch.equal(trained, projection(other))


def test_redrawn_after_so_many_training_passes() -> None:
    """Evaluation takes the features last trained with, and a loaded module goes on where the saved one was."""
    attention = make(redraw=3)
    used = []
    for _ in range(7):
        used.append(projection(attention.train()))
        assert torch.equal(used[-1], projection(attention.eval()))
    assert [torch.equal(first, second) for first, second in pairwise(used)] == [True, True, False, True, True, False]
    resumed = make(redraw=3)
    resumed.load_state_dict(attention.state_dict())
    again = []
    for module in (attention.train(), resumed.train()):
        torch.manual_seed(0)
        again.append([projection(module) for _ in range(3)])
    assert all(torch.equal(first, second) for first, second in zip(*again, strict=True))
    assert torch.equal(again[0][1], used[-1]) and not torch.equal(again[0][2], used[-1])


def test_two_passes_before_a_backward_pass_keep_their_own_features() -> None:
    """As in retrieval, whose two towers share a layer: the second pass must not overwrite what the first one needs."""
    attention = make(redraw=1)
    query, key, value, mask = inputs(16)
    (attention(query, key, value, mask) + attention(query, key, value, mask)).sum().backward()
    assert key.grad is not None and key.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_survive_half_precision(dtype: torch.dtype) -> None:
    """Rounded, they would be other features; torch.linalg.qr knows no half precision."""
    torch.set_default_dtype(dtype)
    try:
        attention = make(redraw=1)
        assert projection(attention).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)
    before = projection(attention.eval())
    for convert in (attention.bfloat16, attention.half, attention.double):
        assert torch.equal(projection(convert().eval()), before)
    arguments = inputs(33, dtype)
    output = attention.to(dtype)(*arguments)
    assert output.dtype == dtype and output.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "cosine"}, "kernel must be one of softmax, relu, not 'cosine'"),
        ({"redraw": -1}, "redraw must be at least 0, not -1"),
        ({"kernel": "relu", "redraw": 5}, "kernel relu draws no features: leave out `redraw` and `released`"),
        ({"kernel": "relu", "released": True}, "kernel relu draws no features: leave out `redraw` and `released`"),
        ({"redraw": 5, "released": True}, "the released performer never redraws"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make(**options)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("options", [{"kernel": "relu"}, {"redraw": 2}], ids=["relu", "redraw"])
def test_options_keep_the_contract(options: dict[str, Any], check: Check) -> None:
    check(maker("performer", **options))


@pytest.mark.parametrize("length", [1, 2, 65])
def test_relu_kernel_equals_reference(length: int) -> None:
    attention = make(kernel="relu")
    query, key, value, mask = inputs(length)
    output, wanted = attention(query, key, value, mask), relu_performer(query, key, value, mask)
    torch.testing.assert_close(output, wanted)
    upstream = torch.randn_like(output)
    leaves = [query, key, value]
    torch.testing.assert_close(
        torch.autograd.grad(output, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream)
    )
    assert not attention.state_dict()


@pytest.mark.parametrize("options", [{}, {"kernel": "relu"}, {"released": True}], ids=["softmax", "relu", "released"])
def test_gradients_by_finite_differences(options: dict[str, Any]) -> None:
    """With a row that is all padding, too."""
    query, key, value, mask = inputs(5)
    mask[3] = False
    attention = make(features=6, **options)
    real = mask[:, None, :, None]
    assert torch.autograd.gradcheck(
        lambda *tensors: attention(*tensors, mask) * real, (query, key, value), fast_mode=True
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 8), (5, 8), (8, 8), (20, 8), (3, 1)])
def test_directions_are_orthogonal_within_a_block(rows: int, columns: int) -> None:
    projection = orthogonal_gaussian(rows, columns)
    assert projection.shape == (rows, columns)
    for block in torch.nn.functional.normalize(projection).split(columns):
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)))


def test_each_direction_is_gaussian() -> None:
    """Means 0 and covariance 1 of every row over 1000 draws; without the sign of R they are far from it."""
    rows = torch.stack([orthogonal_gaussian(6, 4, Generator().manual_seed(seed)) for seed in range(1000)])
    assert rows.mean(0).abs().max() < 5 / 1000**0.5
    covariance = torch.einsum("srp,srq->rpq", rows, rows) / 1000
    assert (covariance - torch.eye(4)).abs().max() < 5 * (2 / 1000) ** 0.5
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
    wanted = build("softmax_nodropout", heads=2, head_dim=8, max_length=64)(query, key, value, mask)

    def error(count: int) -> float:
        outputs = [make(features=count)(query, key, value, mask) for _ in range(8)]
        return torch.stack(outputs).sub(wanted).square().mean().sqrt().item()

    coarse, fine = error(64), error(64 * 64)
    assert fine < 0.006
    assert 4 < coarse / fine < 16  # the square root of 64 is 8


def test_more_rows_than_a_fused_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, arguments = make(), inputs(33, torch.float32)
    wanted = attention(*arguments)
    monkeypatch.setattr(exact, "MOST_ROWS", 3)
    torch.testing.assert_close(attention(*arguments), wanted)


def test_autocast() -> None:
    attention = make().eval()
    arguments = inputs(65, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output, attention(*arguments))


@pytest.mark.parametrize("options", [{}, {"kernel": "relu"}, {"redraw": 2}], ids=["softmax", "relu", "redraw"])
def test_compiles_in_one_graph_and_exports(options: dict[str, Any]) -> None:
    attention = make(**options).eval()
    arguments = [argument.detach() for argument in inputs(65, torch.float32)]
    wanted = attention(*arguments)
    torch.testing.assert_close(torch.export.export(attention, tuple(arguments)).module()(*arguments), wanted)
    compiles_for_two_lengths(attention, inputs)


@pytest.mark.parametrize("kernel", ["softmax", "relu"])
def test_counts_its_flops(kernel: str) -> None:
    """All products, those on the random features included."""
    attention = make(head_dim=32, max_length=512, features=64, kernel=kernel).eval()
    arguments = [torch.randn(1, 2, 512, 32)] * 3 + [torch.ones(1, 512, dtype=torch.bool)]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*arguments)
    assert counter.get_total_flops() == 2 * 2 * attention.multiply_adds(512)


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
