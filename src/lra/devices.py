"""A GPU of its own for every run: jobs of one machine agree through locks on files, which end with their process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from lra.errors import LraError

RUNS_PER_GPU = "LRA_RUNS_PER_GPU"
"""Environment variable: how many runs may share a GPU; 1 unless set. Not of config.yaml, since it changes no number."""


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
    import torch

    folder = folder or Path(tempfile.gettempdir(), f"lra-gpus-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    # The least loaded first: every GPU's first place, then every GPU's second.
    places = [(index, folder / f"{name}.{run}") for run in range(runs_per_gpu()) for index, name in enumerate(names)]
    if (found := _take_first(places)) is None:
        print("waiting for a free GPU", file=sys.stderr, flush=True)
    while found is None:
        time.sleep(poll_seconds)
        found = _take_first(places)
    index, lock = found
    with lock:
        torch.cuda.set_device(index)
        yield


def gpu_names() -> list[str]:
    """What identifies each GPU that this process may use, in CUDA's order.

    Not its number: a cluster shows each job its own GPU under the number 0.
    """
    import torch

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
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return index, lock
    return None
