"""Skyformer (Chen et al. 2021): a Gaussian kernel in place of softmax, approximated by Nystrom's method."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from lra.attention.contract import Attention, Draws


class Skyformer(Attention):
    """kappa(Q, W) (kappa(W, W) + gamma I)^-1 kappa(W, K) V, with kappa(x, y) = exp(-|x - y|^2 / (2 sqrt(p))).

    W are d landmarks, drawn without replacement from the sequence's own queries and keys together (section 4.1): the
    matrix of kappa over [Q; K] is positive semidefinite, so Nystrom's method applies to it, and kappa(Q, K) is one of
    its blocks. The inverse is a Newton-Schulz iteration on a matrix whose eigenvalues are scaled into (0, 1] by its row
    sums (section 4.2). Rows are not normalised. A sequence with at most d / 2 tokens has all its rows as landmarks.

    Args:
        iterations: of the inverse.
        gamma: added to the diagonal of kappa(W, W).

    Raises:
        ValueError: there is no iteration, or ``gamma`` is not positive.
    """

    random = True
    reference = "Chen et al. 2021, arXiv 2111.00035"

    def __init__(self, *, iterations: int = 6, gamma: float = 1e-3, **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {iterations}")
        if gamma <= 0:
            raise ValueError(f"gamma must be positive, not {gamma}")
        self.iterations = iterations
        self.gamma = gamma
        self.register_noise("query_landmarks", self.max_length)
        self.register_noise("key_landmarks", self.max_length)

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """``landmarks`` (batch, min(d, 2 length)): indices into [Q; K], of real tokens first."""
        noise = [self.token_noise(f"{kind}_landmarks", mask, generator) for kind in ("query", "key")]
        rank = torch.where(mask.repeat(1, 2), torch.cat(noise, dim=1), -1)
        return {"landmarks": rank.topk(min(self.features, rank.shape[1])).indices}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        scale = self.head_dim**-0.25
        query, key = (tensor.float() * scale for tensor in (query, key))
        landmarks = draws["landmarks"]
        real = mask.repeat(1, 2).gather(1, landmarks)[:, None, :, None]  # (batch, 1, d, 1)
        index = landmarks[:, None, :, None].expand(-1, self.heads, -1, self.head_dim)
        chosen = torch.cat([query, key], dim=2).gather(2, index)  # (batch, heads, d, head_dim)
        both = real & real.transpose(-1, -2)
        identity = torch.eye(real.shape[2], dtype=query.dtype, device=mask.device)
        among = torch.where(both, gaussian(chosen, chosen), 0) + self.gamma * identity
        from_query = torch.where(real.transpose(-1, -2), gaussian(query, chosen), 0)  # (batch, heads, length, d)
        to_key = torch.where(real & mask[:, None, None, :], gaussian(chosen, key), 0)  # (batch, heads, d, length)
        weighted = to_key @ value.masked_fill(~mask[:, None, :, None], 0).float()
        return (from_query @ (invert(among, self.iterations) @ weighted)).to(value.dtype)

    def multiply_adds(self, length: int) -> int:
        """Both kernels and their products with values, 4 n d p, and the inverse: 2 products a step, d^3 each."""
        size = min(self.features, 2 * length)
        return 4 * length * size * self.head_dim + 2 * self.iterations * size**3


def gaussian(x: Tensor, y: Tensor) -> Tensor:
    """exp(-|x_i - y_j|^2 / 2) of the rows of (..., rows, p) and (..., columns, p)."""
    squares = x.square().sum(-1, keepdim=True) + y.square().sum(-1).unsqueeze(-2) - 2 * x @ y.transpose(-1, -2)
    return (squares.clamp(min=0) / -2).exp()


def invert(matrix: Tensor, iterations: int) -> Tensor:
    """The inverse of symmetric positive definite matrices with non-negative entries, (..., d, d), approximately.

    With D the row sums, D^-1/2 M D^-1/2 has its eigenvalues in (0, 1], where the Newton-Schulz iteration
    Z <- Z (2 I - M Z) from Z = I converges.
    """
    scale = matrix.sum(-1, keepdim=True).rsqrt()
    matrix = scale * matrix * scale.transpose(-1, -2)
    twice = 2 * torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    inverse = twice / 2
    for _ in range(iterations):
        inverse = inverse @ (twice - matrix @ inverse)
    return scale * inverse * scale.transpose(-1, -2)
