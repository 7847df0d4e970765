"""Signals that ask a run to stop."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_signals(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """In the block, SIGTERM and SIGINT (Ctrl-C) call ``ask_to_stop`` instead of ending the process."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: ask_to_stop()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
