"""Packages, folders and disks that are not what they should be; other processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.bad_days.mishaps import (
    DATA,
    TRAIN,
    Before,
    Day,
    Patch,
    all_of,
    archive,
    assert_kind,
    member,
    replaced,
    text,
    without,
)
from tests.workflow.arena import ROOT, Checkout, configuration

from lra.cli.main import main
from lra.paths import METRICS, STORE
from lra.training.checkpoint import Checkpoints

INNER = "lra_release/lra_release/listops-1000"
PATHFINDER = {"source": "pathfinder_tfds", "seed": 0, "split": "seeded"}


DAYS = {
    "no matplotlib": Day("plots accuracy_time", "matplotlib", without("matplotlib")),
    "no pandas": Day("plot-approximation mine.txt", "this needs pandas", without("pandas")),
    "no tensorflow datasets": Day(
        f"prepare pathfinder --source data --settings {shlex.quote(json.dumps(PATHFINDER))} --out data/mini/pathfinder",
        "tensorflow",
        all_of(without("tensorflow_datasets", "tensorflow"), text("data/x/dataset_info.json", "{}")),
    ),
    "no sensible number of runs a GPU": Day(
        f"{TRAIN} --seed 2",
        "LRA_RUNS_PER_GPU is 'all'",
        lambda patch: (patch.setenv("LRA_RUNS_PER_GPU", "all"), patch.setattr("lra.devices.gpu_names", lambda: ["a"])),
    ),
    "a file where the run's folder goes": Day(f"{TRAIN} --out mine.txt", "mine.txt"),
    "a file where the data's folder goes": Day("prepare listops --out mine.txt", "mine.txt"),
    "a file where the data's parent goes": Day("prepare listops --out mine.txt/listops", "mine.txt"),
    "a file where the sources' folder goes": Day("download vader", "cannot be written", text("data/sources", "")),
    "a folder where the table goes": Day("collect --out data", "data"),
    "a folder where the plot goes": Day("plots accuracy_time --out mine.txt", "mine.txt"),
    "a folder that takes no files": Day("tables --out /proc/lra", "/proc/lra"),
    "a file where the extracted folder goes": Day(
        "extract lra_release a.gz --tasks listops --out mine.txt/x",
        "could not be made",
        archive("a.gz", member(f"{INNER}/basic_train.tsv"), b"x"),
    ),
    "the project's folder where the data's goes": Day("prepare listops --out .", ". would be replaced, but holds"),
    "the folder of all data where a task's goes": Day("prepare listops --out data/mini", "holds 'listops'"),
    "the results' folder where random data go": Day("rehearsal-data listops --out results", "holds 'runs'"),
    "another task's folder where the data go": Day(
        "prepare image --out data/mini/listops", "data/mini/listops would be replaced, but holds the task 'listops'"
    ),
    "real data where random data go": Day(
        "rehearsal-data listops --out data/mini/listops", "would be replaced, but holds real data of 'listops'"
    ),
    "the root where the data's folder goes": Day("prepare listops --out /", "/ would be replaced, but holds"),
    "the results' folder where a source goes": Day(
        "download vader --out results", "results would be replaced, but holds 'runs'"
    ),
    "the results' folder where the extracted goes": Day(
        "extract lra_release a.gz --tasks listops --out results",
        "results would be replaced, but holds 'runs'",
        archive("a.gz", member(f"{INNER}/basic_train.tsv"), b"x"),
    ),
    "a disk that is full of data": Day("prepare listops", "too large", disk=1000),
    "a disk that is full of weights": Day(
        f"{TRAIN} --seed 2 --out results/x",
        "model.safetensors cannot be written",
        disk=3000,
        leaves="results/store/*",
    ),
    "a disk that is full of checksums": Day("download vader", "cannot be written", disk=20),
    "a disk that is full of tables": Day("collect", "results/table.csv: File too large", disk=50),
    "a disk that is full of plots": Day("plots accuracy_time", "too large", disk=50),
}


@pytest.mark.parametrize("name", DAYS)
def test_a_bad_day(name: str, arena: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    assert_kind(DAYS[name], arena, monkeypatch, capsys)


def test_a_task_that_is_not_measured(arena: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The tasks that are measured are those of config.yaml."""
    assert main(["measure", "--attention", "vmean", "--task", "sorting"]) == 1
    assert capfd.readouterr().err == "Error: unknown task 'sorting'. Known: listops, image.\n"
    assert not Path("results/measures").exists()


