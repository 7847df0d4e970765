"""One way to compile a method in the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn


def compiled(module: nn.Module) -> Callable[..., torch.Tensor]:
    """``module`` compiled in one graph, which fails where its forward pass waits for the device to read a value."""
    # All methods share the code of ``Attention.forward``, whose recompilations the process counts together: with
    # several files in one worker the count would reach the compiler's limit.
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")


def compiles_for_two_lengths(
    module: nn.Module, inputs: Callable[[int, torch.dtype], Sequence[torch.Tensor]], backend: str = "aot_eager"
) -> None:
    """One graph for all lengths, in training and evaluation, with the outputs and gradients of the plain module.

    Args:
        module: an attention whose training passes are functions of torch's random state.
        inputs: makes leaves query, key and value, and a mask, of a length and a type.
        backend: of torch.compile; "eager" traces the forward pass alone.
    """
    torch._dynamo.reset()
    fast = torch.compile(module, fullgraph=True, dynamic=True, backend=backend)
    for training in (True, False):
        module.train(training)
        state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        for length in (65, 130):
            results = []
            for run in (fast, module):
                module.load_state_dict(state)
                torch.manual_seed(length)
                leaves = inputs(length, torch.float32)
                torch.manual_seed(length)
                with torch.set_grad_enabled(training):
                    output = run(*leaves)
                if training:
                    output.sum().backward()
                results.append([output.detach(), *(leaf.grad for leaf in leaves[:3] if training)])
            for plain, traced in zip(*results, strict=True):
                torch.testing.assert_close(plain, traced)
