"""Runs of another clone stand in this arena's results as if they had been trained here, and nothing else does."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.cli.main import main
from lra.files import file_lock, read_json, sealed, sha256
from lra.paths import RUN_FILES, STORE
from lra.training.run_folder import run_key

RUN = Path("results/runs/mini/listops/vmean/seed-1")
TRAIN = ["train", "--attention", "vmean", "--task", "listops", "--threads", "1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another clone: data, a run of a cell, one of the sweep, one of another seed and a short try."""
    folder = tmp_path_factory.mktemp("elsewhere")
    config = configuration()
    config["scales"]["mini"]["sweep"] = {
        "attention": "vmean", "task": "listops", "batch": [8], "learning_rate": [1e-3]
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(config))
        assert main(["prepare", "listops", "--workers", "1"]) == 0
        assert main([*TRAIN, "--out", str(RUN)]) == 0
        assert main([*TRAIN, "--seed", "2", "--out", str(RUN.parent / "seed-2")]) == 0
        settings = json.loads((RUN / "metrics.json").read_text())["settings"]
        settings["train"]["batch"] = 8
        del settings["seed"]
        swept = ["--settings", json.dumps(settings), "--data", "data/mini/listops", "--threads", "1"]
        assert main(["train", *swept, "--out", "results/sweep/mini/batch-8_rate-0.001/seed-1"]) == 0
        assert main([*TRAIN, "--max-steps", "1"]) == 0
    return folder


def changed(run: Path, **changes: object) -> None:
    """Seal a run with something else in it, as one that was trained so would be."""
    metrics = read_json(run / "metrics.json") | changes
    metrics["key"] = run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    (run / "metrics.json").write_text(json.dumps(sealed(metrics)))


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    told = capsys.readouterr()
    return told.out.splitlines(), told.err


def test_results_of_another_clone(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(elsewhere)]) == 0
    told, _ = lines(capsys)
    assert sorted(line.split(":")[0] for line in told[:-1]) == ["merged", "merged", "merged", "skipped"]
    assert told[-1] == "3 merged, 1 skipped" or told[-1] == "1 skipped, 3 merged"
    assert any("copied to results/runs/mini/listops/vmean/seed-2; add its seed to `seeds`" in line for line in told)
    swept = Path("results/sweep/mini/batch-8_rate-0.001/seed-1")
    for run in (RUN, RUN.parent / "seed-2", swept):
        entry = STORE / read_json(run / "metrics.json")["key"]
        assert {name: sha256(run / name) for name in RUN_FILES} == {name: sha256(entry / name) for name in RUN_FILES}
        origin = read_json(entry / "origin.json")
        assert origin["from"] == str(elsewhere) and origin["weights"]
    assert sha256(RUN / "metrics.json") == sha256(elsewhere / RUN.relative_to("results") / "metrics.json")
    before = (RUN / "metrics.json").stat().st_mtime
    assert before >= Path("data/mini/listops/manifest.json").stat().st_mtime, "Snakemake takes it for stale"
    assert main(["clean", "--yes"]) == 0
    assert (RUN / "metrics.json").is_file() and len(list(STORE.iterdir())) == 3
    # What Snakemake deletes before a job is found again, not trained.
    shutil.rmtree(RUN)
    capsys.readouterr()
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    assert "taken from" in capsys.readouterr().out
    assert main(["merge", str(elsewhere)]) == 0
    assert "3 present" in lines(capsys)[0][-1]


