"""Processes of a part that prepare at the same time and then measure one after another.

Compiling takes a processor for a minute and hardly uses the GPU, so that many processes can compile at once. A time is
right only if nothing else computes. So all wait until the last has compiled, and a lock gives each of them its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gpu_parts.record import Result
from lra.cost.timing import release_memory
from lra.files import file_lock

PATIENCE = 0.6
"""Share of the time left for which a process waits for the others."""
POLL_SECONDS = 0.1


class Turns:
    """What a process knows of the others.

    A round has two halves, preparing and measuring. A process announces the end of each half by an empty file
    ``HALF.PLACE`` in the common folder.

    Args:
        folder: empty at first, the same for all processes.
        place: number of this process, from 0.
        processes: how many there are.
        ends: ``time.time()`` at which the part is ended.
    """

    def __init__(self, folder: Path, place: int, processes: int, ends: float) -> None:
        self.folder, self.place, self.processes, self.ends = folder, place, processes, ends
        self.halves = 0

    @classmethod
    def of(cls, words: Sequence[str]) -> Turns:
        """From the arguments as words of a command line."""
        folder, place, processes, ends = words
        return cls(Path(folder), int(place), int(processes), float(ends))

    def take(self, prepare: Callable[[], Callable[[], Result]]) -> Result:
        """Do one round: prepare beside the other processes, then measure alone.

        Args:
            prepare: returns the function that measures.

        Returns:
            The measured result and ``quiet``: false if another process still prepared when the patience ended.
        """
        self._wait()  # the others may still measure in the round before
        try:
            try:
                measure = prepare()
                release_memory()
            finally:  # an error must not keep the others waiting
                self._end_half()
            self._wait()
            with file_lock(self.folder / "turn"):
                quiet = self._all_ended_half()
                found = measure() | {"quiet": quiet}
                release_memory()
            return found
        finally:
            self._end_half()

    def end(self) -> None:
        """Tell the others that this process measures no more."""
        self._announce("ended")

    def _end_half(self) -> None:
        self.halves += 1
        self._announce(str(self.halves))

    def _announce(self, what: str) -> None:
        (self.folder / f"{what}.{self.place}").touch()

    def _wait(self) -> None:
        """Wait until all processes have ended the half that this one ended last, or the patience ends."""
        until = time.time() + PATIENCE * (self.ends - time.time())
        while not self._all_ended_half() and time.time() < until:
            time.sleep(POLL_SECONDS)

    def _all_ended_half(self) -> bool:
        ended = {path.suffix for half in (self.halves, "ended") for path in self.folder.glob(f"{half}.*")}
        return self.halves == 0 or len(ended) == self.processes
