"""The process from which jobs of a workflow are forked; it imports torch once. See :mod:`lra.cli.forking`."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path

from lra.cli.forking import receive
from lra.cli.main import main

SHARED = (
    "lra.training.run",
    "lra.cost.training_step",
    "lra.cost.attention_core",
    "lra.cost.approximation_error",
    "torch._dynamo",  # which torch imports when an optimiser is made
)
"""Modules that jobs import, directly or through torch."""


def serve(listener: socket.socket) -> None:
    """Fork a process for each request, until standard input ends, because the process that started this one ended."""
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        for name in SHARED:  # at the first request, since a workflow that only draws figures makes none
            importlib.import_module(name)
        with contextlib.suppress(ImportError):  # where it is installed, pyarrow imports it with a job's first array
            importlib.import_module("pandas")
        connection, _ = listener.accept()
        with connection:
            if os.fork() == 0:
                listener.close()
                work(connection)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):  # forget those that have ended
                pass


def work(connection: socket.socket) -> None:
    """Run the requested command, and end this process."""
    header, descriptors, _, _ = socket.recv_fds(connection, 8, 2)
    request = json.loads(receive(connection, int.from_bytes(header, "big")))
    for own, given in enumerate([os.open(os.devnull, os.O_RDONLY), *descriptors]):
        os.dup2(given, own)
        os.close(given)
    # Those of the server know what its own output was, such as whether it was a terminal.
    sys.stdout, sys.stderr = (
        os.fdopen(stream.fileno(), "w", buffering, encoding=stream.encoding, errors=stream.errors)
        for stream, buffering in ((sys.stdout, -1), (sys.stderr, 1))
    )
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    connection.sendall(os.getpid().to_bytes(8, "big"))
    threading.Thread(target=end_with, args=[connection], daemon=True).start()
    code = 1
    try:
        code = main(request["arguments"])
    except SystemExit as end:  # of the parser of the command line
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    connection.sendall(bytes([code]))
    os._exit(code)


def end_with(connection: socket.socket) -> None:
    """End this process as soon as the process that requested it ends."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def remove(address: Path) -> None:
    """Remove the socket and its folder."""
    address.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        address.parent.rmdir()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        serve(listening)
        remove(Path(listening.getsockname()))
