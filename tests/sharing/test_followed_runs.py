"""A run travels with its pretraining and the tries of its learning rate, so that nobody has to make them again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from lra.cli.main import main
from lra.files import read_json, sealed
from lra.paths import STORE
from lra.training.run_folder import run_key
from sharing.tuned_arena import PRETRAININGS, ROW, RUN, TRIES, make_arena

PACKED = "packed.tar"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_arena(tmp_path_factory.mktemp("elsewhere"))


def archived(elsewhere: Path, *options: str) -> None:
    assert main(["archive", PACKED, *options, "--runs", str(elsewhere / "runs")]) == 0


def told(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_all_that_a_run_follows_from_comes_with_it(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(elsewhere)
    assert f"{PACKED}: 5 runs, " in told(capsys), "a run, two tries, and the pretraining of each seed"
    assert main(["merge", PACKED]) == 0
    text = told(capsys)
    assert "5 merged" in text and "add its seed" not in text
    assert f"copied to {PRETRAININGS / 'seed-1'}" in text and f"copied to {PRETRAININGS / 'seed-9'}" in text
    assert read_json(TRIES / "choice.json") == read_json(elsewhere / TRIES.relative_to("results") / "choice.json")
    times = [
        (path / "metrics.json").stat().st_mtime_ns
        for path in (PRETRAININGS / "seed-9", TRIES / "rate-0.001", PRETRAININGS / "seed-1", RUN)
    ]
    assert times[0] < times[1] and times[2] < times[3], "older than what it starts from, a run would be repeated"
    assert (TRIES / "choice.json").stat().st_mtime_ns > (TRIES / "rate-0.01/metrics.json").stat().st_mtime_ns
    assert main(["merge", PACKED]) == 0
    assert "5 present" in told(capsys)


def test_a_pretraining_without_weights_starts_no_run(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The workflow expects the file of its weights, and another run that would start from it must not."""
    archived(elsewhere)
    assert main(["merge", PACKED]) == 0
    first = PRETRAININGS / "seed-1"
    assert read_json(first / "metrics.json")["weights_left_out"]
    run = ["train", "--settings", other_settings(), "--data", "data/mini/listops", "--threads", "1"]
    capsys.readouterr()
    assert main([*run, "--pretrained", str(first), "--out", "other"]) == 1
    assert f"{first} came from another machine without its weights; merge an archive made `--weights`" in told(capsys)
    archived(elsewhere, "--weights")
    assert main(["merge", PACKED]) == 0
    assert main([*run, "--pretrained", str(first), "--out", "other"]) == 0


def other_settings() -> str:
    """Settings of a longer run from the same pretraining."""
    settings = read_json(RUN / "metrics.json")["settings"]
    settings["train"]["steps"] = 5
    return json.dumps({name: value for name, value in settings.items() if name != "seed"})


def test_a_folder_of_results(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(elsewhere)]) == 0
    assert "5 merged" in told(capsys)
    assert (TRIES / "choice.json").is_file() and (PRETRAININGS / "seed-1/model.safetensors").is_file()


def test_tries_of_before_make_no_choice(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Snakemake repeats them, and chooses then."""
    stale = TRIES / "rate-0.01"
    shutil.copytree(elsewhere / stale.relative_to("results"), stale)
    resealed(stale, code="x")
    shutil.copytree(stale, STORE / read_json(stale / "metrics.json")["key"])
    assert main(["merge", str(elsewhere / TRIES.relative_to("results") / "rate-0.001")]) == 0
    assert "1 merged" in told(capsys)
    assert not (TRIES / "choice.json").exists()


def resealed(run: Path, **changes: object) -> None:
    metrics = read_json(run / "metrics.json") | changes
    metrics["key"] = run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    (run / "metrics.json").write_text(json.dumps(sealed(metrics)))


def test_a_pretraining_that_no_run_here_can_start_from(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = (
        elsewhere / "store" / read_json(elsewhere / RUN.relative_to("results") / "metrics.json")["pretraining"]["key"]
    )
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["tasks"]["listops"]["pretrain"]["mask"] = 0.2
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["merge", str(first)]) == 1
    assert "seed 1, pretraining): its settings differ from the scale mini of config.yaml: mask is 0.1" in told(capsys)
    assert main(["merge", str(first), "--apart", "theirs"]) == 0
    assert "no run here can start from it" in told(capsys)
    config["attentions"] = [{ROW: {"method": "vmean"}}]
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["merge", str(first)]) == 1
    assert f"the attention {ROW!r}, pretrained." in told(capsys)
    assert not Path("results").exists()
    resealed(first, dev_accuracy=7.0)
    assert main(["merge", str(first)]) == 1
    assert "test_rows or dev_accuracy is out of range" in told(capsys)


def test_a_pretraining_of_another_machine_is_left_out(
    here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(elsewhere)]) == 0
    key = read_json(RUN / "metrics.json")["pretraining"]["key"]
    resealed(elsewhere / "store" / key, dev_accuracy=0.25)
    assert main(["merge", str(elsewhere / "store" / key)]) == 0
    assert "the run with 0.25 is left out" in told(capsys)


def test_what_is_not_packed(here: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = read_json(elsewhere / RUN.relative_to("results") / "metrics.json")["pretraining"]["key"]
    assert main(["archive", PACKED, "--runs", str(elsewhere / "store" / key)]) == 1
    assert "contains only pretrainings; give the runs that start from them" in told(capsys)
    shutil.rmtree(elsewhere / "store" / key)
    archived(elsewhere)
    assert f"left out: {elsewhere / 'store' / key}: not there, and a packed run follows from it" in told(capsys)
    shutil.copytree(elsewhere / "runs", here / "runs")
    assert main(["archive", PACKED, "--runs", "runs"]) == 0
    assert f"{PACKED}: 1 runs, " in told(capsys), "no store is beside it"