@pytest.mark.parametrize("state", ["cut", "of other settings"])
def test_a_checkpoint_of_no_use_is_left_aside(state: str, arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (kept,) = (folder for folder in (arena / STORE).iterdir() if folder.is_dir())
    (kept / METRICS).unlink()  # else the run is finished
    latest = kept / "checkpoint/latest.pt"
    Checkpoints(latest.parent, identity="another").save({"step": 3})
    if state == "cut":
        os.truncate(latest, latest.stat().st_size // 2)
    assert main([*TRAIN.split(), "--out", "results/x", "--threads", "1"]) == 0
    error = capsys.readouterr().err
    said = "latest.pt is damaged" if state == "cut" else "latest.pt belongs to other settings, code or data"
    assert said in error and "is ignored" in error and "Traceback" not in error
    assert not latest.exists()


def in_a_shell(command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process and a shell of its own."""
    program = f"{shlex.quote(sys.executable)} -m lra"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    shell = ["bash", "-c", command.replace("lra", program, 1)]
    return subprocess.run(shell, capture_output=True, text=True, env=environment, check=False, **options)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_goes_nowhere() -> None:
    done = in_a_shell("lra completion bash > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "Error: [Errno 28] No space left on device; correct that and run the same command again.\n"


def test_a_path_that_the_terminal_cannot_show(arena: Path) -> None:
    done = in_a_shell(f"lra {TRAIN} --threads 1 --out $'caf\\xe9'", cwd=arena)
    assert (done.returncode, done.stderr) == (0, "")
    assert "taken from results/store/" in done.stdout and "caf\\udce9" in done.stdout


def test_output_that_is_closed() -> None:
    done = in_a_shell("lra check nowhere.py >&-")
    assert (done.returncode, done.stderr.count("\n"), done.stderr[:6]) == (1, 1, "Error:")
    done = in_a_shell("lra completion bash >&-")
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_nobody_reads_to_its_end() -> None:
    done = in_a_shell("lra completion bash | head -n 1")
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@pytest.mark.parametrize("found", ["no such program", "an old one"])
def test_a_python_that_does_not_do(found: str, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    python = tmp_path / "python"
    if found == "an old one":
        python.write_text("#!/bin/sh\nexit 1\n")  # what `python -c` that compares the version gives
        python.chmod(0o755)
    done = subprocess.run(["make", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True, check=False)
    first, *_ = done.stderr.splitlines()
    assert done.returncode == 2
    assert first == f"Error: {python} has no Python 3.11 or newer; install one, or say where it is: make PYTHON=..."
    assert not (tmp_path / ".venv").exists()


def test_an_old_venv_is_made_anew(tmp_path: Path) -> None:
    """The Python of .venv was once too old; today's makes another in its place."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path)
    (tmp_path / "requirements.txt").write_text("")
    old = tmp_path / ".venv/bin/python"
    old.parent.mkdir(parents=True)
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert "made: -m venv --clear .venv" in made_with_another(tmp_path)


def made_with_another(folder: Path) -> str:
    """What `make` prints with a Python that makes no real .venv."""
    new = folder / "python"
    new.write_text('#!/bin/sh\n[ "$2" = venv ] && echo "made: $*"\n[ "$1" = -c ]\n')
    new.chmod(0o755)
    done = subprocess.run(["make", f"PYTHON={new}"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout


def fake_venv(folder: Path, made_in: Path, snakemake: str = "true") -> None:
    """A .venv that looks installed."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy2(ROOT / name, folder)
    programs = {"python": "#!/bin/sh", "pip": f"#!{made_in}/.venv/bin/python", "snakemake": f"#!/bin/sh\n{snakemake}"}
    (folder / ".venv/bin").mkdir(parents=True)
    for name, content in programs.items():
        (folder / ".venv/bin" / name).write_text(f"{content}\n")
        (folder / ".venv/bin" / name).chmod(0o755)
    (folder / ".venv/installed").touch()


@pytest.mark.parametrize("state", ["as it was", "moved", "a link", "without its Python"])
def test_a_venv_that_was_moved_or_lost_its_python(state: str, tmp_path: Path) -> None:
    """It looks installed, but its programs name the folder that it was made in."""
    fake_venv(tmp_path, Path("/elsewhere") if state in ("moved", "a link") else tmp_path)
    if state == "a link":
        (tmp_path / ".venv").rename(tmp_path / "venv")
        (tmp_path / ".venv").symlink_to("venv")
    if state == "without its Python":
        (tmp_path / ".venv/bin/python").unlink()
    assert ("made: -m venv --clear .venv" in made_with_another(tmp_path)) == (state in ("moved", "without its Python"))


def test_make_clean_keeps_what_takes_hours(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "Makefile", tmp_path)
    kept = [tmp_path / name for name in ("data", "results", "shown", ".snakemake")]
    made = [tmp_path / name for name in (".venv", "demo", "logs", "site", "htmlcov")]
    for folder in (*kept, *made):
        folder.mkdir()
    done = subprocess.run(["make", "clean"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(folder.is_dir() for folder in kept) and not any(folder.exists() for folder in made)
    assert "kept: data, results, shown, .snakemake; `lra clean` lists" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "target", "says"),
    [
        (replaced("config.yaml", "seeds:", "seds:"), "", "unknown key 'seds'. Did you mean 'seeds'?"),
        (replaced("config.yaml", "- vmean", "- vmeen"), "", "unknown attention 'vmeen'. Did you mean 'vmean'?"),
        (text("config.yaml", "tasks: [listops"), "", "Error: config.yaml cannot be read: line 1, column 16: "),
        (replaced("config.yaml", "seeds:", "seeds: [3]\nseeds:"), "", "has the key 'seeds' again; keep one"),
        (lambda patch: None, "trian_vmean_listops", "Did you mean 'train_vmean_listops'?"),
    ],
    ids=["misspelt key", "misspelt attention", "no YAML", "a key twice", "misspelt target"],
)
def test_snakemake_stops_before_any_work(
    before: Before, target: str, says: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    checkout = Checkout.create(tmp_path / "checkout", configuration())
    monkeypatch.chdir(checkout.folder)
    before(monkeypatch)
    printed = checkout.snakemake(*filter(None, [target]), code=1)
    assert says in printed
    assert "Traceback" not in printed
    assert not Path("data").exists() and not Path("results").exists()


def test_a_link_to_the_datas_folder_stays_one(arena: Path) -> None:
    (arena / DATA).rename(arena / "elsewhere")
    (arena / DATA).symlink_to(arena / "elsewhere")
    (arena / "elsewhere/manifest.json").unlink()
    assert main(["prepare", "listops", "--workers", "1"]) == 0
    assert (arena / DATA).is_symlink()
    assert (arena / "elsewhere/manifest.json").is_file()


@pytest.mark.parametrize("writable", [True, False])
def test_where_the_home_folder_cannot_be_written_caches_are_here(writable: bool, tmp_path: Path) -> None:
    fake_venv(tmp_path, tmp_path, snakemake='echo "cache: $XDG_CACHE_HOME"')
    home = tmp_path / "home" if writable else "/proc/nohome"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(["make"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert f"cache: {'' if writable else tmp_path / '.snakemake/cache'}\n" in done.stdout


def test_a_backend_that_is_not_here(arena: Path) -> None:
    """What a notebook's shell leaves in the surroundings."""
    environment = os.environ | {"MPLBACKEND": "module://no.such.backend", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "lra", "plots", "accuracy_time"]
    done = subprocess.run(command, cwd=arena, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
