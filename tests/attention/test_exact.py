"""The exact core, above all its form for a GPU, which a CPU can run as well."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from lra.attention import build, exact, gather, skeinformer
from lra.attention.checking import CHECKS, Check, maker, masks
from lra.attention.exact import attend, attend_by_columns, log_sum_exp, with_bias
from lra.attention.skeinformer import column_weights, fused_column_weights

METHODS = ["softmax", "softmax_nodropout", "bigbird", "informer", "informer_mask", "skeinformer", "skein_uniform"]
METHODS += ["skein_nonorm", "skein_simplenorm", "skein_nopilot"]
LENGTHS = [1, 64, 100, 192]
"""One token, 64 mod 128 (where a masked kernel of cuDNN goes wrong), and no multiple of 8."""


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do on the CPU what is done on a GPU."""
    monkeypatch.setattr(gather, "on_gpu", lambda tensor: True)


def inputs(length: int, dtype: torch.dtype = torch.float32, batch: int = 3, size: int = 32) -> list[Tensor]:
    torch.manual_seed(length)
    return [torch.randn(batch, 2, length, size).to(dtype).requires_grad_() for _ in range(3)]


def counts_as_bias(length: int, heads: bool) -> Tensor:
    """Log counts between 1 and 4000, float32; -inf for padding, at both ends."""
    bias = torch.randint(1, 4000, (3, 2, length) if heads else (3, length)).log()
    for row in range(1, 3):
        bias[row, ..., : row * length // 8] = -math.inf
        bias[row, ..., length - row * length // 8 :] = -math.inf
    return bias


def explicit(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """In float64 and whole matrices."""
    query, key, value, bias = (tensor.double() for tensor in (query, key, value, bias))
    bias = bias[:, None, None] if bias.dim() == 2 else bias[:, :, None]
    return (query @ key.mT / query.shape[-1] ** 0.5 + bias).softmax(-1) @ value


def off(actual: Tensor, expected: Tensor) -> float:
    return ((actual.double() - expected).norm() / expected.norm()).item()


def masked(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    return scaled_dot_product_attention(query, key, value, attn_mask=bias[:, :, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("core", [attend, attend_by_columns])
def test_bias_is_as_good_as_in_float32(core: Callable[..., Tensor], length: int, dtype: torch.dtype) -> None:
    """Output and gradients lie as near to float64 as those of a mask in float32."""
    tensors, bias = inputs(length, dtype), counts_as_bias(length, heads=True)
    upstream = torch.randn_like(tensors[0])
    wide = torch.promote_types(dtype, torch.float32)
    outputs = [explicit(*tensors, bias), masked(*tensors, bias.to(wide)), core(*tensors, bias)]
    gradients = [torch.autograd.grad(output, tensors, upstream.to(output.dtype)) for output in outputs]
    least = 1e-6 if wide == torch.float32 else 1e-12
    for expected, with_mask, actual in zip(*([o, *g] for o, g in zip(outputs, gradients, strict=True)), strict=True):
        assert actual.dtype == dtype and expected.isfinite().all()
        if expected.norm() > 1e-4:  # a single key has no gradient
            assert off(actual, expected) <= 1.1 * off(with_mask, expected) + least


def test_a_bias_in_half_precision_would_be_worse() -> None:
    """So the test above can fail: one column, or a mask of 8 bits, is off by twice as much."""
    tensors, bias = inputs(192, torch.bfloat16), counts_as_bias(192, heads=True)
    expected = explicit(*tensors, bias)
    good, bad = attend_by_columns(*tensors, bias), attend_by_columns(*tensors, bias.bfloat16())
    assert off(bad, expected) > 2 * off(good, expected)


@pytest.mark.parametrize("core", [attend, attend_by_columns])
def test_a_mask_is_a_bias(core: Callable[..., Tensor]) -> None:
    """True counts and False does not; a bias may be one for all heads; and there may be more queries than keys."""
    tensors = inputs(100)
    query = torch.cat([tensors[0], tensors[0]], 2)
    mask = masks(100)["holes"]
    bias = torch.zeros(3, 100).masked_fill(~mask, -math.inf)
    expected = explicit(query, *tensors[1:], bias).float()
    torch.testing.assert_close(core(query, *tensors[1:], mask), expected)
    torch.testing.assert_close(core(query, *tensors[1:], bias), expected)
    torch.testing.assert_close(core(query, *tensors[1:]), explicit(query, *tensors[1:], bias.new_zeros(3, 100)).float())


@pytest.mark.parametrize("core", [attend, attend_by_columns])
def test_bias_has_a_gradient(core: Callable[..., Tensor]) -> None:
    tensors = inputs(64)
    bias = torch.randn(3, 2, 64, requires_grad=True)
    upstream = torch.randn_like(tensors[0])
    (expected,) = torch.autograd.grad(explicit(*tensors, bias), bias, upstream.double())
    (found,) = torch.autograd.grad(core(*tensors, bias), bias, upstream)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("length", LENGTHS)
def test_padding_holds_what_it_wants(length: int, dtype: torch.dtype) -> None:
    """Rows without a real key are finite, as are gradients; the others do not see what padding holds."""
    query, key, value = inputs(length, dtype)
    mask = masks(length)["prefix"].clone()
    mask[2] = False
    output = attend_by_columns(query, key, value, mask)
    gradients = torch.autograd.grad(output.sum(), (query, key, value))
    assert all(tensor.isfinite().all() for tensor in (output, *gradients))
    padded = ~mask[:, None, :, None]
    dirty = attend_by_columns(query, key.masked_fill(padded, 200.0), value.masked_fill(padded, 200.0), mask)
    assert torch.equal(dirty[:2], output[:2])
    assert not gradients[1].masked_fill(~padded, 0).any()


def test_the_kernel_without_a_mask_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are a multiple of 8, and at most 65535 sequences times heads come in one call, which CUDA requires."""
    calls = []

    def kernel(*tensors: Tensor, **options: float) -> Tensor:
        calls.append((tensors[0].shape[0] * tensors[0].shape[1], {tensor.shape[-1] for tensor in tensors}, options))
        return scaled_dot_product_attention(*tensors, **options)

    monkeypatch.setattr(exact, "scaled_dot_product_attention", kernel)
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 35000, 2, 3, 5)
    mask = torch.rand(35000, 3) < 0.7
    mask[:, 0] = True
    output = attend_by_columns(query, key, value, mask)
    assert sum(rows for rows, *_ in calls) == 70000 and max(rows for rows, *_ in calls) <= 65535
    assert all(sizes == {8} and options == {"dropout_p": 0.0, "scale": 5**-0.5} for _, sizes, options in calls)
    torch.testing.assert_close(output, attend(query, key, value, mask))
    sums = log_sum_exp(query, key, mask, scale=0.5)
    logits = 0.5 * query @ key.mT
    torch.testing.assert_close(sums, logits.masked_fill(~mask[:, None, None], -math.inf).logsumexp(-1))


def test_dropping_weights_by_columns() -> None:
    """A share of the weights vanishes, the others grow by as much; the mean is the output without dropout."""
    query, key, _ = inputs(64, batch=1)
    ones = torch.eye(64)[None, None].expand(1, 2, -1, -1)  # values that show the weights
    key = torch.nn.functional.pad(key, (0, 32))
    query = torch.nn.functional.pad(query, (0, 32))
    mask = torch.arange(64)[None] < 50
    whole = attend_by_columns(query, key, ones, mask)
    torch.manual_seed(0)
    dropped = attend_by_columns(query, key, ones, mask, dropout=0.25)
    kept = dropped[..., :50] != 0
    assert 0.7 < kept.float().mean() < 0.8
    torch.testing.assert_close(dropped[..., :50][kept], whole[..., :50][kept] / 0.75)


@pytest.mark.parametrize("bias", ["none", "bool", "float"])
def test_dropping_weights_in_blocks(bias: str) -> None:
    """Without a bias, with a mask and with a bias it is the same function; a row without a real key stays finite."""
    tensors, mask = inputs(100), masks(100)["prefix"].clone()
    mask[2] = False
    given = {"none": None, "bool": mask, "float": torch.zeros(3, 100).masked_fill(~mask, -math.inf)}[bias]
    torch.manual_seed(1)
    output = attend(*tensors, given, dropout=0.3)
    torch.manual_seed(1)
    expected = attend(*tensors, mask if given is not None else torch.ones_like(mask), dropout=0.3)
    assert torch.equal(output, expected) and output.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 64, 100, 257])
def test_log_sum_exp(length: int, dtype: torch.dtype) -> None:
    query, key, _ = inputs(length, dtype)
    bias = counts_as_bias(length, heads=True)
    found = log_sum_exp(query, key, bias, scale=0.3)
    expected = (0.3 * query.double() @ key.double().mT + bias[:, :, None]).logsumexp(-1)
    assert found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found.double(), expected, atol=1e-5 if dtype == torch.float32 else 5e-4, rtol=1e-5)


def test_under_autocast() -> None:
    """Columns are split for the type that autocast computes in."""
    tensors, bias = inputs(192), counts_as_bias(192, heads=True)
    halves = [tensor.bfloat16() for tensor in tensors]
    with torch.autocast("cpu", torch.bfloat16):
        output = attend_by_columns(*tensors, bias)
        query, _ = with_bias(*tensors[:2], bias, 1.0)
    assert query.dtype == output.dtype == torch.bfloat16
    assert torch.equal(output, attend_by_columns(*halves, bias))


@pytest.mark.parametrize("kind", ["full", "prefix", "holes", "single"])
@pytest.mark.parametrize("length", [1, 64, 257])
def test_both_forms_of_the_column_weights(length: int, kind: str) -> None:
    """For a GPU as for a CPU, up to the constant, at real tokens; with weights that float32 cannot hold, too."""
    query, key, value = inputs(length)
    mask = masks(length)[kind]
    pilots = skeinformer.draw_pilots(mask, torch.rand(3, 2, 70))
    real = mask[:, None].expand(-1, 2, -1)
    plain, fused = (weigh(query, key, value, mask, pilots) for weigh in (column_weights, fused_column_weights))
    torch.testing.assert_close(fused[real], plain[real], atol=2e-5, rtol=1e-5)
    assert fused_column_weights(30 * query, 30 * key, value, mask, pilots)[real].isfinite().all()


@pytest.mark.parametrize("kind", ["prefix", "holes"])
@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_same_as_on_a_gpu(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Choices, outputs and gradients of a GPU's form are those of a CPU's."""
    length = 700
    mask = masks(length)[kind]
    attention = build(name, heads=2, head_dim=32, max_length=length, features=32).eval()
    results = []
    for columns in (False, True):
        monkeypatch.setattr(gather, "on_gpu", lambda tensor, columns=columns: columns)
        tensors = inputs(length)
        output = attention(*tensors, mask) * mask[:, None, :, None]
        torch.manual_seed(0)
        gradients = torch.autograd.grad(
            output, tensors, torch.randn_like(output), allow_unused=True, materialize_grads=True
        )
        results.append((output, *gradients))
    for plain, columns in zip(*results, strict=True):
        torch.testing.assert_close(columns, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", METHODS)
def test_contract_as_on_a_gpu(name: str, check: Check) -> None:
    check(maker(name))


def test_a_masked_kernel_of_whole_matrices() -> None:
    """Where no fused kernel fits, torch multiplies whole matrices, with a float32 bias in half precision too."""
    tensors, bias = inputs(64, torch.bfloat16), counts_as_bias(64, heads=True)
    with sdpa_kernel(SDPBackend.MATH):
        output = attend(*tensors, bias)
    assert off(output, explicit(*tensors, bias)) < 5e-3
