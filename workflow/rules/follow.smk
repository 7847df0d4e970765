# What one Snakemake process does besides its jobs: it keeps others out of this folder, and tells what becomes of the jobs.

import sys
import time

from snakemake.logging import logger

from lra.cli.follow import Follower, Suggester, summary
from lra.files import lock


def hold_lock():
    """Keep other Snakemake processes out of this folder; the lock dies with this process, however it ends."""
    global LOCK
    LOCK = open(".snakemake/arena.lock", "w")
    if not lock(LOCK, wait=False):
        sys.exit("Error: another snakemake is running in this folder; wait for it, or stop it first.")


logger.addFilter(Suggester(lambda: [rule.name for rule in workflow.rules if not rule.has_wildcards()]))


def follow():
    """At a terminal, tell a run in a few lines; --verbose, --quiet or a logger plugin leave it to Snakemake."""
    global STARTED, FOLLOWER
    STARTED, FOLLOWER = time.time(), None
    told = workflow.output_settings
    usual = [handler for handler in logger.handlers if handler.name == "DefaultStreamHandler"]
    if usual and sys.stderr.isatty() and not (told.verbose or told.quiet or told.printshellcmds):
        try:
            FOLLOWER = Follower(sys.stderr)
        except ModuleNotFoundError:  # tqdm, where Snakemake is not the one of requirements.txt
            return
        logger.removeHandler(usual[0])
        logger.addHandler(FOLLOWER)


def tell_end():
    """Say what came out of a run, and where to look."""
    if FOLLOWER is not None:
        FOLLOWER.close()
    for line in summary(STARTED):
        print(line, file=sys.stderr)
