"""Nystromformer: softmax attention rebuilt from landmarks (Xiong et al. 2021, arXiv 2102.03902)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.library import custom_op
from torch.nn.functional import pad

from lra.attention import exact
from lra.attention.contract import Attention, Draws
from lra.attention.gather import permute

ITERATIONS = 6

Multiply = Callable[[Tensor, Tensor], Tensor]


class Nystrom(Attention):
    """softmax(Q Kl^T / sqrt(p)) Z softmax(Ql K^T / sqrt(p)) V, plus a depthwise convolution of V.

    The landmarks Ql and Kl are means over ``features`` segments of a sequence's real tokens, in order and as equal as
    can be; Z is the sixth iterate towards the pseudo-inverse of softmax(Ql Kl^T / sqrt(p)). A sequence of no more real
    tokens than landmarks has one token a landmark, where a true inverse makes the product softmax attention itself: it
    gets exactly that.

    The core computes in float32; on CUDA with inputs of half precision only the inverse does, in products that the
    tensor cores take (:func:`tensor_core_product`).

    Memory kept for the backward pass: 13 (features, features) matrices a head, and nothing of (length, features).

    Args:
        conv_kernel: taps of the convolution over positions that the paper adds to help training, one filter a head: 35
            as in the method's own LRA runs, another odd number, or 0 for none. The filters start as the official code's
            do, which leaves them to ``torch.nn.Conv2d``: uniform between -1 and 1 over the root of ``conv_kernel``. The
            paper's released code has none.
    """

    approximation: ClassVar[dict[str, Any]] = {"conv_kernel": 0}
    reference = "Xiong et al. 2021, arXiv 2102.03902"

    def __init__(self, *, conv_kernel: int = 35, **common: Any) -> None:
        super().__init__(**common)
        if conv_kernel < 0 or (conv_kernel and conv_kernel % 2 == 0):
            raise ValueError(f"conv_kernel must be odd, or 0 for no convolution, not {conv_kernel}")
        self.taps: nn.Parameter | None = None
        if conv_kernel and not self.released:
            self.taps = nn.Parameter(torch.empty(self.heads, conv_kernel).uniform_(-1, 1) / math.sqrt(conv_kernel))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        dtype = value.dtype
        core = torch.promote_types(dtype, torch.float32)
        if value.device.type == "cuda":
            core = core if self.released else dtype
        attention = released_nystrom if self.released else nystrom
        with torch.autocast(value.device.type, enabled=False):
            padded = ~mask[:, None, :, None]
            query, key, value = (tensor.to(core).masked_fill(padded, 0) for tensor in (query, key, value))
            mask = mask | ~mask.any(1, keepdim=True)  # all padding: all its zeros are looked at
            if query.shape[2] <= self.features:
                output = exact.attend(query, key, value, mask)
            else:
                output = attention(query, key, value, mask, self.features)
            if self.taps is not None:
                output = output + convolve(value, self.taps.to(core))
        return output.to(dtype)

    def multiply_adds(self, length: int) -> int:
        """4 n d p + 11 d^3 + 20 d^2 p, the convolution apart; 2 n^2 p where n <= d, which gets exact attention."""
        count, size = self.features, self.head_dim
        if length <= count:
            return 2 * length * length * size
        return 4 * length * count * size + 11 * count**3 + 20 * count**2 * size


def nystrom(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, landmarks: int) -> Tensor:
    """The paper's approximation; exact attention for a sequence of at most ``landmarks`` real tokens.

    In half precision the landmarks are rounded first, so that all three softmaxes are of the same ones: the inverse
    makes much of small differences.
    """
    wide = torch.promote_types(value.dtype, torch.float32)
    positions, inside, segment, place = segments(mask, landmarks)
    query_landmarks, key_landmarks = (segment_means(tensor, positions, inside, place) for tensor in (query, key))
    used = inside[:, :, 0]  # (batch, landmarks)
    kernel = landmark_kernel(query_landmarks.to(wide), key_landmarks.to(wide), used[:, None, None])
    summaries = exact.attend(query_landmarks, key, value, mask)
    on_tensor_cores = value.device.type != "cpu" and wide != value.dtype
    summaries = apply_inverse(kernel, summaries.to(wide), on_tensor_cores).to(value.dtype)
    one_each = mask.sum(1) <= landmarks
    first = permute(value, positions[:, None, None, :, 0], segment[:, None, None])[:, :, 0]
    summaries = torch.where(one_each[:, None, None, None], first, summaries)
    return exact.attend(query, key_landmarks, summaries, used)  # summaries: (batch, heads, landmarks, head_dim)


def released_nystrom(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, landmarks: int) -> Tensor:
    """The paper's released code: padding enters the landmark means, one norm of the whole batch scales every start."""
    if (length := query.shape[2]) % landmarks:
        raise ValueError(f"the released nystrom needs a length divisible by its {landmarks} landmarks, not {length}")
    query_landmarks, key_landmarks = (tensor.unflatten(2, (landmarks, -1)).mean(3) for tensor in (query, key))
    kernel = landmark_kernel(query_landmarks, key_landmarks)
    inverse = kernel.mT / kernel.sum(-2).amax()
    for _ in range(ITERATIONS):
        product = kernel @ inverse
        inverse = (13 * inverse - (15 * inverse - (7 * inverse - inverse @ product) @ product) @ product) / 4
    return exact.attend(query, key_landmarks, inverse @ exact.attend(query_landmarks, key, value, mask))


