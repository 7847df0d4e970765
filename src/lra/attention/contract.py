"""The contract of every attention.

Shapes throughout: ``query``, ``key``, ``value`` and the output are (batch, heads, length, head_dim); ``mask`` is
(batch, length) bool with True for a real token. Queries arrive unscaled: a method applies 1/sqrt(head_dim) itself. So
this is self-attention with as many key heads as query heads, not causal; anything else is refused in a sentence.

* A row of the batch never depends on another row, on the amount of padding, or on what the padding holds.
* Every random choice is a named entry of ``draws``, so that a forward pass is a function of its arguments.
* Outputs at padded positions are unspecified, but finite; so are gradients.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

Draws = dict[str, Tensor]

NOISE_BITS = 24
"""Uniform numbers are multiples of 2^-24, as torch draws them in float32."""


class Attention(nn.Module, ABC):
    """Base of all methods; a subclass defines :meth:`attend` and, where it is random, :meth:`draw`.

    Args:
        heads: number of heads.
        head_dim: size of one head, the paper's p.
        max_length: longest sequence that will be seen, the paper's n.
        features: the method's budget d: sampled columns, landmarks, projected length or random features.
        released: use the formula of the paper's released code where it departs from the method's own paper.
    """

    exact: ClassVar[bool] = False
    """The output is softmax attention itself."""
    linear: ClassVar[bool] = True
    """Time and memory grow linearly with the sequence length at a fixed number of features."""
    random: bool = False
    """The method makes random choices (:meth:`draw` is not empty); an option may settle whether it does."""
    uses_key: ClassVar[bool] = True
    """False where queries serve as keys, so that the model makes no key projection."""
    compares: ClassVar[bool] = True
    """False if the method compares no query with a key, so that rotary positions would have no meaning."""
    cross_attention: ClassVar[bool] = False
    """Keys may be more or fewer than queries; ``mask`` is then (batch, keys)."""
    fixed_length: ClassVar[bool] = False
    """True where sequences must be padded to ``max_length`` (a learned projection over positions)."""
    approximation: ClassVar[dict[str, Any]] = {}
    """Options that leave out what a method adds to its approximation of softmax attention."""
    reference: ClassVar[str]
    """Where the method comes from."""

    def __init__(
        self, *, heads: int, head_dim: int, max_length: int, features: int = 256, released: bool = False
    ) -> None:
        super().__init__()
        for name, size in {
            "heads": heads,
            "head_dim": head_dim,
            "max_length": max_length,
            "features": features,
        }.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        self.heads = heads
        self.head_dim = head_dim
        self.max_length = max_length
        self.features = features
        self.released = released

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        """Make this pass's random choices.

        With a ``generator`` they come from it. Without one they come from torch's global state while training, and in
        evaluation from numbers that were drawn when the module was built and are saved with its weights: a prediction
        is a function of the weights and its own sequence.
        """
        return {}

    @abstractmethod
    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        """The attention output (batch, heads, length, head_dim) for the given random choices."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws | None = None) -> Tensor:
        """Attend; ``draws`` replays recorded random choices, by default they are made by :meth:`draw`.

        Self-attention with a (batch, length) bool mask, True for a real token, not causal. Padding should follow the
        tokens: for methods that go by a token's place, what goes before it shifts it.

        Raises:
            ValueError: an argument has another shape, type or device than the module was built for.
        """
        if not torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # shapes are tensors there
            self.refuse(query, key, value, mask)
        if draws is None:
            draws = self.draw(query, key, value, mask)
        return self.attend(query, key, value, mask, draws)

    def refuse(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> None:
        """Raise ValueError for arguments that would give a wrong result, or an obscure error of torch."""
        tensors = {"query": query, "key": key, "value": value}
        for name, tensor in tensors.items():
            shape = tensor.shape
            if len(shape) != 4 or shape[1] != self.heads or shape[3] != self.head_dim:
                built = f"(batch, heads, length, head_dim) = (batch, {self.heads}, length, {self.head_dim})"
                raise ValueError(f"{name} is {tuple(shape)}, but this attention was built for {built}")
            if not 1 <= shape[2] <= self.max_length:
                raise ValueError(f"a sequence of {shape[2]} tokens, but max_length is {self.max_length}")
        if query.shape[0] == 0:
            raise ValueError(f"query is {tuple(query.shape)}, a batch of no sequence")
        if key.shape != query.shape and not (self.cross_attention and key.shape[0] == query.shape[0]):
            what = "keys of the same batch as queries" if self.cross_attention else "self-attention, a key a query"
            raise ValueError(
                f"key is {tuple(key.shape)} and query {tuple(query.shape)}; {type(self).__name__} is {what}"
            )
        if value.shape != key.shape:
            raise ValueError(f"value is {tuple(value.shape)} and key {tuple(key.shape)}; expected one shape")
        expected = (key.shape[0], key.shape[2])  # not len, which torch.export takes for a constant
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != expected:
            given = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
            wanted = f"torch.bool {expected}, (batch, length) with True for a real token"
            raise ValueError(f"mask is {given}; expected {wanted}, and no causal or additive mask")
        types = {tensor.dtype for tensor in tensors.values()}
        mixed = len(types) > 1 and not torch.is_autocast_enabled(query.device.type)
        if mixed or not all(dtype.is_floating_point for dtype in types):
            listed = ", ".join(f"{name} {tensor.dtype}" for name, tensor in tensors.items())
            raise ValueError(f"{listed}; expected one floating point type, or autocast")
        own = itertools.chain(self._parameters.items(), self._buffers.items())
        for name, other in itertools.chain(tensors.items(), [("mask", mask)], own):
            if other is not None and other.device != query.device:
                raise ValueError(f"query is on {query.device}, but {name} on {other.device}; expected one device")

    @abstractmethod
    def multiply_adds(self, length: int) -> int:
        """Multiply-adds of the products of matrices, for one head and one sequence.

        The terms of the paper's table 3, and those that it leaves out though they count at usual sizes.
        """

    def register_noise(self, name: str, *size: int) -> None:
        """Reserve uniform numbers of this size per sequence; call it in ``__init__``, read them with :meth:`noise`.

        Those for evaluation are drawn here, from torch's global state, and belong to the state dict.
        """
        # Whole numbers, because converting a module to half precision rounds all of its floats.
        self.register_buffer(f"evaluation_{name}", torch.randint(1 << NOISE_BITS, size, dtype=torch.int32))

    def redraw_evaluation(self, generator: Generator) -> bool:
        """Draw other uniform numbers for evaluation; return whether the method has any."""
        fixed = [buffer for name, buffer in self.named_buffers(recurse=False) if name.startswith("evaluation_")]
        for buffer in fixed:
            buffer.copy_(torch.randint(1 << NOISE_BITS, buffer.shape, generator=generator, dtype=buffer.dtype))
        return bool(fixed)

    def fixed_noise(self, name: str) -> Tensor:
        """The uniform numbers in [0, 1) for evaluation, (size...) float32."""
        return self.get_buffer(f"evaluation_{name}").float() * 2.0**-NOISE_BITS

    def noise(self, name: str, batch: int, generator: Generator | None) -> Tensor:
        """Uniform numbers in [0, 1), (batch, size...) float32: fresh in training, fixed in evaluation."""
        fixed = self.get_buffer(f"evaluation_{name}")
        if generator is None and not self.training:
            return self.fixed_noise(name).expand(batch, *fixed.shape)
        # Not torch.rand: with a `generator`, be it None, it does not compile for batches of several sizes.
        fresh = torch.empty(batch, *fixed.shape, dtype=torch.float32, device=fixed.device)
        return fresh.uniform_(generator=generator)

    def token_noise(self, name: str, mask: Tensor, generator: Generator | None) -> Tensor:
        """:meth:`noise` whose last axis counts a sequence's real tokens: (batch, size..., length), at their positions.

        So a token's number does not depend on where padding stands. Padding holds numbers of other tokens.
        """
        noise = self.noise(name, mask.shape[0], generator)
        if generator is None and self.training:
            return noise[..., : mask.shape[1]]  # fresh numbers are as good in any order
        rank = mask.cumsum(-1).sub(1).clamp(min=0)  # (batch, length)
        rank = rank.view(mask.shape[0], *[1] * (noise.dim() - 2), -1)
        return noise.gather(-1, rank.expand(*noise.shape[:-1], -1))
