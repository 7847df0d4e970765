# The lock of the folder, and the reporting of progress and results at the terminal.

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

from snakemake.logging import logger

from lra.cli.forking import ADDRESS, start
from lra.cli.follow import Failures, Follower, Preamble, Suggester, summary
from lra.files import lock


def refuse_unwritable():
    """End before any work if a folder of earlier results is another user's, such as root's in a container."""
    for folder in map(Path, ("data", "results", "logs")):
        for place, _, _ in os.walk(folder):
            if not os.access(place, os.W_OK | os.X_OK):
                sys.exit(f"Error: {place} cannot be written; correct its owner or permissions, then run this again.")


def hold_lock():
    """Keep other Snakemake processes out of this folder; the lock dies with this process, however it ends."""
    global LOCK
    LOCK = open(".snakemake/arena.lock", "w")
    if not lock(LOCK, wait=False):
        sys.exit("Error: another snakemake is running in this folder; wait for it, or stop it first.")


def share_imports():
    """Start the server that this machine's jobs are forked from, so that they import torch once."""
    global FORKSERVER
    if sys.platform != "linux" or BRINGS_PYTHON or not workflow.local_exec or os.environ.get(ADDRESS) == "":
        return
    with contextlib.suppress(OSError):  # without a server, jobs import for themselves
        FORKSERVER, address = start(PREPARED.format() + "exec python")
        os.environ.update({ADDRESS: str(address)})


def lift_rate_limit():
    """Let Snakemake look for jobs to start on this machine only when one has ended.

    Its default limit of 100 jobs per second makes every look cause another a second later. After a hundred jobs it looks
    a hundred times a second, which slows down the jobs and disturbs what they measure. A user's own limit stays.
    """
    limit = workflow.scheduler.job_rate_limiter
    if workflow.local_exec and limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def keep_previous():
    """Link what is made of finished runs into a folder of its own, for Snakemake deletes it before it makes it again."""
    folders = (paths.TABLES, paths.PLOTS, paths.BENCH.parent, paths.approximation(ARENA.scale, "").parent)
    made = [file for folder in folders for file in folder.rglob("*")]
    for file in (paths.TABLE, paths.REPORT, *made):
        if file.is_file():
            copy = paths.PREVIOUS / file.relative_to(paths.RESULTS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                copy.hardlink_to(file)
            except OSError:  # a file system without links
                shutil.copy2(file, copy)


logger.addFilter(Suggester(lambda: [rule.name for rule in workflow.rules if not rule.has_wildcards()]))


FAILURES = Failures()
logger.addHandler(FAILURES)


def is_followed():
    """Whether to report to a person at a terminal; with --verbose, --quiet or a logger plugin, Snakemake reports."""
    told = workflow.output_settings
    return sys.stderr.isatty() and not (told.verbose or told.quiet or told.printshellcmds)


def get_usual_handlers():
    """The handlers that print Snakemake's own lines."""
    return [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]


if is_followed():
    for handler in get_usual_handlers():
        handler.addFilter(Preamble(lambda: not workflow.dryrun))


def follow():
    """At a terminal, report the progress of a run in a few lines."""
    global STARTED, FOLLOWER
    STARTED, FOLLOWER = time.time(), None
    if is_followed() and (usual := get_usual_handlers()):
        try:
            FOLLOWER = Follower(sys.stderr)
        except ModuleNotFoundError:  # tqdm is missing if Snakemake was not installed from requirements.txt
            return
        logger.removeHandler(usual[0])
        logger.addHandler(FOLLOWER)


def tell_end():
    """Report the results of a run, its failures, and the page to open."""
    if FOLLOWER is not None:
        FOLLOWER.close()
    for line in [*summary(STARTED), *FAILURES.lines()]:
        print(line, file=sys.stderr)
    if FAILURES.lines() and not paths.TABLE.is_file() and (paths.PREVIOUS / paths.TABLE.name).is_file():
        print(f"Until then, {paths.PREVIOUS} has the last table and what was made of it.", file=sys.stderr)
