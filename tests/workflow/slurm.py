"""A Slurm cluster of this one machine: it listens on the loopback only, and all its files are in one folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from workflow.arena import Checkout

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "sinfo")

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
# A requeued job waits until the credential of its first start has expired.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
PlugStackConfig={folder}/plugstack.conf
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
# A job that takes more memory than it asked for is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
JobRequeue=1
KillWait=20
# Without accounting a finished job's state is asked of the controller, which must remember it.
MinJobAge=300
NodeName=localhost NodeAddr=127.0.0.1 CPUs=4 RealMemory=40000 State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES DefaultTime=5 DefMemPerCPU=100 State=UP
"""


@dataclasses.dataclass(frozen=True)
class SlurmCheckout(Checkout):
    """Its jobs are submitted to the cluster of these tests."""

    cluster: dict[str, str] = dataclasses.field(default_factory=dict)

    def command(self, *arguments: str) -> list[str]:
        # Polls soon. The runs take the machine's cores in turn; the profile's GPUs are not here.
        quick = ["--slurm-init-seconds-before-status-checks=2", "--latency-wait=5"]
        there = ["--profile=workflow/profiles/slurm", "--jobs=4", "--resources", "gpu=0", "--slurm-no-account"]
        command = super().command(*arguments)
        place = command.index("--cores")
        return command[:place] + command[place + 2 :] + there + quick

    @property
    def environment(self) -> dict[str, str]:
        environment = super().environment
        return environment | self.cluster | {"PATH": f"{environment['PATH'].split(':')[0]}:{self.cluster['PATH']}"}

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run Snakemake beside what the test does; it is killed at the end."""
        with (self.folder / "output").open("w") as output:
            run = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield run
            finally:
                run.kill()

    def said(self) -> str:
        """All that Snakemake and its jobs wrote."""
        return (self.folder / "output").read_text() + self.logs()


def missing() -> list[str]:
    """Programs of Slurm that are not here."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start the daemons; yields the environment in which sbatch and the others find them, and stops them after."""
    for name in ("munge", "state", "spool", "bin"):
        (folder / name).mkdir(parents=True)
    (folder / "munge").chmod(0o755)
    (folder / "plugstack.conf").touch()
    configuration = folder / "slurm.conf"
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration.write_text(CONFIGURATION.format(folder=folder, user=user, controller=free_port(), daemon=free_port()))
    # Snakemake's executor removes SLURM_CONF from the environment of its nested srun.
    wrapper = folder / "bin" / "srun"
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={configuration} exec {shutil.which("srun")} "$@"\n')
    wrapper.chmod(0o755)
    path = f"{folder / 'bin'}:{os.environ['PATH']}:/usr/sbin"
    environment = os.environ | {"SLURM_CONF": str(configuration), "PATH": path}
    pids = [folder / "munge" / "pid", folder / "slurmctld.pid", folder / "slurmd.pid"]
    try:
        for command in (munge(folder / "munge"), ["slurmctld", "-i"], ["slurmd"]):
            subprocess.run(command, env=environment, check=True, timeout=30)
        wait_until_idle(environment)
        yield environment
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["scancel", "--user", user], env=environment, timeout=10)
            wait_until(lambda: not asked(environment, "squeue", "--noheader"))
        for pid in reversed(pids):
            stop(pid)


def munge(folder: Path) -> list[str]:
    """The command that starts the daemon which signs Slurm's messages."""
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    files = {"key": "key", "pid": "pid", "seed": "seed", "log": "log"}
    options = [f"--{name}-file={folder / file}" for name, file in files.items()]
    return ["munged", "--force", f"--socket={folder / 'socket'}", *options]


def wait_until_idle(environment: dict[str, str]) -> None:
    wait_until(lambda: asked(environment, "sinfo", "--noheader", "--format=%T") == "idle")


def asked(environment: dict[str, str], *command: str) -> str:
    """What a command prints; nothing while the controller does not answer."""
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20).stdout.strip()


def wait_until(condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "Slurm does not answer as expected"
        time.sleep(0.2)


def stop(pid_file: Path) -> None:
    """End the daemon that wrote this file."""
    if not pid_file.exists():
        return
    pid = int(pid_file.read_text())
    for signal in (15, 9):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal)
        for _ in range(25):
            if not Path("/proc", str(pid)).exists():
                return
            time.sleep(0.2)
