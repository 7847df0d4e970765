"""The Triton kernels as a GPU's compiler takes them: Triton compiles for a GPU that is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPILE = """
import inspect, itertools
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lra.attention import kernels
from lra.attention.fused import forward_tile, key_tile, query_tile

KERNELS = {kernels.forward_kernel: forward_tile, kernels.query_kernel: query_tile, kernels.key_kernel: key_tile}
FLOATS = {"bias", "peak", "product", "of_peak", "bias_gradient"}
HALVES = {"query", "key", "value", "output", "upstream", "gradient", "key_gradient", "value_gradient"}


def kind(name, constants):
    types = {"seed": "*i64", "scale": "fp32", "raised": "fp32"}
    types |= dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(constants, "constexpr")
    return types.get(name, "i32")


cases = itertools.product(((80, 32), (90, 32), (90, 128)), KERNELS.items(), (False, True))
for (capability, padded), (kernel, tiles), drops in cases:
    tile = tiles(2048, 2048, padded)
    constants = {"SIZE": padded, "WIDTH": padded, "PADDED": padded, "ROWS": tile.rows, "COLUMNS": tile.columns}
    constants |= {"DROPS": drops} | ({} if drops else {"seed": None})
    names = list(inspect.signature(kernel.fn).parameters)
    signature = {name: kind(name, constants) for name in names}
    fixed = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed)
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    print(capability, kernel.fn.__name__, padded, drops, compiled.metadata.shared)
"""
SHARED = {"80": 163, "90": 227}
"""KiB of shared memory that a program can have, by compute capability (an A100's and an H100's)."""


@pytest.mark.slow
@pytest.mark.long
def test_kernels_compile_and_fit() -> None:
    """For an A100 and an H100, small heads and the largest, with dropout and without."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env={"TRITON_INTERPRET": "0", "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == 18
    assert all(int(shared) <= 1024 * SHARED[capability] for capability, *_, shared in found), found