def segments(mask: Tensor, landmarks: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut each sequence's real tokens, in order, into ``landmarks`` segments whose sizes differ by at most one.

    Where there are fewer real tokens than landmarks, the first segments have one token and the others none.

    Returns:
        (batch, landmarks, width) positions of the tokens in the sequence, and whether they are inside the segment;
        positions outside mean nothing. An empty segment has nothing inside. Then, for each position of the sequence,
        (batch, length) the segment that its token is in, and its place among the landmarks x width; for padding they
        are any.
    """
    length = mask.shape[1]
    width = -(-length // landmarks)
    count = mask.cumsum(1)
    real = count[:, -1:]  # (batch, 1)
    cuts = torch.arange(landmarks + 1, device=mask.device) * real // real.clamp(max=landmarks)
    cuts = torch.minimum(cuts, real)  # (batch, landmarks + 1)
    ranks = cuts[:, :-1, None] + torch.arange(width, device=mask.device)
    positions = torch.searchsorted(count, (ranks + 1).flatten(1)).clamp(max=length - 1).view_as(ranks)
    rank = (count - 1).clamp(min=0)
    segment = torch.searchsorted(cuts[:, 1:].contiguous(), rank, right=True)
    return positions, ranks < cuts[:, 1:, None], segment, segment * width + rank - cuts.gather(1, segment)


def segment_means(tensor: Tensor, positions: Tensor, inside: Tensor, place: Tensor) -> Tensor:
    """(batch, heads, landmarks, head_dim) mean of ``tensor`` over each segment; 0 where it is empty.

    No gradient reaches padding, which must be masked before.
    """
    inside = inside[:, None, ..., None]  # (batch, 1, landmarks, width, 1)
    tokens = permute(tensor, positions.flatten(1)[:, None, None], place[:, None, None])[:, :, 0]
    tokens = tokens.unflatten(2, positions.shape[1:])
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return ((tokens * inside).sum(3, dtype=wide) / inside.sum(3).clamp(min=1)).to(tensor.dtype)


def landmark_kernel(query: Tensor, key: Tensor, used: Tensor | None = None) -> Tensor:
    """(batch, heads, landmarks, landmarks) softmax over the ``used`` landmark keys."""
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    return (logits if used is None else logits.masked_fill(~used, -torch.inf)).softmax(-1)


def apply_inverse(kernel: Tensor, vectors: Tensor, on_tensor_cores: bool = False) -> Tensor:
    """Z_6 ``vectors`` for the paper's iteration Z_k+1 = (13 I - X_k (15 I - X_k (7 I - X_k))) Z_k / 4, X_k = Z_k A.

    It starts at Z_0 = A^T / (||A||_1 ||A||_inf), the second norm being 1: the rows of A = ``kernel`` are softmaxes.
    So X_0 is symmetric with eigenvalues in [0, 1], and every X_k is a polynomial of it that stays there: X_k+1 follows
    from X_k alone, and no Z_k need be formed, its factors being applied to the vectors. That is 11 products of square
    matrices instead of 24, and on the way back 12 instead of 48. It costs about a digit of float32.

    Args:
        kernel: (batch, heads, landmarks, landmarks)
        vectors: (batch, heads, landmarks, head_dim)
        on_tensor_cores: multiply by :func:`tensor_core_product`; outputs are then good to about 5e-3, as is bfloat16.
    """
    shape = vectors.shape
    multiply = Product.apply if on_tensor_cores else torch.bmm
    kernel, vectors = kernel.flatten(0, 1), vectors.flatten(0, 1)
    start = kernel.mT / kernel.sum(-2, keepdim=True).amax(-1, keepdim=True)
    product, vectors = multiply(start, kernel), multiply(start, vectors)
    for step in range(ITERATIONS):
        if step:
            product = NextProduct.apply(product, on_tensor_cores)  # type: ignore[no-untyped-call]
        if on_tensor_cores:
            vectors = Factor.apply(product, vectors)  # type: ignore[no-untyped-call]
        else:
            *_, vectors = apply_factor(product, vectors, torch.bmm)
    return vectors.view(shape)


def apply_factor(product: Tensor, vectors: Tensor, multiply: Multiply) -> tuple[Tensor, Tensor, Tensor]:
    """V_1 = 7 V - X V, V_2 = 15 V - X V_1 and (13 V - X V_2) / 4, the ``vectors`` V times a factor of Z_6."""
    first = 7 * vectors - multiply(product, vectors)
    second = 15 * vectors - multiply(product, first)
    return first, second, (13 * vectors - multiply(product, second)) / 4


@custom_op("lra::tensor_core_product", mutates_args=())
def tensor_core_product(first: Tensor, second: Tensor) -> Tensor:
    """The product of float32 matrices (batch, n, k) and (batch, k, m), whose factors a GPU rounds to TF32, to 2^-11."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        return torch.bmm(first, second)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@tensor_core_product.register_fake
def _(first: Tensor, second: Tensor) -> Tensor:
    return first.new_empty(first.shape[0], first.shape[1], second.shape[2])


class Product(torch.autograd.Function):
    """:func:`tensor_core_product`, both ways."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        return tensor_core_product(first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        first, second = ctx.saved_tensors
        return tensor_core_product(gradient, second.mT), tensor_core_product(first.mT, gradient)


class Factor(torch.autograd.Function):
    """:func:`apply_factor` on tensor cores, whose three gradients of the matrix are one product and no sum."""

    @staticmethod
    def forward(ctx: Any, product: Tensor, vectors: Tensor) -> Tensor:
        first, second, output = apply_factor(product, vectors, tensor_core_product)
        ctx.save_for_backward(product, vectors, first, second)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        product, vectors, first, second = ctx.saved_tensors
        back = product.mT
        last = gradient / -4
        of_second = tensor_core_product(back, last)
        of_first = -tensor_core_product(back, of_second)
        of_vectors = -tensor_core_product(back, of_first) + 7 * of_first + 15 * of_second - 13 * last
        left = torch.cat([last, -of_second, -of_first], 2)
        return tensor_core_product(left, torch.cat([second, first, vectors], 2).mT), of_vectors


class NextProduct(torch.autograd.Function):
    """f(X) = (13 X - X^2 (X^2 - 7 X + 15 I)) / 4 of symmetric (batch, n, n) matrices, in two products each way.

    With a and b for a factor X to the left and to the right of the upstream gradient, made symmetric, the gradient is
    (f(a) - f(b)) / (a - b) = (27/8 - (a + b - 7/2) (w(a) + w(b))) / 4, where w(a) = a^2 - 7/2 a + 11/8.
    """

    @staticmethod
    def forward(ctx: Any, product: Tensor, on_tensor_cores: bool) -> Tensor:
        ctx.on_tensor_cores = on_tensor_cores
        square = tensor_core_product(product, product) if on_tensor_cores else product @ product
        ctx.save_for_backward(product, square)
        rest = torch.sub(square, product, alpha=7)
        rest.diagonal(dim1=1, dim2=2).add_(15)
        return multiply_add(product, square, rest, 13 / 4, -1 / 4, on_tensor_cores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        product, square = ctx.saved_tensors
        gradient = gradient + gradient.mT  # twice the symmetric part
        right = tensor_core_product(gradient, product) if ctx.on_tensor_cores else gradient @ product
        inner = (right + right.mT).sub_(gradient, alpha=7 / 2)
        weight = torch.sub(square, product, alpha=7 / 2)
        weight.diagonal(dim1=1, dim2=2).add_(11 / 8)
        outer = multiply_add(gradient, inner, weight, 27 / 128, -1 / 8, ctx.on_tensor_cores)
        return outer + outer.mT, None


def multiply_add(
    base: Tensor, first: Tensor, second: Tensor, beta: float, alpha: float, on_tensor_cores: bool
) -> Tensor:
    """beta ``base`` + alpha ``first`` ``second``."""
    if on_tensor_cores:
        return torch.add(beta * base, tensor_core_product(first, second), alpha=alpha)
    return torch.baddbmm(base, first, second, beta=beta, alpha=alpha)


def convolve(value: Tensor, taps: Tensor, block: int = 32) -> Tensor:
    """Each head's filter ``taps`` (heads, taps) over the positions of ``value``, zeros beyond its ends.

    Written as products of a band matrix with blocks of positions, three times as fast on a CPU as a grouped ``conv2d``.
    Each sequence has a product of its own: the gradient of the band is then many small products and a sum, where one
    long product would keep but a few of a GPU's processors busy.
    """
    length, reach = value.shape[2], taps.shape[1] - 1
    after = reach // 2 + -length % block
    windows = pad(value, (0, 0, reach // 2, after)).unfold(2, block + reach, block)
    band = pad(taps, (block - 1, block - 1)).unfold(1, block + reach, 1).flip(1)  # (heads, block, block + reach)
    blocks = band @ windows.movedim(-1, 2).flatten(3)  # (batch, heads, block, blocks * head_dim)
    return blocks.unflatten(3, (-1, value.shape[3])).transpose(2, 3).flatten(2, 3)[:, :, :length]
