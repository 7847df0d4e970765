"""Runs of one machine take different GPUs. The GPUs are pretended; the locks are real, and so are the processes."""

from __future__ import annotations

import platform
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import pytest
import torch

from lra import devices
from lra.devices import _driver, machine, make_deterministic, peak_memory
from lra.errors import LraError

CPU = torch.device("cpu")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the devices that were made current, on a machine of two GPUs."""
    numbers: list[int] = []
    monkeypatch.setattr(devices, "gpu_names", lambda: ["GPU-a", "GPU-b"])
    monkeypatch.setattr(torch.cuda, "set_device", numbers.append)
    return numbers


def test_two_runs_take_two_gpus_and_give_them_back(chosen: list[int], tmp_path: Path) -> None:
    with devices.own_gpu(tmp_path), devices.own_gpu(tmp_path):
        pass
    with devices.own_gpu(tmp_path):
        pass
    assert chosen == [0, 1, 0]


def test_several_runs_a_gpu_are_spread(chosen: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRA_RUNS_PER_GPU", "2")
    with devices.own_gpu(tmp_path), devices.own_gpu(tmp_path), devices.own_gpu(tmp_path), devices.own_gpu(tmp_path):
        assert chosen == [0, 1, 0, 1]


def test_a_third_run_waits(chosen: list[int], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def third() -> None:
        with devices.own_gpu(tmp_path, poll_seconds=0.01):
            pass

    with devices.own_gpu(tmp_path), devices.own_gpu(tmp_path):
        waiting = threading.Thread(target=third, daemon=True)
        waiting.start()
        waiting.join(timeout=0.2)
        assert waiting.is_alive() and chosen == [0, 1]
    waiting.join(timeout=10)
    assert not waiting.is_alive() and len(chosen) == 3
    assert capfd.readouterr().err.count("waiting for a free GPU") == 1


def test_a_killed_process_holds_nothing(chosen: list[int], tmp_path: Path) -> None:
    program = (
        "import fcntl, sys, time; lock = open(sys.argv[1], 'w'); fcntl.flock(lock, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program, tmp_path / "GPU-a.0"], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with devices.own_gpu(tmp_path):
        assert chosen == [1]
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with devices.own_gpu(tmp_path):
        assert chosen == [1, 0]


@pytest.mark.parametrize("given", ["0", "two", "-1", "1.5"])
def test_a_wrong_setting_is_told(
    chosen: list[int], tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRA_RUNS_PER_GPU", given)
    with pytest.raises(LraError, match=r"LRA_RUNS_PER_GPU is '.*'; set it to"), devices.own_gpu(tmp_path):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_locked(tmp_path: Path) -> None:
    with devices.own_gpu(tmp_path / "locks"):
        assert not (tmp_path / "locks").exists()


def test_gpus_are_told_apart_by_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CUDA's order, which is that of the numbers a process gives them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(uuid=UUID(int=7 - i)))
    assert devices.gpu_names() == [str(UUID(int=7)), str(UUID(int=6))]


def test_resident_memory_is_plausible() -> None:
    assert 50 * 2**20 < peak_memory(CPU) < 2**40


@pytest.mark.parametrize("content", [None, "processor: 0\n"])
def test_a_processor_that_linux_does_not_name(content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS has no /proc/cpuinfo, and on some processors it gives no name."""

    def read_text(path: Path) -> str:
        assert path == Path("/proc/cpuinfo")
        if content is None:
            raise FileNotFoundError(path)
        return content

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr("lra.devices.version", lambda package: "1.0")  # reads files too
    for name, expected in (("arm", "arm"), ("", platform.machine())):
        monkeypatch.setattr(platform, "processor", lambda name=name: name)
        assert machine(CPU, 2)["device"] == expected


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: otherwise it goes back to the system, which clears it again for the next tensors."""
    program = (
        "import torch; from pathlib import Path; from lra.devices import prepare_cpu; prepare_cpu(1)\n"
        "pages = lambda: int(Path('/proc/self/statm').read_text().split()[1])\n"
        "before = pages(); tensors = [torch.ones(1 << 19) for _ in range(16)]\n"
        "held = pages(); del tensors; print(held - before, pages() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    held, kept = map(int, done.stdout.split())
    assert kept > 0.9 * held > 0


def test_determinism_does_not_fill_new_tensors() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.utils.deterministic.fill_uninitialized_memory = True  # torch's default
        make_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.utils.deterministic.fill_uninitialized_memory = before[1]


def test_only_operations_that_repeat_are_taken() -> None:
    """In a process of its own, since torch reads cuBLAS's variable once; `warn_only` let others pass on a GPU."""
    program = (
        "import os, torch; os.environ['CUBLAS_WORKSPACE_CONFIG'] = ':0:0'; "
        "from lra.devices import make_deterministic; make_deterministic(); "
        "print(os.environ['CUBLAS_WORKSPACE_CONFIG'], torch.is_deterministic_algorithms_warn_only_enabled())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ":4096:8 False\n"


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        (torch.AcceleratorError("CUDA error: no kernel image is available"), "install a torch that was built for it"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the GPU has no memory left"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_told_at_once(
    problem: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(size: int, device: torch.device) -> torch.Tensor:
        raise problem

    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(LraError, match=says):
        devices.default_device()


def test_another_error_of_the_first_kernel_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def ones(size: int, device: torch.device) -> torch.Tensor:
        raise RuntimeError("a mistake of this package")

    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(RuntimeError, match="a mistake"):
        devices.default_device()


def test_the_driver_is_what_linux_tells(tmp_path):
    told = tmp_path / "version"
    told.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n")
    assert _driver(told) == "550.54.15"
    told.write_text("nothing\n")
    assert _driver(told) == _driver(tmp_path / "nowhere") == "unknown"
