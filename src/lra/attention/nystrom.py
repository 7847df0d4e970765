"""Nystromformer: softmax attention rebuilt from landmarks (Xiong et al. 2021, arXiv 2102.03902)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad, scaled_dot_product_attention

from lra.attention.contract import Attention, Draws

ITERATIONS = 6


class Nystrom(Attention):
    """softmax(Q Kl^T / sqrt(p)) Z softmax(Ql K^T / sqrt(p)) V, plus a depthwise convolution of V.

    The landmarks Ql and Kl are means over ``features`` segments of a sequence's real tokens, in order and as equal as
    can be; Z is the sixth iterate towards the pseudo-inverse of softmax(Ql Kl^T / sqrt(p)). A sequence of no more real
    tokens than landmarks has one token a landmark, where a true inverse makes the product softmax attention itself: it
    gets exactly that.

    Memory kept for the backward pass: 13 (features, features) matrices a head, and nothing of (length, features).

    Args:
        conv_kernel: taps of the convolution over positions that the paper adds to help training, one filter a head: 35
            as in the method's own LRA runs, another odd number, or 0 for none. The filters start at zero, so that an
            untrained layer is the Nystrom approximation alone. The paper's released code has none.
    """

    reference = "Xiong et al. 2021, arXiv 2102.03902"

    def __init__(self, *, conv_kernel: int = 35, **common: Any) -> None:
        super().__init__(**common)
        if conv_kernel < 0 or (conv_kernel and conv_kernel % 2 == 0):
            raise ValueError(f"conv_kernel must be odd, or 0 for no convolution, not {conv_kernel}")
        has_taps = conv_kernel > 0 and not self.released
        self.taps = nn.Parameter(torch.zeros(self.heads, conv_kernel)) if has_taps else None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        dtype = value.dtype
        core = torch.promote_types(dtype, torch.float32)  # the inverse needs it
        attention = released_nystrom if self.released else nystrom
        with torch.autocast(value.device.type, enabled=False):
            padded = ~mask[:, None, :, None]
            query, key, value = (tensor.to(core).masked_fill(padded, 0) for tensor in (query, key, value))
            mask = mask | ~mask.any(1, keepdim=True)  # all padding: all its zeros are looked at
            if query.shape[2] <= self.features:
                output = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
            else:
                output = attention(query, key, value, mask, self.features)
            if self.taps is not None:
                output = output + convolve(value, self.taps.to(core))
        return output.to(dtype)

    def multiply_adds(self, length: int) -> int:
        """4 n d p; 2 n^2 p where n <= d, which gets exact attention."""
        return (2 * length if length <= self.features else 4 * self.features) * length * self.head_dim


def nystrom(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, landmarks: int) -> Tensor:
    """The paper's approximation; exact attention for a sequence of at most ``landmarks`` real tokens."""
    positions, inside = segments(mask, landmarks)
    query_landmarks = segment_means(query, positions, inside)
    key_landmarks = segment_means(key, positions, inside)
    used = inside[:, None, None, :, 0]  # (batch, 1, 1, landmarks)
    kernel = landmark_kernel(query_landmarks, key_landmarks, used)
    summaries = scaled_dot_product_attention(query_landmarks, key, value, attn_mask=mask[:, None, None, :])
    summaries = apply_inverse(kernel, summaries)  # (batch, heads, landmarks, head_dim)
    one_each = mask.sum(1) <= landmarks
    summaries = torch.where(one_each[:, None, None, None], rows(value, positions[:, :, 0]), summaries)
    return scaled_dot_product_attention(query, key_landmarks, summaries, attn_mask=used)


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
    summaries = scaled_dot_product_attention(query_landmarks, key, value, attn_mask=mask[:, None, None, :])
    return scaled_dot_product_attention(query, key_landmarks, inverse @ summaries)


