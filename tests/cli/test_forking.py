"""Commands that are forked from a server: same output, exit code and end as of a process of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lra.cli import forking

BENCH = ["bench", "--attentions", "vmean", "--repeats", "1", "--threads", "1"]
OWN = """
import os
import signal
import sys
import time

import torch

from lra.attention.vmean import VMean


class Own(VMean):
    def attend(self, *arguments):
        print(os.environ["WHOSE"], sys.argv[1], flush=True)
        {does}
        return super().attend(*arguments)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    """The environment of those who ask it; it lasts for all tests, since it imports torch."""
    process, address = forking.start(sys.executable)
    assert address.parent.stat().st_mode & 0o077 == 0
    yield os.environ | {forking.ADDRESS: str(address), "WHOSE": "mine"}
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    assert not address.parent.exists()


def own(folder: Path, does: str) -> list[str]:
    """A command that calls an attention which does something first."""
    (folder / "own.py").write_text(OWN.format(does=does))
    return [*BENCH, "--attentions", "own.py:Own", "--lengths", "8"]


def ask(arguments: Sequence[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lra", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_a_command_runs_with_its_own_arguments_folder_environment_and_output(
    server: dict[str, str], tmp_path: Path
) -> None:
    done = ask(own(tmp_path, "print(os.getppid(), file=sys.stderr)"), tmp_path, server)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "mine bench" and done.stdout.splitlines()[-1].startswith("own.py:Own ")
    (parent,) = set(done.stderr.split())
    assert "lra.cli.forkserver" in Path(f"/proc/{parent}/cmdline").read_text()
    assert (tmp_path / "results/tries/bench.csv").exists()


def test_what_takes_long_to_import_is_there(server: dict[str, str], tmp_path: Path) -> None:
    """Of pandas, too, which a bench needs not, and pyarrow imports for a job that reads data."""
    slow = ("torch._dynamo", "pyarrow.parquet", "pandas")
    done = ask(own(tmp_path, f"print('missing:', set({slow}) - set(sys.modules))"), tmp_path, server)
    assert "missing: set()" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([*BENCH, "--attentions", "vmeen"], 1, "Error: unknown attention 'vmeen'"),
        ([*BENCH, "--length", "none"], 2, "Error: argument --lengths"),
        (["check", "vmeen"], 1, "Error: unknown attention or task 'vmeen'"),
    ],
    ids=["failure", "usage", "a command without torch"],
)
def test_it_ends_as_it_would_alone(
    arguments: list[str], code: int, says: str, server: dict[str, str], tmp_path: Path
) -> None:
    done = ask(arguments, tmp_path, server)
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr
    alone = {name: value for name, value in server.items() if name != forking.ADDRESS}
    assert ask(arguments, tmp_path, alone).stderr == done.stderr


def test_a_command_that_the_system_kills(server: dict[str, str], tmp_path: Path) -> None:
    assert ask(own(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)"), tmp_path, server).returncode == forking.KILLED


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, forking.KILLED), (signal.SIGKILL, -signal.SIGKILL)],
    ids=["passed on", "ended with who asked"],
)
def test_signals(number: signal.Signals, code: int, server: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lra", *own(tmp_path, "print(os.getpid(), flush=True); time.sleep(60)")]
    with subprocess.Popen(command, cwd=tmp_path, env=server, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        worker = int(asking.stdout.readline())
        asking.send_signal(number)
        assert asking.wait(timeout=20) == code
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run_here(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Arguments of the commands that this process itself runs from now on."""
    ran: list[list[str]] = []
    monkeypatch.setattr("lra.cli.main.main", lambda arguments: ran.append(list(arguments)) or 3)
    return ran


@pytest.mark.parametrize("address", [None, "", "nothing/here"])
def test_without_a_server_it_runs_here(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(forking.ADDRESS, raising=False)
    if address is not None:
        monkeypatch.setenv(forking.ADDRESS, address)
    ran = run_here(monkeypatch)
    assert (forking.run(BENCH), forking.run([])) == (3, 3) and ran == [BENCH, []]


def answering(address: Path, answer: Callable[[socket.socket], None]) -> threading.Thread:
    """A server that reads one request and answers it so."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        header, *_ = socket.recv_fds(connection, 8, 2)
        json.loads(forking.receive(connection, int.from_bytes(header, "big")))
        answer(connection)
        connection.close()
        listener.close()

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("answers", "code", "here"),
    [
        ([], 3, True),
        ([b"\0" * 4], 3, True),
        ([os.getpid().to_bytes(8, "big")], forking.KILLED, False),
        ([os.getpid().to_bytes(8, "big"), b"\7"], 7, False),
    ],
    ids=["nothing", "half an answer", "no exit code", "an exit code"],
)
def test_what_a_server_answers(
    answers: list[bytes], code: int, here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # pytest's own stay
    monkeypatch.setenv(forking.ADDRESS, str(tmp_path / "sock"))
    ran = run_here(monkeypatch)
    thread = answering(tmp_path / "sock", lambda connection: [connection.sendall(one) for one in answers] and None)
    assert forking.run(BENCH) == code
    thread.join()
    assert bool(ran) == here


def test_where_there_can_be_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ("x" * 108)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 108)))
    with pytest.raises(OSError, match="too long"):
        forking.start(sys.executable)
