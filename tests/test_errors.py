from __future__ import annotations

import pytest
import torch

from lra.errors import LraError, device_fault, is_out_of_memory, reason_of


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        (torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"), "no code for"),
        (torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore"), "another proc"),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), "have the GPU checked"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure"), "run the same command again"),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), "run the same command again"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"), "run the same command"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"), "run the same command again"),
        (RuntimeError("Triton Error [CUDA]: unspecified launch failure"), "run the same command again"),
        (RuntimeError("The CUDA driver version is insufficient for the runtime version"), "install a driver"),
        (RuntimeError("No CUDA GPUs are available"), "run the same command again"),
        (RuntimeError("The NVIDIA driver on your system is too old (found version 11040)"), "install a driver"),
        (
            torch.AcceleratorError("CUDA error: the provided PTX was compiled with an unsupported toolchain."),
            "a driver",
        ),
        (torch.AcceleratorError("CUDA error: invalid device function"), "no code for"),
        (RuntimeError("cuFFT error: CUFFT_INTERNAL_ERROR"), "run the same command again"),
        (
            RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate`"),
            "run the same",
        ),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled cuda error"), "run the same command again"),
        (RuntimeError("HIP error: invalid device function"), "no code for"),
    ],
)
def test_a_fault_of_the_gpu_is_no_row(problem: Exception, remedy: str) -> None:
    """Else a method would have `failed` for good on a machine that is out of order."""
    with pytest.raises(LraError, match=r"the GPU failed \(.*\): ") as told:
        reason_of(problem)
    assert remedy in str(told.value) and "\n" not in str(told.value)


def caused(problem: Exception, cause: Exception) -> Exception:
    """The problem, raised from its cause."""
    problem.__cause__ = cause
    return problem


@pytest.mark.parametrize(
    ("problem", "remedy"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "install it"),
        (caused(ValueError("mine.py cannot be imported"), ModuleNotFoundError("No module named 'a'")), "install it"),
        (ImportError("libcudart.so.12: cannot open shared object file"), "correct that"),
        (caused(ValueError("mine.py cannot be imported\nmore"), OSError("lib.so: undefined symbol")), "correct that"),
        (RuntimeError("can't start new thread"), "raise the limit"),
    ],
)
def test_what_the_system_does_not_give_is_no_row(problem: Exception, remedy: str) -> None:
    """Whether it is missed where a method is imported or in the middle of a pass."""
    with pytest.raises(LraError, match=f"; {remedy}.* and run the same command again.$") as told:
        reason_of(problem)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "problem",
    [
        IndexError("CUDA error: said by the method itself"),
        RuntimeError("shapes do not match"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        torch.AcceleratorError("CUDA error: invalid configuration argument"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError(),
        MemoryError(),
    ],
)
def test_a_fault_of_the_method_is_a_row(problem: Exception) -> None:
    assert device_fault(problem) is None
    assert reason_of(problem).startswith(type(problem).__name__)


def test_memory_that_ran_out_deep_inside() -> None:
    """As while a model is compiled."""
    problem = RuntimeError("the backend failed")
    problem.__cause__ = torch.OutOfMemoryError("too much")
    assert is_out_of_memory(problem) and device_fault(problem) is None
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory"))
    assert is_out_of_memory(MemoryError("Unable to allocate 12.0 GiB for an array"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"))
    problem.__cause__ = torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered")
    assert "ECC" in str(device_fault(problem))
