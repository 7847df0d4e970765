"""The device of a job: its choice, one GPU for each run, determinism, and its description in results.

Jobs of one machine agree on GPUs through locks on files, which end with their process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import torch

from lra.errors import LraError, device_fault, is_out_of_memory
from lra.files import lock

RUNS_PER_GPU = "LRA_RUNS_PER_GPU"
"""Environment variable: number of runs that share a GPU, 1 by default. It is no key of config.yaml, because it does not
change results."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt: free bytes at the end of its memory that are given back, and bytes of a block of its
own, which is given back when it is freed."""


@contextlib.contextmanager
def own_gpu(folder: Path | None = None, poll_seconds: float = 1) -> Iterator[None]:
    """Make the first free GPU the current CUDA device; wait while none is free. Where there is no GPU, do nothing.

    Args:
        folder: where the locks are; by default one for each user in the system's folder for temporary files.
        poll_seconds: time between looks at the locks.

    Raises:
        LraError: ``LRA_RUNS_PER_GPU`` is no positive whole number.
    """
    names = gpu_names()
    if not names:
        yield
        return
    folder = folder or Path(tempfile.gettempdir(), f"lra-gpus-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    # The least loaded GPU first: the first slot of every GPU, then the second slots.
    places = [(index, folder / f"{name}.{run}") for run in range(runs_per_gpu()) for index, name in enumerate(names)]
    if (found := _take_first(places)) is None:
        print("waiting for a free GPU", file=sys.stderr, flush=True)
    while found is None:
        time.sleep(poll_seconds)
        found = _take_first(places)
    index, file = found
    with file:
        torch.cuda.set_device(index)
        yield


def gpu_names() -> list[str]:
    """A unique name of each GPU that this process can use, in CUDA's order.

    The number is not unique: a cluster shows each job its own GPU as number 0.
    """
    if not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_properties(i).uuid) for i in range(torch.cuda.device_count())]


def runs_per_gpu() -> int:
    """The value of ``LRA_RUNS_PER_GPU``."""
    given = os.environ.get(RUNS_PER_GPU, "1")
    if not given.isdecimal() or int(given) < 1:
        raise LraError(f"{RUNS_PER_GPU} is {given!r}; set it to how many runs may share a GPU, e.g. 1, or unset it.")
    return int(given)


def _take_first(places: Sequence[tuple[int, Path]]) -> tuple[int, IO[str]] | None:
    for index, path in places:
        file = path.open("w")
        if lock(file, wait=False):
            return index, file
        file.close()
    return None


def default_device() -> torch.device:
    """The GPU, after it has run a kernel; the CPU if there is no GPU.

    Raises:
        LraError: the GPU cannot be used: this torch has no code for it, another process holds it, it is broken.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run_tiny_kernel(device)
    return device


def run_tiny_kernel(device: torch.device) -> None:
    """Add two numbers on a device.

    Raises:
        LraError: the device cannot be used.
    """
    try:
        (torch.ones(1, device=device) + 1).item()
    except RuntimeError as problem:
        fault = device_fault(problem)
        if fault is None and is_out_of_memory(problem):
            fault = LraError("the GPU has no memory left for another process; end one, or choose another GPU.")
        raise fault or problem from problem


def prepare_cpu(threads: int) -> None:
    """Let torch use so many threads, and let glibc keep freed memory for the next tensors.

    By default glibc gives the memory of large tensors back to the system, which clears it before it hands it out again;
    that takes up to a fifth of the time of a small model. Other C libraries are left as they are.
    """
    torch.set_num_threads(threads)
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 1 << 25)  # glibc's limit; larger tensors still get memory of their own
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def make_deterministic() -> None:
    """Restrict torch to deterministic operations; it raises if an operation has no deterministic form.

    Call this before the first matrix product: cuBLAS reads its variable when it starts.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # fixed, because another workspace can change rounding
    torch.use_deterministic_algorithms(True)
    # By default, torch fills every new tensor with NaN, to reveal code that reads before it writes.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def machine(device: torch.device, threads: int) -> dict[str, Any]:
    """The machine and versions that the numbers of a run depend on, besides code, data and settings."""
    packages = ("torch", "numpy", "pyarrow")
    card: dict[str, Any] = {}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        card = {"memory_bytes": memory, "cuda": torch.version.cuda, "driver": _driver()}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": threads,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in packages},
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        **card,
    }


def _driver(told: Path = Path("/proc/driver/nvidia/version")) -> str:
    """Version of the GPU's driver, as Linux reports it."""
    try:
        return next(word for word in told.read_text().split() if word[0].isdigit() and "." in word)
    except (OSError, StopIteration):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> int:
    """Peak bytes since the process began: of CUDA's allocator, or of the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
