"""The Triton kernels as a GPU's compiler takes them: Triton compiles for a GPU that is not there."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("triton")

COMPILE = """
import inspect, itertools, pathlib, re, subprocess, tempfile
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lra.attention import kernels
from lra.attention.launching import forward_tile, key_tile, query_tile

KERNELS = {kernels.forward_kernel: forward_tile, kernels.query_kernel: query_tile, kernels.key_kernel: key_tile}
FLOATS = {"bias", "peak", "largest", "product", "of_peak", "bias_gradient"}
HALVES = {"query", "key", "value", "output", "upstream", "gradient", "key_gradient", "value_gradient"}
BLOCK = 64
INSPECTOR = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"


def spilled(binary):
    # bytes of a thread's registers that go to memory
    with tempfile.NamedTemporaryFile() as file:
        file.write(binary)
        file.flush()
        usage = subprocess.run([INSPECTOR, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return re.search("STACK:([0-9]+)", usage)[1]


def kind(name, constants):
    types = {"seed": "*i64", "listed": "*i32", "counts": "*i32", "scale": "fp32", "raised": "fp32"}
    types |= dict.fromkeys(FLOATS, "*fp32") | dict.fromkeys(HALVES, "*bf16") | dict.fromkeys(constants, "constexpr")
    return types.get(name, "i32")


cases = itertools.product(((80, 32), (90, 32), (90, 128)), KERNELS.items(), ((False, 0), (True, 0), (False, BLOCK)))
largest = ((90, 32), (kernels.largest_kernel, forward_tile), (False, 0))
for (capability, padded), (kernel, tiles), (drops, block) in (*cases, largest):
    tile = tiles(2048, 2048, padded, capability // 10)
    rows, columns = min(tile.rows, block or tile.rows), min(tile.columns, block or tile.columns)
    constants = {"SIZE": padded, "WIDTH": padded, "PADDED": padded, "ROWS": rows, "COLUMNS": columns}
    constants |= {"BLOCK": block, "DROPS": drops} | ({} if drops else {"seed": None})
    constants |= {} if block else {"listed": None, "counts": None}
    names = list(inspect.signature(kernel.fn).parameters)
    constants = {name: value for name, value in constants.items() if name in names}
    signature = {name: kind(name, constants) for name in names}
    fixed = {(names.index(name),): value for name, value in constants.items()}
    # Addresses, steps and lengths are multiples of 16, as at usual sizes: only then are loads made ahead, into memory.
    whole = [name for name in names if name not in (*constants, "scale", "raised", "least", "heads")]
    attributes = {(names.index(name),): [["tt.divisibility", 16]] for name in whole}
    source = ASTSource(fn=kernel, signature=signature, constexprs=fixed, attrs=attributes)
    options = {"num_warps": tile.warps, "num_stages": tile.stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ahead = compiled.asm["ptx"].count("cp.async.cg")
    found = spilled(compiled.asm["cubin"]), ahead, compiled.metadata.shared
    print(capability, kernel.fn.__name__, padded, drops, block, *found)
"""
SHARED = {"80": 163, "90": 227}
"""KiB of shared memory that a program can have, by compute capability (an A100's and an H100's)."""


@pytest.mark.slow
@pytest.mark.long
def test_kernels_compile_and_fit() -> None:
    """For an A100 and an H100, small heads and the largest, with dropout, without, and with lists of blocks.

    With lists, too, the next keys are loaded while a program computes with those before. The model's heads, of 32,
    leave next to nothing that registers do not hold; the large tile of an H100 would on an A100.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env={"TRITON_INTERPRET": "0", "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert len(found) == 28
    assert all(int(shared) <= 1024 * SHARED[capability] for capability, *_, shared in found), found
    assert all(int(ahead) for *_, ahead, _ in found), "loads wait for each other"
    assert all(int(spilled) <= 16 for _, _, padded, *_, spilled, _, _ in found if padded == "32"), found
