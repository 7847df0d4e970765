# Shared by the rules: the checked configuration, paths, and the parameters that make a result stale.

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod
from snakemake.utils import update_config

from lra import paths
from lra.config.arena import EXTRACTED, arena
from lra.config.mapping import as_mapping
from lra.config.pretraining import pretraining
from lra.files import sha256
from lra.fingerprint import fingerprint

# Snakemake itself reads numbers in lists and mappings of --config as strings.
update_config(config, LAYERS.get("--config", {}))

try:
    # Own files are relative to the first file of settings, which `--directory` leaves in another folder.
    ARENA = arena(config, folder=Path(next(iter(LAYERS), CONFIG)).parent, files=LAYERS)
except LraError as error:
    sys.exit(f"Error: {error}")

PACKAGE = Path(lra.__file__).parent


def get_package_path():
    """The folder from which jobs import the package. A link hides the other packages beside an installed one."""
    if PACKAGE.parent == SOURCE:
        return SOURCE
    link = Path(".snakemake/package/lra").absolute()
    if not link.is_symlink() or link.readlink() != PACKAGE:
        link.parent.mkdir(parents=True, exist_ok=True)
        temporary = link.with_name(f"lra.{os.getpid()}")
        temporary.symlink_to(PACKAGE)
        temporary.replace(link)
    return link.parent


# The image that --sdm apptainer runs jobs in, made from the Containerfile; docs/scaling.md says how.
CONTAINER = "lra.sif"
# Jobs run the package in the container or the rule's conda environment, or else with the Python that runs Snakemake.
BRINGS_PYTHON = {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER} & set(
    workflow.deployment_settings.deployment_method
)
PYTHON = "" if BRINGS_PYTHON else f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; "
# The user's environment must not change results or break jobs: unset variables of Python, torch, the libraries that it
# computes with, and matplotlib; ignore packages of the home folder and project files with the name of a module
# (PYTHONSAFEPATH); set the locale.
SURROUNDINGS = (
    "unset ${{!PYTHON@}} ${{!PYTORCH@}} ${{!TORCH@}} ${{!ATEN@}} ${{!DNNL@}} ${{!ONEDNN@}}; "
    "unset MKL_CBWR NVIDIA_TF32_OVERRIDE ${{!MPL@}} MATPLOTLIBRC; "
    "export LC_ALL=C PYTHONUTF8=1 PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1 MPLBACKEND=agg"
)
PREPARED = f"{SURROUNDINGS}; {PYTHON}export PYTHONPATH={shlex.quote(str(get_package_path()))}; "
shell.prefix(f"set -euo pipefail; {PREPARED}")

# Training and measuring ask for a GPU if Snakemake knows their number, as with the profile for Slurm.
LIMITS = workflow.global_resources
GPUS = min(1, LIMITS["gpu"].value) if "gpu" in LIMITS else 0


def get_more(amount):
    """Multiply the resource by the attempt number, so that a killed job is retried with more."""
    return lambda wildcards, attempt: amount * attempt


def get_training_resources(runtime=ARENA.settings["runtime"]):
    """Memory in MB, minutes and GPUs of a job that trains."""
    return {
        "mem_mb": get_more(ARENA.settings["memory"]),
        "runtime": get_more(runtime),
        "gpu": GPUS,
    }


def get_rehearsal_rows(wildcards):
    """Examples of a split with which a task is rehearsed: a batch of training, and of pretraining."""
    blocks = ARENA.settings["tasks"][wildcards.task]
    return max(blocks[name]["batch"] for name in ("train", "pretrain") if blocks.get(name))


def get_regex(names):
    """A wildcard constraint that matches `names` only, so that Snakemake finds no rule for a misspelt name."""
    return "|".join(map(re.escape, names)) or "(?!)"


def get_artefacts():
    """Names of the artefacts that the configured tasks read."""
    return {artefact for task in ARENA.tasks if (artefact := ARENA.artefact(task))}


def get_source_ready(task):
    """The inputs of a task's artefact, as a list; empty if the task reads no artefact."""
    artefact = ARENA.artefact(task)
    if artefact is None:
        return []
    # Downloads are ancient: timestamps are ignored, because the checksum is pinned. Extracted files depend on code too.
    return [ARENA.source(task) if artefact in EXTRACTED else ancient(paths.downloaded(artefact).as_posix())]


def get_own_files(task):
    """The user's files that a task of their own reads."""
    source = ARENA.source(task) if ARENA.own(task) else None
    if source is None:
        return []
    return [str(file) for file in sorted(source.rglob("*")) if file.is_file()] if source.is_dir() else [str(source)]


def get_task_modules(task):
    """Modules and files with the code that makes a task's examples."""
    own = ARENA.own(task)
    return ["lra.tasks.own", own.partition(":")[0]] if own else [f"lra.tasks.{task}"]


def get_shard_files(task):
    """The manifest of a task, and its Parquet files."""
    folder = paths.shards(ARENA.scale, task)
    parts = [(split, number) for split, count in ARENA.parts(task).items() for number in range(count)]
    return [folder / paths.MANIFEST, *(folder / split / paths.part_name(number) for split, number in parts)]


def get_stored_shards(task):
    """The shards, if a storage plugin keeps all files: a node then fetches its inputs only.

    Otherwise the manifest is a sufficient input.
    """
    stored = workflow.storage_settings.default_storage_provider is not None
    return get_shard_files(task)[1:] if stored else []


def get_manifest(task):
    """An input function for the task's manifest.

    A checkpoint prepares the task: after it, Snakemake decides again which jobs are stale. They rerun only if the
    manifest, which holds the checksum of every shard, has changed.
    """
    return lambda wildcards: getattr(checkpoints, f"prepare_{task}").get().output.manifest


def as_json(experiment):
    """The settings that decide a run, without its seed, as JSON."""
    return json.dumps(as_mapping(experiment, leave_out="seed"), sort_keys=True)


def get_settings(attention, task, **changes):
    """The settings of a cell, with changes of its training, as JSON."""
    return as_json(ARENA.experiment(attention, task, seed=0, **changes))


def get_module(attention):
    """The module or file of an attention's class."""
    return ARENA.attentions[attention].module.partition(":")[0]


def get_code(attention, root="lra.training.run"):
    """Fingerprint of the code that can change the numbers of an attention's runs or measurements."""
    return fingerprint(root, get_module(attention))


def get_checksums(folder):
    """Checksums of the data files in a folder of lra.results."""
    files = sorted((PACKAGE / "results" / folder).iterdir())
    return [sha256(file) for file in files]


def get_run_files(folder):
    """The outputs of a job that trains, by name."""
    return dict(zip(("metrics", "history", "predictions", "weights"), (folder / name for name in paths.RUN_FILES)))


def get_all_runs(name):
    """The file called `name` of every run of the arena."""
    return [
        paths.run(ARENA.scale, task, attention, seed) / name
        for task in ARENA.tasks
        for attention in ARENA.attentions
        for seed in ARENA.seeds
    ]


def get_order():
    """Tasks and attentions in the order of config.yaml, which tables and figures keep.

    A parameter, because Snakemake sorts the inputs that it compares.
    """
    return [list(ARENA.tasks), list(ARENA.attentions)]
