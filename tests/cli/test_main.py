"""``lra --help``, shell completion and training; what other commands do is tested where their room is."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.attention.registry import ALIASES, METHODS
from lra.cli.main import main, parser
from lra.cli.train import STOPPED
from lra.config.blocks import ARENA
from lra.fingerprint import fingerprint
from lra.training.evaluation import Score
from lra.training.progress import Interrupted
from lra.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
COMMANDS = next(action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)).choices


def printed_by(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help_tells_the_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    printed = printed_by(capsys, "--help")
    assert all(f"    {command}" in printed for command in COMMANDS)
    assert all(f"\n  {code} " in printed for code in (0, 1, 2, STOPPED, 130))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_argument(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = COMMANDS[command]
    assert listed.description and listed.description.endswith(".")
    unexplained = [argument.dest for argument in listed._actions if not argument.help]
    assert not unexplained
    assert printed_by(capsys, command, "--help").startswith(f"usage: lra {command} ")


def completed(script: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line, which may be empty."""
    words = line.split(" ")
    ask = (
        f"compopt() {{ :; }}; source {shlex.quote(str(script))}; COMP_WORDS=({' '.join(map(shlex.quote, words))}); "
        f"COMP_CWORD={len(words) - 1}; _shtab_lra; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=script.parent)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    path = tmp_path_factory.mktemp("completion") / "lra.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as stream:
        patch.setattr("sys.stdout", stream)
        assert main(["completion", "bash"]) == 0
    (path.parent / "mine.py").touch()
    return path


@pytest.fixture
def own_names(bash_script: Path) -> Iterator[None]:
    """An attention and a task of the user's own in the config.yaml of the folder, added after the script was made."""
    config = configuration()
    config["attentions"].append({"mine_own": {"module": "lra.attention.vmean:VMean"}})
    data = {"module": "random:choices", "classes": 2, "vocabulary": 2, "max_length": 4}
    config["scales"]["mini"]["tasks"]["my_task"] = config["scales"]["mini"]["tasks"]["listops"] | {"data": data}
    path = bash_script.parent / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    yield
    path.unlink()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lra train --attention m", ["mine_own"]),
        ("lra bench --attentions vmean m", ["mine_own"]),
        ("lra train --task my", ["my_task"]),
        ("lra prepare my", ["my_task"]),
        ("lra check m", ["mine_own", "my_task", "mine.py"]),
    ],
)
def test_bash_completes_names_of_config(line: str, offered: list[str], bash_script: Path, own_names: None) -> None:
    assert completed(bash_script, line) == offered


def test_bash_accepts_the_script(bash_script: Path) -> None:
    subprocess.run(["bash", "-n", str(bash_script)], check=True)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("lra tr", ["train"]),
        ("lra train --max", ["--max-steps"]),
        ("lra train --attention skeinf", ["skeinformer"]),
        ("lra train --attn perf", ["performer", "perfromer"]),
        ("lra train --task ", list(ARENA)),
        ("lra prepare pa", ["pathfinder", "pathx"]),
        ("lra measure --attention vmean --task list", ["listops"]),
        ("lra bench --attentions vmean lin", ["linformer", "linformer_jlt", "linear"]),
        ("lra plots loss", ["loss_seconds", "loss_steps"]),
        ("lra check mi", ["mine.py"]),
        ("lra train --config mi", ["mine.py"]),
        ("lra completion z", ["zsh"]),
    ],
)
def test_bash_completes(line: str, offered: list[str], bash_script: Path) -> None:
    assert completed(bash_script, line) == offered


def test_all_attentions_and_tasks_are_offered(bash_script: Path) -> None:
    assert set(completed(bash_script, "lra train --attention ")) >= {*METHODS, *ALIASES}
    assert set(ARENA) == {*yaml.safe_load((ROOT / "config.yaml").read_text())["tasks"], "pathx"}


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_accepts_its_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    (tmp_path / "_lra").write_text(capsys.readouterr().out)
    subprocess.run(["zsh", "-n", str(tmp_path / "_lra")], check=True)


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
    assert "contains no finished run" in capsys.readouterr().err
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


def test_files_in_the_current_folder_hide_no_module(tmp_path: Path) -> None:
    """`python -m` puts the folder first on sys.path: a stray tokenize.py or a method in random.py ended every job."""
    (tmp_path / "tokenize.py").write_text("raise SystemExit('mine')\n")
    (tmp_path / "random.py").write_text(
        "from lra.attention.vmean import VMean\n\nfrom beside import Base\n\n\nclass Mine(Base, VMean):\n    pass\n"
    )
    (tmp_path / "beside.py").write_text("class Base:\n    pass\n")
    command = [sys.executable, "-m", "lra", "check", "random.py:Mine"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