def test_runs_of_an_arena_that_tunes(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While no rate is chosen here a run may have any that is tried, and tries have their places too."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["tune"] = {"learning_rate": [1e-3, 3e-3], "steps": 4, "seed": 2}
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["merge", str(elsewhere)]) == 0
    told = " ".join(lines(capsys)[0])
    assert f"copied to {RUN} " in told
    assert "copied to results/tune/mini/listops/vmean/rate-0.001 " in told and "add its seed" not in told


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz", "zip"])
def test_an_archive_without_weights(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    """The run's rule promises weights: without a file there Snakemake would train the run again."""
    packed = here / f"packed.{ending}"
    assert main(["archive", str(packed), "--runs", str(elsewhere)]) == 0
    told, _ = lines(capsys)
    assert told[0].startswith("left out: ") and told[0].endswith(": cut short at 1 steps")
    assert told[-1].startswith(f"{packed}: 3 runs, ")
    assert main(["merge", str(packed)]) == 0
    entry = STORE / read_json(RUN / "metrics.json")["key"]
    metrics, sent = read_json(entry / "metrics.json"), read_json(elsewhere / "store" / entry.name / "metrics.json")
    assert metrics["weights_left_out"] == sent["files"]["model.safetensors"]
    assert metrics["test_accuracy"] == sent["test_accuracy"] and metrics["machine"] == sent["machine"]
    assert read_json(entry / "origin.json") | {"merged": ""} == {
        "from": str(packed), "merged": "", "checksum": sent["checksum"], "weights": False
    }  # fmt: skip
    shutil.rmtree(RUN)
    capsys.readouterr()
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    assert "taken from" in capsys.readouterr().out
    assert main(["collect", "--measures", "--metrics", f"{RUN}/metrics.json"]) == 0
    assert main(["evaluate", str(RUN)]) == 1
    assert "came from another machine without its weights" in capsys.readouterr().err
    assert main(["merge", str(packed)]) == 0
    assert "3 present" in lines(capsys)[0][-1]
    # The weights may follow.
    assert main(["merge", str(elsewhere)]) == 0
    assert main(["evaluate", str(RUN)]) == 0


def test_an_archive_with_weights(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "packed.tar.gz", "--weights", "--runs", str(elsewhere / "runs")]) == 0
    assert main(["merge", "packed.tar.gz"]) == 0
    assert main(["evaluate", str(RUN)]) == 0
    (elsewhere / "runs/mini/listops/vmean/seed-1/model.safetensors").unlink()
    assert main(["archive", "packed.tar", "--weights", "--runs", str(elsewhere / "runs")]) == 1
    assert "model.safetensors is missing; pack without --weights." in capsys.readouterr().err


def test_where_data_are_not_prepared_the_store_waits(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("data")
    assert main(["merge", str(elsewhere)]) == 0
    assert "its data are not prepared here" in capsys.readouterr().out
    assert not Path("results/runs").exists()
    assert main(["prepare", "listops", "--workers", "1"]) == 0
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    assert "taken from" in capsys.readouterr().out


def other_settings(run: Path) -> None:
    settings = read_json(run / "metrics.json")["settings"]
    settings["train"]["steps"] = 5
    changed(run, settings=settings)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_settings, "its settings differ from the scale mini of config.yaml: train.steps is 5, not 4."),
        (lambda run: changed(run, code="x"), "it was trained by other code than this"),
        (lambda run: changed(run, data="x"), "trained on other examples than data/mini/listops holds"),
    ],
)
def test_what_differs_is_refused_or_kept_apart(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], why: str
) -> None:
    run = elsewhere / "runs/mini/listops/vmean/seed-1"
    change(run)
    assert main(["merge", str(run)]) == 1
    out, error = lines(capsys)
    assert why in out[0] and out[0].startswith("refused: ") and "1 of 1 runs were refused" in error
    assert not Path("results").exists()
    for _ in range(2):
        assert main(["merge", str(run), "--apart", "theirs"]) == 0
        assert f"apart: {run} (listops vmean seed 1): in results/apart/theirs/listops/vmean/seed-1: " in (
            capsys.readouterr().out
        )
    kept = Path("results/apart/theirs/listops/vmean/seed-1")
    assert {path.name for path in kept.iterdir()} == {"origin.json", *RUN_FILES}
    assert not STORE.exists()
    assert main(["collect", "--measures", "--metrics", f"{kept}/metrics.json"]) == 0
    changed(run, code="y")
    assert main(["merge", str(run), "--apart", "theirs"]) == 1
    assert "contains another run; give another name to --apart." in capsys.readouterr().out