def segments(mask: Tensor, landmarks: int) -> tuple[Tensor, Tensor]:
    """Cut each sequence's real tokens, in order, into ``landmarks`` segments whose sizes differ by at most one.

    Where there are fewer real tokens than landmarks, the first segments have one token and the others none.

    Returns:
        (batch, landmarks, width) positions of the tokens in the sequence, and whether they are inside the segment;
        positions outside mean nothing. An empty segment has nothing inside.
    """
    length = mask.shape[1]
    count = mask.cumsum(1)
    real = count[:, -1:]  # (batch, 1)
    cuts = torch.arange(landmarks + 1, device=mask.device) * real // real.clamp(max=landmarks)
    cuts = torch.minimum(cuts, real)  # (batch, landmarks + 1)
    ranks = cuts[:, :-1, None] + torch.arange(-(-length // landmarks), device=mask.device)
    positions = torch.searchsorted(count, (ranks + 1).flatten(1)).clamp(max=length - 1).view_as(ranks)
    return positions, ranks < cuts[:, 1:, None]


def segment_means(tensor: Tensor, positions: Tensor, inside: Tensor) -> Tensor:
    """(batch, heads, landmarks, head_dim) mean of ``tensor`` over each segment; 0 where it is empty."""
    inside = inside[:, None, ..., None]  # (batch, 1, landmarks, width, 1)
    tokens = rows(tensor, positions.flatten(1)).unflatten(2, positions.shape[1:])
    return (tokens * inside).sum(3) / inside.sum(3).clamp(min=1)


def rows(tensor: Tensor, positions: Tensor) -> Tensor:
    """(batch, heads, count, head_dim): the rows of ``tensor`` at each sequence's (batch, count) positions."""
    return tensor.gather(2, positions[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3]))


def landmark_kernel(query: Tensor, key: Tensor, used: Tensor | None = None) -> Tensor:
    """(batch, heads, landmarks, landmarks) softmax over the ``used`` landmark keys."""
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    return (logits if used is None else logits.masked_fill(~used, -torch.inf)).softmax(-1)


def apply_inverse(kernel: Tensor, vectors: Tensor) -> Tensor:
    """Z_6 ``vectors`` for the paper's iteration Z_k+1 = (13 I - X_k (15 I - X_k (7 I - X_k))) Z_k / 4, X_k = Z_k A.

    It starts at Z_0 = A^T / (||A||_1 ||A||_inf), the second norm being 1: the rows of A = ``kernel`` are softmaxes.
    So X_0 is symmetric with eigenvalues in [0, 1], and every X_k is a polynomial of it that stays there: X_k+1 follows
    from X_k alone, and no Z_k need be formed, its factors being applied to the vectors. That is 11 products of square
    matrices instead of 24, and on the way back 12 instead of 48. It costs about a digit of float32.

    Args:
        kernel: (batch, heads, landmarks, landmarks)
        vectors: (batch, heads, landmarks, head_dim)
    """
    shape = vectors.shape
    kernel, vectors = kernel.flatten(0, 1), vectors.flatten(0, 1)
    start = kernel.mT / kernel.sum(-2, keepdim=True).amax(-1, keepdim=True)
    product, vectors = start @ kernel, start @ vectors
    for step in range(ITERATIONS):
        if step:
            product = NextProduct.apply(product)  # type: ignore[no-untyped-call]
        vectors = (13 * vectors - product @ (15 * vectors - product @ (7 * vectors - product @ vectors))) / 4
    return vectors.view(shape)


class NextProduct(torch.autograd.Function):
    """f(X) = (13 X - X^2 (X^2 - 7 X + 15 I)) / 4 of symmetric (batch, n, n) matrices, in two products each way.

    With a and b for a factor X to the left and to the right of the upstream gradient, made symmetric, the gradient is
    (f(a) - f(b)) / (a - b) = (27/8 - (a + b - 7/2) (w(a) + w(b))) / 4, where w(a) = a^2 - 7/2 a + 11/8.
    """

    @staticmethod
    def forward(ctx: Any, product: Tensor) -> Tensor:
        square = product @ product
        ctx.save_for_backward(product, square)
        rest = torch.sub(square, product, alpha=7)
        rest.diagonal(dim1=1, dim2=2).add_(15)
        return torch.baddbmm(product, square, rest, beta=13 / 4, alpha=-1 / 4)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        product, square = ctx.saved_tensors
        gradient = gradient + gradient.mT  # twice the symmetric part
        right = gradient @ product
        inner = (right + right.mT).sub_(gradient, alpha=7 / 2)
        weight = torch.sub(square, product, alpha=7 / 2)
        weight.diagonal(dim1=1, dim2=2).add_(11 / 8)
        outer = torch.baddbmm(gradient, inner, weight, beta=27 / 128, alpha=-1 / 8)
        return outer + outer.mT


def convolve(value: Tensor, taps: Tensor, block: int = 32) -> Tensor:
    """Each head's filter ``taps`` (heads, taps) over the positions of ``value``, zeros beyond its ends.

    Written as products of a band matrix with blocks of positions, three times as fast on a CPU as a grouped ``conv2d``.
    """
    length, reach = value.shape[2], taps.shape[1] - 1
    after = reach // 2 + -length % block
    windows = pad(value, (0, 0, reach // 2, after)).unfold(2, block + reach, block)
    band = pad(taps, (block - 1, block - 1)).unfold(1, block + reach, 1).flip(1)  # (heads, block, block + reach)
    return torch.einsum("hiw,bhspw->bhsip", band, windows).flatten(2, 3)[:, :, :length]
