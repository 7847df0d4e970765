"""The error that users see, one sentence with the place, the problem and the fix; and the faults of devices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator


class LraError(Exception):
    """A mistake or a failure of the outside world; the command line prints its sentence without a traceback."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest allowed word, else an empty string; starts with a space."""
    near = difflib.get_close_matches(word, list(allowed), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


PROGRAM_ERRORS = ("device-side assert", "invalid argument", "invalid configuration argument")
"""CUDA errors that a method causes: an index out of range, or a kernel with an invalid launch."""
NO_THREAD = "can't start new thread"
"""What Python says where a limit of the system leaves no thread."""
MEMORY_ERRORS = ("out of memory", "allocate memory", "STATUS_ALLOC_FAILED")
GPU_ERRORS = (
    "CUDA error",
    "CUDA unknown error",
    "CUDA driver",
    "NVIDIA driver",
    "No CUDA GPUs",
    "cudaGetDeviceCount",
    "cuDNN error",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
    "cuFFT error",
    "CUSOLVER_STATUS",
    "cusolver error",
    "CUSPARSE_STATUS",
    "NCCL error",
    "HIP error",
    "Triton Error [CUDA]",
)
"""Parts of the messages of GPU errors that torch raises as plain RuntimeError."""
_OTHER_CODE = (
    "this torch has no code for this GPU; install a torch that was built for it, see pytorch.org, or set "
    "CUDA_VISIBLE_DEVICES= to use the CPU"
)
_NEWER_DRIVER = "install a driver that is new enough for this torch, or set CUDA_VISIBLE_DEVICES= to use the CPU"
REMEDIES = {
    "no kernel image": _OTHER_CODE,
    "invalid device function": _OTHER_CODE,
    "busy or unavailable": "another process holds the GPU; wait, or choose another GPU with CUDA_VISIBLE_DEVICES",
    "driver version": _NEWER_DRIVER,
    "NVIDIA driver": _NEWER_DRIVER,
    "unsupported toolchain": _NEWER_DRIVER,
    "ECC": "have the GPU checked (nvidia-smi -q), and choose another one with CUDA_VISIBLE_DEVICES",
}
"""Remedies for the faults of a GPU, by a part of the message."""


def chain(problem: BaseException) -> Iterator[BaseException]:
    """An exception and its chain of causes."""
    link: BaseException | None = problem
    while link is not None:
        yield link
        link = link.__cause__


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an accelerator, the CPU's allocator or Python ran out of memory."""
    return any(
        isinstance(link, MemoryError)
        or type(link).__name__ == "OutOfMemoryError"
        or (isinstance(link, RuntimeError) and any(words in str(link) for words in MEMORY_ERRORS))
        for link in chain(problem)
    )


def device_fault(problem: BaseException) -> LraError | None:
    """One sentence about a GPU fault and its remedy; None for other problems and for lack of memory.

    A fault of an unsupported, busy or broken GPU is no result of the method that ran on it.
    """
    if is_out_of_memory(problem):
        return None
    for link in chain(problem):
        told = (str(link).splitlines() or [""])[0].rstrip(".")
        named = any(kind.__name__ == "AcceleratorError" for kind in type(link).__mro__)
        if not isinstance(link, RuntimeError) or not (named or any(words in told for words in GPU_ERRORS)):
            continue
        if any(words in told for words in PROGRAM_ERRORS):
            return None
        remedy = next((remedy for words, remedy in REMEDIES.items() if words in told), None)
        remedy = remedy or "run the same command again, on another GPU (CUDA_VISIBLE_DEVICES) if that repeats"
        return LraError(f"the GPU failed ({told}): {remedy}.")
    return None


def reason_of(problem: Exception) -> str:
    """The cause of a method's crash in one line, for its row of a table.

    Raises:
        LraError: the environment is at fault (a GPU, a missing package, a limit of the system); such a failure is no
            row, because another attempt can succeed.
    """
    if (fault := device_fault(problem)) is not None:
        raise fault from problem
    told = (str(problem).splitlines() or [""])[0]
    for link in chain(problem):
        if (remedy := _remedy(link)) is not None:
            raise LraError(f"{told}; {remedy} and run the same command again.") from problem
    return f"{type(problem).__name__}: {told}"


def _remedy(problem: BaseException) -> str | None:
    """What to do about a package, a library, a file or a thread that the system does not give; None for the rest."""
    if isinstance(problem, ModuleNotFoundError):
        return "install it"
    if isinstance(problem, ImportError | OSError):
        return "correct that"
    if isinstance(problem, RuntimeError) and NO_THREAD in str(problem):
        return "raise the limit on processes (`ulimit -u`)"
    return None