def break_settings(run: Path) -> None:
    changed(run, seed=7)


def break_name(run: Path) -> None:
    settings = read_json(run / "metrics.json")["settings"] | {"task": "../.."}
    changed(run, task="../..", settings=settings)


def break_key(run: Path) -> None:
    metrics = read_json(run / "metrics.json") | {"key": "0" * 16}
    (run / "metrics.json").write_text(json.dumps(sealed(metrics)))


def break_history(run: Path) -> None:
    (run / "history.csv").write_text("step,seconds\n1,nan\n")
    files = read_json(run / "metrics.json")["files"] | {"history.csv": sha256(run / "history.csv")}
    changed(run, files=files)


def be_large(run: Path) -> None:
    os.truncate(run / "history.csv", (1 << 26) + 1)


def be_a_link(run: Path) -> None:
    (run / "history.csv").rename(run / "h.csv")
    (run / "history.csv").symlink_to("h.csv")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (break_settings, "task, attention or seed differ from those in its settings"),
        (break_name, "'../..' is not allowed as the name of a folder"),
        (break_key, "its key does not match its settings, code and data"),
        (break_history, "contains a value that is not a finite number"),
        (be_large, "is larger than 64 MiB"),
        (be_a_link, "is a link; copy the file itself"),
        (lambda run: (run / "predictions.parquet").unlink(), "predictions.parquet is missing"),
        (lambda run: changed(run, test_rows=10**8), "is out of range"),
        (lambda run: changed(run, test_accuracy=float("nan")), "is out of range"),
        (lambda run: changed(run, test_accuracy=0.987), "does not match the metrics.json in its folder"),
        (lambda run: (run / "history.csv").write_text("x"), "is damaged or another run's"),
        (lambda run: changed(run, settings={}), "settings"),
        (lambda run: (run / "metrics.json").write_text("{}"), "is not the metrics.json of a run"),
    ],
)
def test_what_is_not_whole_is_refused(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], why: str
) -> None:
    """Kept apart or not: a number that nobody measured must not come in."""
    run = elsewhere / "runs/mini/listops/vmean/seed-1"
    change(run)
    assert main(["merge", str(run), "--apart", "theirs"]) == 1
    assert why in capsys.readouterr().out
    assert not Path("results").exists()


def test_a_run_that_nothing_asks_for(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["attentions"] = ["softmax"]
    config["scales"]["mini"]["sweep"]["attention"] = "softmax"
    # A scale without any of the configured tasks asks for nothing.
    config["scales"]["paper"] = config["scales"]["mini"] | {
        "tasks": {"image": config["scales"]["mini"]["tasks"]["image"]}
    }
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["merge", str(elsewhere / "runs/mini/listops/vmean/seed-1")]) == 1
    assert "does not list the task 'listops' with the attention 'vmean'" in capsys.readouterr().out


def test_what_is_here_stays(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed trained on two machines is no second sample, and what is being trained is not written to."""
    assert main([*TRAIN, "--out", str(RUN)]) == 0
    mine = sha256(RUN / "metrics.json")
    assert main(["merge", str(elsewhere / "runs/mini/listops/vmean/seed-1")]) == 0
    assert "has this run from another machine or attempt, with a test accuracy of" in capsys.readouterr().out
    assert sha256(RUN / "metrics.json") == mine
    key = read_json(elsewhere / "runs/mini/listops/vmean/seed-2/metrics.json")["key"]
    with file_lock(STORE / key):
        assert main(["merge", str(elsewhere / "runs/mini/listops/vmean/seed-2")]) == 1
    assert f"a run is being trained in results/store/{key}" in capsys.readouterr().out


def test_mistakes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "nowhere"]) == 1
    assert "nowhere contains no finished run" in capsys.readouterr().err
    assert main(["merge", ".", "--apart", "../x"]) == 1
    assert "--apart ../x is not allowed as the name of a folder" in capsys.readouterr().err
    assert main(["archive", "runs.rar"]) == 1
    assert "must end in .tar, .tar.gz, .tgz or .zip." in capsys.readouterr().err
