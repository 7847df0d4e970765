"""Skeinformer and its ablations against recorded vectors, a naive reference and what the paper promises."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiled
from attention.references import skeinformer as reference
from lra.attention import Attention, build
from lra.attention.skeinformer import column_weights, draw_columns, draw_pilots

NAMES = ["skeinformer", "skein_uniform", "skein_nonorm", "skein_simplenorm", "skein_nopilot"]
NORM = {"skein_nonorm": "none", "skein_simplenorm": "simple"}
EXACT_ROWS = ["skeinformer", "skein_nonorm", "skein_simplenorm"]
MAX_LENGTH = 300


def make(name: str, features: int = 16, **options: Any) -> Attention:
    return build(name, heads=2, head_dim=8, max_length=MAX_LENGTH, features=features, **options)


def inputs(length: int, holes: bool = False, batch: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query, key, value and a mask: a full row, then ever shorter prefixes or sparser rows, with at least one token."""
    torch.manual_seed(length)
    tensors = [torch.randn(batch, 2, length, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    share = torch.linspace(1, 0.1, batch)[:, None]
    mask = (torch.rand(batch, length) if holes else torch.arange(length) / length) < share
    mask[:, 0] |= ~mask.any(1)
    return [*tensors, mask]


def gradients(output: Tensor, inputs: list[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, inputs, upstream, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize(("name", "case"), [(name, case) for name in NAMES for case in golden.cases(name)])
def test_recorded_vectors(name: str, case: str) -> None:
    record = golden.load(name, case)
    _, heads, length, head_dim = record.shape
    sizes = {
        "heads": heads,
        "head_dim": head_dim,
        "max_length": length,
        "features": record.meta["config"]["nb_features"],
    }
    released = build(name, **sizes, released=True)
    golden.assert_equal(released, record, record.draws)
    if name not in ("skein_nonorm", "skein_simplenorm"):
        golden.assert_equal(build(name, **sizes), record, record.draws)
    arrays = record.arrays
    made = released.draw(arrays["q"], arrays["k"], arrays["v"], record.mask)
    assert made["S1"].shape == arrays["S1"].shape, "the released d shrinks with the batch"


@pytest.mark.parametrize("case", golden.cases("skeinformer"))
def test_recorded_probabilities(case: str) -> None:
    record = golden.load("skeinformer", case)
    arrays, mask = record.arrays, record.mask
    query = arrays["q"].masked_fill(~mask[:, None, :, None], 0)  # recorded pilots lie on zeroed padding too
    pilots = record.draws["S0"][:, None].expand(-1, query.shape[1], -1)
    weights = column_weights(query, arrays["k"], arrays["v"], mask, pilots).exp()
    torch.testing.assert_close(weights / weights.sum(-1, keepdim=True), arrays["phat"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("holes", [False, True], ids=["prefix", "holes"])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 257])
@pytest.mark.parametrize("name", NAMES)
def test_against_reference(name: str, length: int, holes: bool) -> None:
    *tensors, mask = inputs(length, holes)
    attention = make(name)
    draws = attention.draw(*tensors, mask)
    output = attention(*tensors, mask, draws)
    upstream = torch.randn_like(output) * mask[:, None, :, None]
    pilots = draws["S0"] if name in EXACT_ROWS else None
    expected = torch.stack(
        [
            torch.stack(
                [
                    reference.attention(
                        *(tensor[b, h] for tensor in tensors),
                        mask[b],
                        draws["S1"][b, h],
                        pilots=None if pilots is None else pilots[b, h],
                        norm=NORM.get(name, "adaptive"),
                    )
                    for h in range(2)
                ]
            )
            for b in range(len(mask))
        ]
    )
    assert output.isfinite().all()
    torch.testing.assert_close(output * mask[:, None, :, None], expected, atol=1e-12, rtol=1e-10)
    for actual, wanted in zip(
        gradients(output, tensors, upstream), gradients(expected, tensors, upstream), strict=True
    ):
        torch.testing.assert_close(actual, wanted, atol=1e-11, rtol=1e-9)


@pytest.mark.parametrize("holes", [False, True], ids=["prefix", "holes"])
def test_probabilities_against_reference(holes: bool) -> None:
    *tensors, mask = inputs(100, holes)
    pilots = draw_pilots(mask, torch.rand(3, 2, 150))
    weights = column_weights(*tensors, mask, pilots).exp()
    for b in range(3):
        for h in range(2):
            expected = reference.column_probabilities(*(tensor[b, h] for tensor in tensors), mask[b], pilots[b, h])
            actual = (weights / weights.sum(-1, keepdim=True))[b, h].double()
            torch.testing.assert_close(actual, expected.detach(), atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("features", [65, 66, 300])
@pytest.mark.parametrize("name", NAMES)
def test_exact_once_every_token_is_selected(name: str, features: int) -> None:
    *tensors, mask = inputs(65)
    output = make(name, features)(*tensors, mask)
    exact = scaled_dot_product_attention(*tensors, attn_mask=mask[:, None, None])
    real = mask[:, None, :, None]
    torch.testing.assert_close(output * real, exact * real, atol=1e-12, rtol=1e-10)


def test_every_sequence_has_its_own_d() -> None:
    """With d = 16, a sequence of at most 16 tokens is exact whatever its neighbours."""
    *tensors, mask = inputs(200, batch=2)
    assert mask.sum(-1).tolist() == [200, 20]
    mask[1, 16:] = False
    output = make("skeinformer")(*tensors, mask)
    exact = scaled_dot_product_attention(*tensors, attn_mask=mask[:, None, None])
    torch.testing.assert_close(output[1, :, :16], exact[1, :, :16])
    assert (output[0] - exact[0]).abs().max() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_error_falls_as_d_grows(name: str) -> None:
    *tensors, mask = inputs(256, batch=8)
    exact = scaled_dot_product_attention(*tensors, attn_mask=mask[:, None, None])
    errors = []
    for features in [8, 32, 128, 256]:
        difference = (make(name, features)(*tensors, mask) - exact) * mask[:, None, :, None]
        errors.append(difference.square().mean().sqrt().item())
    assert errors[0] > errors[1] > errors[2] > 1e-3
    assert errors[3] < 1e-12


@pytest.mark.parametrize("holes", [False, True], ids=["prefix", "holes"])
def test_draws_stay_on_real_tokens(holes: bool) -> None:
    *tensors, mask = inputs(200, holes, batch=6)
    for seed in range(5):
        draws = make("skeinformer").train().draw(*tensors, mask, torch.Generator().manual_seed(seed))
        assert mask[:, None].expand(-1, 2, -1).gather(2, draws["S0"]).all()
        selected = torch.zeros(6, 2, 200).scatter_add(2, draws["S1"], torch.ones(6, 2, 16))
        assert selected.max() == 1, "columns are distinct"
        assert torch.equal((selected * mask[:, None]).sum(-1), mask.sum(-1).clamp(max=16)[:, None].expand(-1, 2))


def test_pilots_are_uniform() -> None:
    mask = torch.tensor([[True, False, True, True, False]])
    top = torch.tensor(1 - 2**-24)
    noise = torch.cat([torch.zeros(1), torch.rand(30000, generator=torch.Generator().manual_seed(0)), top[None]])
    pilots = draw_pilots(mask, noise[None, None])[0, 0]
    assert (pilots[0], pilots[-1]) == (0, 3), "the ends of the range"
    assert (pilots.bincount() / len(pilots))[[0, 2, 3]].sub(1 / 3).abs().max() < 0.01  # 3.7 standard errors


def test_columns_follow_their_weights() -> None:
    """Inclusion frequencies of drawing two in turn without replacement: p_i + sum_j p_j p_i / (1 - p_j)."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    trials = 40000
    noise = torch.rand(1, trials, 4, generator=torch.Generator().manual_seed(0))
    log_weights = (p * 7).log().expand(1, trials, 4)
    mask = torch.ones(1, 4, dtype=torch.bool)
    first = draw_columns(log_weights, mask, noise, 1).flatten().bincount(minlength=4) / trials
    both = draw_columns(log_weights, mask, noise, 2).flatten().bincount(minlength=4) / trials
    second = torch.stack([sum(p[j] * p[i] / (1 - p[j]) for j in range(4) if j != i) for i in range(4)])
    assert (first - p).abs().max() < 0.01  # 4 standard errors
    assert (both - p - second).abs().max() < 0.01


def test_weights_of_zero_and_padding_come_last() -> None:
    weights = torch.tensor([1e-38, 0.0, 1.0, 1.0, 0.0, 1e-45])
    mask = torch.tensor([[True, True, True, False, True, True]])
    noise = torch.rand(1, 20000, 6, generator=torch.Generator().manual_seed(0))
    noise[0, 0] = torch.tensor([0, 1 - 2**-24, 0, 1 - 2**-24, 1 - 2**-24, 0])  # the worst luck
    for count, expected in [(3, {0, 2, 5}), (5, {0, 1, 2, 4, 5})]:
        columns = draw_columns(weights.log().expand(1, 20000, 6), mask, noise, count)
        assert set(columns.unique().tolist()) == expected


def test_pilots_may_be_shared_by_the_heads() -> None:
    *tensors, mask = inputs(100)
    attention = make("skeinformer")
    draws = attention.draw(*tensors, mask)
    shared = draws["S0"][:, 0]
    expected = attention(*tensors, mask, draws | {"S0": shared[:, None].expand(-1, 2, -1)})
    assert torch.equal(attention(*tensors, mask, draws | {"S0": shared}), expected)
    assert not torch.equal(draws["S0"][:, 0], draws["S0"][:, 1]), "by default each head draws its own"


@pytest.mark.parametrize("name", NAMES)
def test_prediction_depends_on_its_sequence_alone(name: str) -> None:
    *tensors, mask = inputs(200, dtype=torch.float32)
    length = int(mask[1].sum())
    attention = make(name).eval()
    output = attention(*tensors, mask)[1, :, :length]
    alone = attention(*(tensor[1:2, :, :length] for tensor in tensors), mask[1:2, :length])[0]
    torch.testing.assert_close(output, alone)
    other = [tensor.detach().masked_fill(~mask[:, None, :, None], 50.0) for tensor in tensors]
    torch.testing.assert_close(output, attention(*other, mask)[1, :, :length])


@pytest.mark.parametrize("name", NAMES)
def test_replayed_draws_do_not_see_neighbours(name: str) -> None:
    *tensors, mask = inputs(100)
    attention = make(name).train()
    draws = attention.draw(*tensors, mask, torch.Generator().manual_seed(1))
    alone = attention(*(tensor[1:2] for tensor in tensors), mask[1:2], {key: draw[1:2] for key, draw in draws.items()})
    torch.testing.assert_close(attention(*tensors, mask, draws)[1:2], alone)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 257])
@pytest.mark.parametrize("name", NAMES)
def test_finite_at_huge_logits_and_without_tokens(name: str, length: int, dtype: torch.dtype) -> None:
    *tensors, mask = inputs(length)
    mask[1], mask[2] = False, torch.arange(length) == length // 2
    scale = (200 * 8**0.5 / (tensors[0] @ tensors[1].transpose(-1, -2)).abs().max()).sqrt()
    query, key, value = ((tensor * scale).detach().to(dtype).requires_grad_() for tensor in tensors)
    output = make(name)(query, key, value, mask)
    output.sum().backward()
    for tensor in (output, query.grad, key.grad, value.grad):
        assert tensor.dtype == dtype
        assert tensor.isfinite().all()


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16", "autocast"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision(name: str, autocast: bool) -> None:
    *tensors, mask = inputs(257, dtype=torch.float32)
    tensors = [tensor.detach().bfloat16().float().requires_grad_() for tensor in tensors]
    attention = make(name, features=64).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        half = tensors if autocast else [tensor.bfloat16() for tensor in tensors]
        draws = attention.draw(*half, mask, torch.Generator().manual_seed(0))
        output = attention(*half, mask, draws)
    assert output.dtype == torch.bfloat16
    expected = attention(*tensors, mask, draws)
    torch.testing.assert_close(output.float(), expected, atol=0.03, rtol=0.03)
    upstream = torch.randn_like(expected) * mask[:, None, :, None]
    for actual, wanted in zip(
        gradients(output.float(), tensors, upstream), gradients(expected, tensors, upstream), strict=True
    ):
        assert (actual - wanted).norm() < 0.03 * wanted.norm() + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_compiles_and_exports_whole(name: str) -> None:
    *tensors, mask = inputs(100, dtype=torch.float32)
    tensors = [tensor.detach() for tensor in tensors]
    attention = make(name).eval()
    expected = attention(*tensors, mask)
    torch.testing.assert_close(compiled(attention)(*tensors, mask), expected)
    exported = torch.export.export(attention, (*tensors, mask))
    torch.testing.assert_close(exported.module()(*tensors, mask), expected)


@pytest.mark.parametrize("released", [False, True], ids=["paper", "released"])
@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds(name: str, released: bool) -> None:
    """The products with pilot logits are counted twice: once for the probabilities, once for the exact rows."""
    length, features = 256, 32
    attention = build(name, heads=1, head_dim=64, max_length=length, features=features, released=released)
    tensors = [torch.randn(1, 1, length, 64) for _ in range(3)]
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        attention(*tensors, torch.ones(1, length, dtype=torch.bool))
    executed = counter.get_total_flops() / 2  # multiply-adds
    assert 1 <= executed / attention.multiply_adds(length) < 1.3
