"""Jobs that share their imports.

Importing torch takes longer than a short run trains. While a workflow runs on one machine, :mod:`forkserver
<lra.cli.forkserver>` imports it once, and a fork of that process does the work of ``python -m lra train ...``, with the
command's arguments, folder, environment, output and exit code. Without a server, or if the server fails before the work
has begun, the command does its work itself.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

ADDRESS = "LRA_FORKSERVER"
"""Environment variable with the path of the server's socket."""
COMMANDS = ("train", "pretrain", "measure", "bench", "approximate")
"""The commands that need torch."""
KILLED = 128 + signal.SIGKILL
"""The exit code that a shell gives for a process killed by SIGKILL."""


def run(arguments: Sequence[str]) -> int:
    """Run a command in a fork of the server, or here if there is no server; returns the exit code."""
    address = os.environ.get(ADDRESS)
    code = ask(address, arguments) if address and arguments and arguments[0] in COMMANDS else None
    if code is not None:
        return code
    from lra.cli.main import main  # takes ten times as long as to ask

    return main(arguments)


def ask(address: str, arguments: Sequence[str]) -> int | None:
    """Have the server run a command; returns its exit code, or None if the server did not begin.

    SIGTERM and SIGINT are passed on, and the command ends if this process ends.
    """
    request = {"arguments": list(arguments), "folder": str(Path.cwd()), "environment": dict(os.environ)}
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
            socket.send_fds(server, [len(content).to_bytes(8, "big")], [1, 2])
            server.sendall(content)
            worker = int.from_bytes(receive(server, 8), "big")
        except OSError:
            return None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: os.kill(worker, number))
        try:
            return receive(server, 1)[0]
        except OSError:
            return KILLED  # the system has ended the fork, because memory ran out


def receive(connection: socket.socket, size: int) -> bytes:
    """Receive ``size`` bytes.

    Raises:
        ConnectionResetError: the other process has ended.
    """
    content = b""
    while len(content) < size:
        if not (piece := connection.recv(size - len(content))):
            raise ConnectionResetError
        content += piece
    return content


def start(python: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a server. It ends when its standard input is closed, at the latest with this process.

    Args:
        python: the shell command that runs Python as jobs do.

    Returns:
        The server and the path of its socket, in a temporary folder that it removes at its end.

    Raises:
        OSError: the temporary folder takes no sockets.
    """
    address = Path(tempfile.mkdtemp(prefix="lra-"), "forkserver")  # only this user may enter
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(128)  # requests wait until the server has begun
        command = f"{python} -m lra.cli.forkserver {listener.fileno()}"
        # In a session of its own, so that Ctrl-C reaches only those who ask, who pass it on.
        server = subprocess.Popen(
            ["bash", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    return server, address
