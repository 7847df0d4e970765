"""Nystrom against recorded vectors, a naive reference, and exact attention where it must be exact."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import conv1d
from torch.utils.flop_counter import FlopCounterMode

from attention import golden
from attention.compiling import compiles_for_two_lengths
from attention.references.nystrom import nystrom, pseudo_inverse
from lra.attention import Attention, build
from lra.attention import nystrom as module
from lra.attention.nystrom import Product, apply_inverse, convolve, segments
from lra.attention.nystrom import nystrom as core


def make(**options: Any) -> Attention:
    """With filters that are not zero, as after training."""
    attention = build("nystrom", **{"heads": 2, "head_dim": 8, "max_length": 300, "features": 16, **options})
    torch.manual_seed(0)
    for taps in attention.parameters():
        torch.nn.init.normal_(taps, std=0.1)
    return attention


def inputs(length: int, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> list[Tensor]:
    """Query, key, value and a mask: a full row, a prefix, holes, few real tokens, and one."""
    torch.manual_seed(length)
    tensors = [torch.randn(5, 2, length, 8, dtype=dtype) for _ in range(3)]
    query, key, value = (x.mul(factor).requires_grad_() for x, factor in zip(tensors, (scale, scale, 1), strict=True))
    mask = torch.rand(5, length) < torch.tensor([2.0, 2.0, 0.6, 10 / length, 0.0])[:, None]
    mask[1, 2 * length // 3 :] = False
    mask[:, length // 2] = True
    return [query, key, value, mask]


@pytest.mark.parametrize("case", golden.cases("nystrom"))
def test_equals_recorded(case: str) -> None:
    record = golden.load("nystrom", case)
    _, heads, length, head_dim = record.shape
    size = {"heads": heads, "head_dim": head_dim, "max_length": length}
    attention = build("nystrom", **size, features=record.meta["config"]["num_landmarks"], released=True)
    golden.assert_equal(attention, record, record.draws, tolerance=2e-5)


@pytest.mark.parametrize("conv_kernel", [0, 5])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 63, 64, 65, 257])
def test_equals_reference(length: int, conv_kernel: int) -> None:
    attention = make(conv_kernel=conv_kernel).double()
    query, key, value, mask = inputs(length)
    real = mask[:, None, :, None]
    output = attention(query, key, value, mask) * real
    wanted = nystrom(query, key, value, mask, 16, attention.taps)
    torch.testing.assert_close(output, wanted)
    upstream = torch.randn_like(output)
    leaves = [query, key, value, *attention.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(output, leaves, upstream), torch.autograd.grad(wanted, leaves, upstream)
    )


@pytest.mark.parametrize(("real", "wanted"), [(7, [2, 2, 3]), (6, [2, 2, 2]), (3, [1, 1, 1]), (2, [1, 1, 0])])
def test_segments_cover_the_real_tokens_in_order(real: int, wanted: list[int]) -> None:
    mask = torch.zeros(1, 10, dtype=torch.bool)
    mask[0, torch.randperm(10)[:real]] = True
    positions, inside, segment, place = segments(mask, 3)
    tokens = mask[0].nonzero()[:, 0]
    assert torch.equal(positions.flatten(1)[0, place[0, tokens]], tokens), "a token is at its own place"
    assert inside[0].nonzero()[:, 0].tolist() == segment[0, tokens].tolist()
    assert positions[inside].tolist() == mask[0].nonzero()[:, 0].tolist()
    assert inside.sum(-1).tolist() == [wanted]


@pytest.mark.parametrize("real", [1, 5, 16])
@pytest.mark.parametrize("length", [16, 100])
def test_exact_with_a_landmark_for_every_token(length: int, real: int) -> None:
    query, key, value, mask = inputs(length, torch.float32)
    mask = (torch.arange(length) < real).expand_as(mask)
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=length)(query, key, value, mask)
    output = make(conv_kernel=0)(query, key, value, mask)
    torch.testing.assert_close(output[:, :, :real], exact[:, :, :real])


def test_exact_for_tokens_repeated_within_each_segment() -> None:
    """Landmarks then are tokens, and only the pseudo-inverse is approximate."""
    torch.manual_seed(0)
    tokens = 4 * torch.nn.functional.normalize(torch.randn(1, 2, 12, 8), dim=-1)
    query = tokens.repeat_interleave(5, dim=2)
    value, mask = torch.randn_like(query), torch.ones(1, 60, dtype=torch.bool)
    exact = build("softmax_nodropout", heads=2, head_dim=8, max_length=60)(query, query, value, mask)
    for features, tolerance in ((12, 1e-3), (60, 1e-6)):
        output = make(features=features, conv_kernel=0)(query, query, value, mask)
        torch.testing.assert_close(output, exact, atol=tolerance, rtol=0)


def test_untrained_filters_are_those_of_the_official_code_and_released_has_none() -> None:
    size = {"heads": 64, "head_dim": 8, "max_length": 64, "features": 16}
    torch.manual_seed(0)
    taps = build("nystrom", **size).taps
    official = torch.nn.Conv2d(64, 64, (35, 1), bias=False, groups=64).weight
    assert taps.shape == (64, 35)
    assert taps.std().item() == pytest.approx(official.std().item(), rel=0.05)
    assert taps.abs().max().item() == pytest.approx(official.abs().max().item(), rel=0.01)
    assert build("nystrom", **size, released=True).taps is None
    with pytest.raises(ValueError, match="conv_kernel must be odd"):
        build("nystrom", **size, conv_kernel=34)
    with pytest.raises(ValueError, match="divisible by its 16 landmarks, not 65"):
        make(features=16, max_length=65, released=True)(*inputs(65))


@pytest.mark.parametrize("sharpness", [0.0, 0.1, 1.0, 30.0])
def test_inverse_in_float32(sharpness: float) -> None:
    """From a matrix of equal entries (rank one) to the identity."""
    torch.manual_seed(0)
    points = torch.randn(1, 2, 64, 8, dtype=torch.float64)
    kernel, vectors = (sharpness * points @ points.mT).softmax(-1), torch.randn(1, 2, 64, 8, dtype=torch.float64)
    wanted = torch.stack([pseudo_inverse(head) for head in kernel[0]]) @ vectors
    torch.testing.assert_close(apply_inverse(kernel, vectors), wanted)
    error = (apply_inverse(kernel.float(), vectors.float()) - wanted).abs().max()
    assert error < 2e-4 * wanted.abs().max()


@pytest.mark.parametrize("on_tensor_cores", [False, True])
def test_gradient_of_the_inverse(on_tensor_cores: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True)

    def inverse(logits: Tensor, vectors: Tensor) -> Tensor:
        return apply_inverse(logits.softmax(-1), vectors, on_tensor_cores)

    assert torch.autograd.gradcheck(inverse, (logits, vectors), fast_mode=True)


def rounded_product(first: Tensor, second: Tensor) -> Tensor:
    """As tensor cores multiply float32 matrices: of the factors' 23 bits of mantissa, 10 are left."""
    first, second = (
        (matrix.contiguous().view(torch.int32) + 0x1000 & ~0x1FFF).view_as(matrix) for matrix in (first, second)
    )
    return first.view(torch.float32) @ second.view(torch.float32)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 30.0])
