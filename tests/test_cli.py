"""``lra --help`` and shell completion; what each command does is tested where its room is."""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lra.attention.registry import ALIASES, METHODS
from lra.cli import STOPPED, main, parser
from lra.schema import ARENA

ROOT = Path(__file__).parents[1]
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
        ("lra prepare pa", ["pathfinder"]),
        ("lra measure --attention vmean --task list", ["listops"]),
        ("lra bench --attentions vmean lin", ["linformer", "linformer_jlt"]),
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
    assert set(ARENA) == set(yaml.safe_load((ROOT / "config.yaml").read_text())["tasks"])


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_accepts_its_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    (tmp_path / "_lra").write_text(capsys.readouterr().out)
    subprocess.run(["zsh", "-n", str(tmp_path / "_lra")], check=True)
