"""A copy of this checkout with a configuration of a few seconds a run, and what Snakemake does in it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "config.yaml", "workflow", "profiles", "envs", "src", "README.md")

LISTOPS = {
    "data": {
        "source": "generate",
        "rows": {"train": 200, "dev": 40, "test": 60},
        "seed": 0,
        "generator": {"min_length": 3, "max_length": 24, "max_depth": 4, "digit_probability": 0.5, "max_children": 4},
    },
    "train": {"batch": 16, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2},
}
IMAGE = {
    "data": {"source": "sklearn_digits", "upscale": 1, "rows": {"train": 300, "dev": 60, "test": 60}, "seed": 0},
    "train": dict(LISTOPS["train"]),
}


def configuration(**changes: Any) -> dict[str, Any]:
    """Two tasks that need no download, two attentions, one seed."""
    scale = {
        "features": 8,
        "threads": 1,
        "runtime": 5,
        "memory": 2000,
        "model": {"layers": 1, "embedding": 16, "hidden": 16, "heads": 2, "head_dim": 8},
        "tasks": {"listops": LISTOPS, "image": IMAGE},
    }
    base = {"scale": "mini", "tasks": ["listops"], "attentions": ["softmax", "vmean"], "seeds": [1]}
    # A measurement is at the task's true length, 2000: as little of it as there may be.
    base["measure"] = {"features": 8, "batch": 1, "repeats": 2, "seconds": 0}
    return base | {"scales": {"mini": scale}} | changes


@dataclass(frozen=True)
class Checkout:
    """A checkout in a folder of its own."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any]) -> Checkout:
        folder.mkdir(parents=True)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                # Compiled modules are copied, because compiling takes a second; not those that are being written.
                ignored = shutil.ignore_patterns("*.egg-info", "*.pyc.*")
                shutil.copytree(source, folder / name, symlinks=True, ignore=ignored)
            elif source.exists():
                shutil.copy2(source, folder / name)
        checkout = cls(folder)
        checkout.configure(config)
        return checkout

    def copy(self, folder: Path) -> Checkout:
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def configure(self, config: dict[str, Any]) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "snakemake", "--cores", "2", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        # The jobs' `python` must be the one that runs the tests.
        return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def snakemake(self, *arguments: str, code: int = 0, timeout: float = 300) -> str:
        """Run Snakemake; returns all that it printed."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted((self.folder / "logs").rglob("*.log")))

    def planned(self, *arguments: str) -> set[str]:
        """Rules with work that a run would carry out now, without the targets that only gather."""
        return worked(self.snakemake("--dry-run", *arguments))

    def ran(self, *arguments: str) -> set[str]:
        """Run, and say which rules worked."""
        return worked(self.snakemake(*arguments))

    def table(self) -> str:
        return (self.folder / "results" / "table.csv").read_text()


def worked(output: str) -> set[str]:
    """Names of the rules that fetch, prepare, train or measure; measuring with its attention, as training has it."""
    blocks = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", output, re.MULTILINE)
    kinds = ("download", "prepare_", "pretrain", "train_", "measure")
    return {cell(rule, block) for rule, block in blocks if rule.startswith(kinds) and "    output: " in block}


def cell(rule: str, block: str) -> str:
    """The rule; of the one that measures all attentions ``measure_ATTENTION``."""
    wildcard = re.search(r"^    wildcards: attention=(\w+)$", block, re.MULTILINE)
    return f"measure_{wildcard[1]}" if rule == "measure_attention" and wildcard else rule