def test_inverse_on_tensor_cores(sharpness: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients are within 2e-2 of float64, an error that bfloat16 inputs make anyway."""
    monkeypatch.setattr(module, "tensor_core_product", rounded_product)
    torch.manual_seed(0)
    points = torch.randn(1, 2, 64, 8, dtype=torch.float64)
    logits = (sharpness * points @ points.mT).requires_grad_()
    vectors = torch.randn(1, 2, 64, 8, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn_like(vectors)
    wanted = apply_inverse(logits.softmax(-1), vectors)
    gradients = torch.autograd.grad(wanted, [logits, vectors], upstream)
    found = apply_inverse(logits.float().softmax(-1), vectors.float(), on_tensor_cores=True)
    approximate = torch.autograd.grad(found, [logits, vectors], upstream.float())
    for exact, other in zip((wanted, *gradients), (found, *approximate), strict=True):
        assert (exact - other).norm() < 2e-2 * exact.norm()


def test_products_on_tensor_cores() -> None:
    """The product and its gradients; torch's own products are as precise as before."""
    torch.manual_seed(0)
    first, second = (tensor.requires_grad_() for tensor in torch.randn(2, 3, 40, 40))
    found, wanted = Product.apply(first, second), first @ second
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    for one, other in zip(*(torch.autograd.grad(x, [first, second], upstream) for x in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.backends.cuda.matmul.allow_tf32
    torch.library.opcheck(module.tensor_core_product, (first.detach(), second.detach().mT))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_core_in_half_precision(dtype: torch.dtype) -> None:
    """As on a GPU: about as near to float64 as the rounding of the output allows, gradients too."""
    query, key, value, mask = inputs(257)
    mask[4] = False  # no real token
    mask[4, :30] = True
    query, key, value = ((tensor / 2).detach().to(dtype).requires_grad_() for tensor in (query, key, value))
    real = mask[:, None, :, None]

    def run(*tensors: Tensor) -> list[Tensor]:
        output = core(*tensors, mask, 16) * real
        return [output, *torch.autograd.grad(output.sum(), tensors)]

    exact = run(*(tensor.detach().double().requires_grad_() for tensor in (query, key, value)))
    for found, wanted in zip(run(query, key, value), exact, strict=True):
        assert found.dtype == dtype
        assert (found.double() - wanted).norm() < 4 * torch.finfo(dtype).eps * wanted.norm()


@pytest.mark.parametrize("conv_kernel", [1, 5, 35])
def test_gradient_of_the_convolution(conv_kernel: int) -> None:
    torch.manual_seed(0)
    value = torch.randn(2, 2, 37, 1, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(2, conv_kernel, dtype=torch.float64, requires_grad=True)
    wanted = conv1d(value[..., 0], taps[:, None], padding=conv_kernel // 2, groups=2)
    torch.testing.assert_close(convolve(value, taps)[..., 0], wanted)
    assert torch.autograd.gradcheck(convolve, (value, taps), fast_mode=True)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["large", "equal", "no tokens"])
@pytest.mark.parametrize("length", [1, 64])
def test_finite(length: int, kind: str, dtype: torch.dtype, released: bool) -> None:
    query, key, value, mask = inputs(length, dtype, scale={"large": 10.0, "equal": 0.0, "no tokens": 1.0}[kind])
    if kind == "no tokens":
        mask[:2] = False
    output = make(released=released)(query, key, value, mask)
    output.sum().backward()
    assert output.dtype == dtype
    assert all(tensor.isfinite().all() for tensor in (output, query.grad, key.grad, value.grad))


def test_neighbours_and_padding_do_not_matter() -> None:
    attention = make().double().eval()
    query, key, value, mask = (tensor.detach() for tensor in inputs(64))
    mask[0, 41:] = False
    alone = attention(*(tensor[:1, :, :41] for tensor in (query, key, value)), mask[:1, :41])
    padded = ~mask[:, None, :, None]
    for filler in (1e4, torch.inf, torch.nan):
        dirty = [tensor.masked_fill(padded, filler) for tensor in (query, key, value)]
        torch.testing.assert_close(attention(*dirty, mask)[:1, :, :41], alone)


def test_autocast() -> None:
    attention = make().eval()
    arguments = inputs(65, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attention(*arguments)
    torch.testing.assert_close(output, attention(*arguments))


@pytest.mark.slow
@pytest.mark.long
def test_compiles_in_one_graph_and_exports() -> None:
    attention = make().eval()
    arguments = [argument.detach() for argument in inputs(65, torch.float32)]
    wanted = attention(*arguments)
    torch.testing.assert_close(torch.export.export(attention, tuple(arguments)).module()(*arguments), wanted)
    compiles_for_two_lengths(attention, inputs)


@pytest.mark.parametrize("length", [16, 512])
def test_counts_its_flops(length: int) -> None:
    """The products of (landmarks, landmarks) matrices included."""
    attention = make(head_dim=32, max_length=512, features=64 if length > 64 else 16, conv_kernel=0)
    arguments = [torch.randn(1, 2, length, 32)] * 3 + [torch.ones(1, length, dtype=torch.bool)]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        attention(*arguments)
    assert counter.get_total_flops() == 2 * 2 * attention.multiply_adds(length)


def test_keeps_thirteen_matrices_of_landmarks() -> None:
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    query, key, value, mask = inputs(257, torch.float32)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        output = make(features=64, conv_kernel=0)(query, key, value, mask)
    square = 5 * 2 * 64 * 64 * 4  # batch, heads, landmarks, landmarks, bytes
    assert sum(size == square for size in kept.values()) == 13
    assert max(kept.values()) < 5 * 2 * 257 * 64 * 4
    output.sum().backward()
