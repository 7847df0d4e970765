"""``lra train`` and ``lra pretrain``: names, folders, messages and exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.cli.main import main
from lra.cli.train import STOPPED
from lra.fingerprint import fingerprint
from lra.training.evaluation import Score
from lra.training.progress import Interrupted
from lra.training.trainer import Trainer


@pytest.fixture
def arena(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The configuration of a folder with prepared data."""
    monkeypatch.chdir(tmp_path)
    config = configuration()
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["prepare", "listops", "--workers", "1"]) == 0
    return config


def settings_of(config: dict[str, Any], **attention: Any) -> list[str]:
    """What a rule gives `lra train` in place of config.yaml, which is not there."""
    Path("config.yaml").unlink()
    scale = config["scales"]["mini"]
    settings = {"task": "listops", "attention": attention, "model": scale["model"]}
    settings["train"] = scale["tasks"]["listops"]["train"]
    return ["train", "--settings", json.dumps(settings), "--data", "data/mini/listops", "--threads", "1"]


def test_a_run_is_trained_by_its_name_and_scored_again(arena: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "--attn", "vmean", "--task", "lra-listops", "--threads", "1"]
    assert main(command) == 0
    folder = Path("results/tries/mini/listops/vmean/seed-1")
    metrics = json.loads((folder / "metrics.json").read_text())
    name = "listops vmean seed 1:"
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{name} test accuracy {metrics['test_accuracy']:.4f} (majority {metrics['majority_accuracy']:.4f}), "
        f"4 steps in {metrics['train_seconds']:.1f} s"
    )
    assert main(["evaluate", str(folder), "--split", "dev"]) == 0
    assert capsys.readouterr().out == f"{name} dev accuracy {metrics['dev_accuracy']:.4f}\n"
    shutil.move("results/tries", "results/runs")
    assert main([*command, "--mode", "eval"]) == 0
    assert capsys.readouterr().out == f"{name} test accuracy {metrics['test_accuracy']:.4f}\n"


def test_a_rule_needs_no_config(arena: dict[str, Any]) -> None:
    command = settings_of(arena, name="vmean")
    assert main([*command, "--seed", "3", "--max-steps", "1"]) == 0
    metrics = json.loads(Path("results/tries/custom/listops/vmean/seed-3/metrics.json").read_text())
    assert (metrics["seed"], metrics["settings"]["seed"], metrics["steps"]) == (3, 3, 1)
    assert metrics["code"] == fingerprint("lra.training.run", "lra.attention.vmean")


def test_a_rule_with_an_unknown_method(arena: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(settings_of(arena, name="vmeen")) == 1
    assert capsys.readouterr().err.startswith("Error: unknown attention 'vmeen'. Did you mean 'vmean'?")


def test_a_pretraining_is_a_run_of_its_own(arena: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pretrain", "--attention", "vmean", "--task", "listops", "--threads", "1"]
    assert main(command) == 1
    assert "vmean on listops is not pretrained; say `pretrain: true` in config.yaml" in capsys.readouterr().err
    assert main(["train", *command[1:], "--pretrained", "anywhere"]) == 1
    assert "--pretrained: vmean on listops starts from random weights; say `pretrain: true`" in capsys.readouterr().err
    block = {"mask": 0.1, "batch": 16, "learning_rate": 1e-3, "warmup": 1, "steps": 2, "evaluate_every": 2}
    arena["scales"]["mini"]["tasks"]["listops"]["pretrain"] = block
    Path("config.yaml").write_text(yaml.safe_dump(arena | {"pretrain": True}))
    assert main(command) == 0
    assert "of the hidden tokens of dev predicted, 2 steps in" in capsys.readouterr().out
    folder = Path("results/tries/mini/listops/vmean/seed-1-pretraining")
    pretrained = json.loads((folder / "metrics.json").read_text())
    assert main(["train", *command[1:], "--pretrained", str(folder)]) == 0
    run = json.loads(Path("results/tries/mini/listops/vmean/seed-1/metrics.json").read_text())
    assert run["pretraining"]["key"] == pretrained["key"]
    # A rule gives the settings of the pretraining itself.
    settings = json.dumps({name: value for name, value in pretrained["settings"].items() if name != "seed"})
    assert main(["pretrain", "--settings", settings, "--data", "data/mini/listops", "--threads", "1"]) == 0
    assert "taken from" in capsys.readouterr().out
    assert main(["clean"]) == 0
    assert "results/store" not in capsys.readouterr().out
    # It is no row of a table, and no archive takes it.
    assert main(["archive", "runs.tar", "--runs", "results/tries"]) == 0
    assert main(["archive", "none.tar", "--runs", str(folder)]) == 1
    assert "contains only pretrainings; give the runs that start from them" in capsys.readouterr().err
    Path("config.yaml").write_text(yaml.safe_dump(arena))
    shutil.rmtree("results/tries")
    assert main(["clean"]) == 0
    assert "listops vmean seed 1, pretraining, ok" in capsys.readouterr().out


def test_a_run_that_failed_is_told_with_its_reason(arena: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(settings_of(arena, name="bigbird", options={"block_size": 0})) == 0
    assert capsys.readouterr().out.startswith("listops bigbird seed 1: failed, ValueError: block_size must be at least")


def test_a_run_that_is_stopped_says_how_to_go_on(
    arena: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(self: Trainer) -> Score:
        raise Interrupted

    monkeypatch.setattr(Trainer, "run", stopped)
    assert main(["train", "--attention", "vmean", "--task", "listops"]) == STOPPED
    assert capsys.readouterr().err.endswith("stopped; run the same command again to go on from here\n")
