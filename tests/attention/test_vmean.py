from __future__ import annotations

import pytest
import torch

from lra.attention.checking import inputs, masks
from lra.attention.vmean import VMean


@pytest.mark.parametrize("kind", ["full", "prefix", "holes", "single"])
@pytest.mark.parametrize("length", [1, 2, 65])
def test_every_row_is_the_mean_of_the_real_values(length: int, kind: str) -> None:
    query, key, value = (tensor.double() for tensor in inputs(length))
    mask = masks(length)[kind]
    gradient = torch.randn_like(value)
    output = VMean(heads=2, head_dim=8, max_length=length)(query, key, value.requires_grad_(), mask)
    (found,) = torch.autograd.grad(output, value, gradient)
    for row, real in enumerate(mask):
        mean = torch.stack([value[row, :, i] for i in range(length) if real[i]]).mean(0)  # (heads, head_dim)
        share = gradient[row].sum(1) / int(real.sum())
        for i in range(length):
            torch.testing.assert_close(output[row, :, i], mean)
            torch.testing.assert_close(found[row, :, i], share * real[i])


def test_half_precision_counts_long_sequences() -> None:
    """A sum of 4096 ones in bfloat16 would end at 256."""
    ones = torch.ones(1, 1, 4096, 1, dtype=torch.bfloat16)
    mask = torch.ones(1, 4096, dtype=torch.bool)
    assert VMean(heads=1, head_dim=1, max_length=4096)(ones, ones, ones, mask)[0, 0, 0, 0] == 1
