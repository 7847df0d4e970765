"""One way to compile a method in the tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def compiled(module: nn.Module) -> Callable[..., torch.Tensor]:
    """``module`` compiled in one graph, which fails where its forward pass waits for the device to read a value."""
    # All methods share the code of ``Attention.forward``, whose recompilations the process counts together: with
    # several files in one worker the count would reach the compiler's limit.
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend="aot_eager")
