"""`lra clean` says what it would remove and how much that is, and takes nothing that is asked for or held."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tests.workflow.arena import configuration

from lra import paths
from lra.cli.main import main
from lra.config.arena import load
from lra.config.mapping import as_mapping
from lra.files import file_lock
from lra.paths import STORE
from lra.results.choice import read_choice

RUN = Path("results/runs/mini/listops/vmean/seed-1")
TRAIN = ["train", "--attention", "vmean", "--task", "listops", "--threads", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with a sweep, data, the run of a cell, one of the sweep and a short try."""
    folder = tmp_path_factory.mktemp("arena")
    config = configuration()
    swept = {"attention": "vmean", "task": "listops", "batch": [8], "learning_rate": [1e-3]}
    config["scales"]["mini"]["sweep"] = swept
    # A second scale that lacks the task, which says nothing about the runs of the first.
    config["scales"]["paper"] = config["scales"]["mini"] | {
        "tasks": {"image": config["scales"]["mini"]["tasks"]["image"]}
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(config))
        assert main(["prepare", "listops", "--workers", "1"]) == 0
        assert main([*TRAIN, "--out", str(RUN)]) == 0
        settings = json.loads((RUN / "metrics.json").read_text())["settings"]
        settings["train"]["batch"] = 8
        del settings["seed"]
        swept_run = ["--settings", json.dumps(settings), "--data", "data/mini/listops", "--threads", "1"]
        assert main(["train", *swept_run, "--out", "results/sweep/mini/batch-8_rate-0.001/seed-1"]) == 0
        assert main([*TRAIN, "--max-steps", "1"]) == 0
    return folder


