"""``lra --help`` and shell completion; the tests of other commands are in files of their own."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.workflow.arena import configuration

from lra.attention.registry import ALIASES, METHODS
from lra.cli.main import main, parser
from lra.cli.train import STOPPED
from lra.config.blocks import ARENA

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