@pytest.fixture
def arena(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "arena"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


def key(run: Path) -> str:
    return str(json.loads((run / "metrics.json").read_text())["key"])


def leave_the_store_alone() -> None:
    """Delete all other results, since what they hold is kept."""
    for folder in ("runs", "sweep", "tries"):
        shutil.rmtree(Path("results", folder))


def test_what_the_configuration_asks_for_is_kept(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = sorted(STORE.iterdir())
    assert len(entries) == 3
    short = STORE / key(Path("results/tries/mini/listops/vmean/seed-1"))
    size = sum(file.stat().st_size for file in short.iterdir())
    leave_the_store_alone()
    assert main(["clean"]) == 0
    listed, total = capsys.readouterr().out.splitlines()
    assert listed == f"{short}: listops vmean seed 1, cut at step 1, ok, {size / 1024:.1f} KiB"
    assert total.endswith("in all; nothing is removed without --yes")
    assert sorted(STORE.iterdir()) == entries
    assert main(["clean", "--yes"]) == 0
    assert "removed " in capsys.readouterr().out
    assert sorted(STORE.iterdir()) == [entry for entry in entries if entry != short]
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_without_prepared_data_any_will_do(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a damaged manifest makes every finished run look useless."""
    Path("data/mini/listops/manifest.json").write_text("{")
    leave_the_store_alone()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.count(str(STORE)) == 1


def test_other_settings_or_data_make_a_run_one_to_list(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["tasks"]["listops"]["train"]["steps"] = 3
    config["scales"]["mini"]["sweep"]["batch"] = [16]
    Path("config.yaml").write_text(yaml.safe_dump(config))
    leave_the_store_alone()
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.count(str(STORE)) == 3


def test_what_a_folder_of_results_holds_is_kept(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path("results/tries/mini/listops/vmean/seed-1")
    assert main(["clean"]) == 0
    assert str(STORE / key(run)) not in capsys.readouterr().out


def test_unfinished_damaged_and_busy_entries(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = STORE / key(Path("results/tries/mini/listops/vmean/seed-1"))
    (short / "metrics.json").unlink()
    leave_the_store_alone()
    (STORE / "empty").mkdir()
    (STORE / "list").mkdir()
    (STORE / "list/made_of.json").write_text("[1]")
    (STORE / "busy").mkdir()
    (STORE / ".list.guard").touch()  # of a process that was killed
    with file_lock(STORE / "busy"):
        assert main(["clean", "--yes"]) == 0
    out = capsys.readouterr().out
    assert f"{short}: listops vmean seed 1, cut at step 1, unfinished" in out
    assert f"{STORE}/empty: damaged, 0" in out and f"{STORE}/list: damaged" in out
    assert f"{STORE}/busy: kept, because a process is training it\n" in out
    assert sorted(path.name for path in STORE.iterdir() if path.name.isalpha()) == ["busy"]


def test_a_run_is_removed_to_be_trained_anew(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Forced to run, a rule takes the finished run from the store; this is how it is really trained."""
    entry = STORE / key(RUN)
    before = json.loads((RUN / "metrics.json").read_text())
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    assert "taken from" in capsys.readouterr().out
    assert main(["clean", str(RUN)]) == 0
    assert entry.exists() and (RUN / "metrics.json").exists()
    with file_lock(entry):
        assert main(["clean", str(RUN), "--yes"]) == 0
    assert entry.exists() and (RUN / "metrics.json").exists()
    assert main(["clean", str(RUN), "--yes"]) == 0
    assert not entry.exists() and not list(RUN.iterdir())
    capsys.readouterr()
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    assert "taken from" not in capsys.readouterr().out
    after = json.loads((RUN / "metrics.json").read_text())
    assert after["wall_seconds"] != before["wall_seconds"] and after["test_loss"] == before["test_loss"]


@pytest.mark.parametrize("content", ["[]", "{}", '{"key": "../../.."}'])
def test_a_folder_that_is_no_run_of_the_store(arena: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (arena / "metrics.json").write_text(content)
    assert main(["clean", ".", "--yes"]) == 1
    assert "has no key of results/store; delete the folder itself" in capsys.readouterr().err
    assert len(list(STORE.iterdir())) == 3


def test_nothing_to_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(yaml.safe_dump(configuration()))
    assert main(["clean"]) == 0
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ([*TRAIN, "--max-steps", "1", "--out", f"{RUN.parent}/seed-1"], "is for a full run, not one of 1 steps"),
        ([*TRAIN, "--seed", "2", "--out", str(RUN)], "is not the place of listops/vmean/seed-2"),
        (
            ["train", "--attention", "softmax", "--task", "listops", "--out", str(RUN)],
            "not the place of listops/softmax",
        ),
    ],
)
def test_results_runs_holds_what_its_paths_say(
    arena: Path, capsys: pytest.CaptureFixture[str], command: list[str], sentence: str
) -> None:
    """One step, or another attention, trained into a run's folder stood in the table as that run."""
    for kept in (True, False):
        if not kept:
            shutil.rmtree(RUN)
        assert main(command) == 1
        assert sentence in capsys.readouterr().err
    assert not RUN.exists()


def test_of_a_tuned_cell_its_tries_and_the_chosen_rate_are_asked_for(
    arena: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until a rate is chosen any may be, and a run by hand has none to take."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["tune"] = {"learning_rate": [1e-3, 3e-3], "steps": 2, "seed": 9}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    choice = paths.choice("mini", "listops", "vmean")

    def listed() -> int:
        capsys.readouterr()
        assert main(["clean"]) == 0
        return capsys.readouterr().out.count(str(STORE))

    leave_the_store_alone()
    assert listed() == 1  # the short one
    assert main(TRAIN) == 1
    sentence = f"no learning rate is chosen yet for vmean on listops; `snakemake --cores 1 {choice}` does"
    assert sentence in capsys.readouterr().err
    for name, tried in load(Path("config.yaml")).tries("vmean", "listops").items():
        settings = ["--settings", json.dumps(as_mapping(tried, "seed")), "--seed", "9", "--data", "data/mini/listops"]
        assert main(["train", *settings, "--threads", "1", "--out", str(choice.parent / name)]) == 0
    metrics = [str(path) for path in choice.parent.glob("*/metrics.json")]
    assert main(["choose", "--metrics", *metrics, "--out", str(choice)]) == 0
    for path in metrics:
        shutil.rmtree(Path(path).parent)  # else what a folder holds is kept
    chosen = read_choice(choice)["learning_rate"]
    assert listed() == (1 if chosen == 1e-3 else 2)
    assert main([*TRAIN, "--max-steps", "1"]) == 0
    run = paths.tried_run("mini", "listops", "vmean", 1)
    assert json.loads((run / "metrics.json").read_text())["settings"]["train"]["learning_rate"] == chosen
