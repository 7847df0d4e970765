"""The environments: one set of versions everywhere, and each declares what its rules import."""

from __future__ import annotations

import argparse
import ast
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest
import yaml

import lra.attention
import lra.tasks
from lra.attention.registry import METHODS
from lra.cli import main as cli
from lra.errors import LraError
from lra.fingerprint import source_of

ROOT = Path(__file__).parents[1]
ENVS = ("data", "train", "report")
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "tensorflow": "tensorflow-cpu"}
DISTRIBUTIONS |= {"triton": "torch"}
"""Distributions that are not called as what one imports; the torch for GPUs brings Triton along."""
NEEDED_BY_OTHERS = {"setuptools", "tensorflow-cpu"}
"""Of pip, to read a source distribution; of tensorflow-datasets."""
LOADED_BY_NAME = {
    "lra.data.prepare": [f"lra.tasks.{module.name}" for module in pkgutil.iter_modules(lra.tasks.__path__)],
    "lra.attention.registry": sorted({method.path.partition(":")[0] for method in METHODS.values()}),
}
TRAINS = {"lra.training.run", "lra.cost.training_step", "lra.cost.approximation_error", "lra.cost.attention_core"}
"""Only with these does the registry load an attention."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    found = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {normal(name): version.strip() for name, version in found.items()}


def requirements(*names: str) -> dict[str, str]:
    return pins([line for name in names for line in (ROOT / name).read_text().splitlines()])


def declared(env: str) -> dict[str, str]:
    dependencies = yaml.safe_load((ROOT / "envs" / f"{env}.yaml").read_text())["dependencies"]
    return pins(next(part["pip"] for part in dependencies if isinstance(part, dict)))


def commands_of(env: str) -> set[str]:
    """The commands that the rules of an environment run."""
    rules = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    pieces = re.split(r"^ *(?:rule|checkpoint)\b.*:$", rules, flags=re.MULTILINE)
    named = {
        command for piece in pieces if f"envs/{env}.yaml" in piece for command in re.findall(r"-m lra ([\w-]+)", piece)
    }
    return named | (plot_commands(rules) if env == "report" else set())


def plot_commands(rules: str) -> set[str]:
    """The commands of the rule that draws every figure, which it takes from a table."""
    return set(re.findall(r"\bPlot\(\s*\"([\w-]+)", rules))


SUBPARSERS = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
HANDLERS: dict[str, FunctionType] = {command: parser.get_default("run") for command, parser in SUBPARSERS.items()}
TOP_ONLY = {"lra.cli.main", "lra.attention.registry", *(handler.__module__ for handler in HANDLERS.values())}
"""Modules of which a rule uses one function and not the others: only what that function reaches counts."""


def imported(node: ast.AST, inside: bool = True) -> Iterator[str]:
    """Modules that a piece of code imports, those for type checkers left out; without what its functions import."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        elif isinstance(child, ast.FunctionDef) and (not inside or child.name == "__getattr__"):
            continue  # a module's own __getattr__ imports only for who asks
        else:
            yield from imported(child, inside)


def source(module: str) -> ast.Module | None:
    try:
        return ast.parse(source_of(module).read_text())
    except LraError:  # a name in a module
        return None


def of_command(function: FunctionType) -> set[str]:
    """What a command imports: its function, the functions of its module that it names, and the top of the module."""
    tree = ast.parse(inspect.getsource(sys.modules[function.__module__]))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    found, waiting = set(imported(tree, inside=False)), [function.__name__]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in functions:
            continue
        seen.add(name)
        found |= set(imported(functions[name]))
        waiting += [node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)]
    return found


def third_party(command: str) -> set[str]:
    """Distributions that a command imports, directly or through the package's modules, wherever the import stands."""
    modules: set[str] = set()
    waiting = of_command(HANDLERS[command])
    while waiting:
        name = waiting.pop()
        if name in modules:
            continue
        modules.add(name)
        if name.partition(".")[0] == "lra" and (tree := source(name)):
            waiting |= set(imported(tree, inside=name not in TOP_ONLY))
            waiting |= {".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)}
        if name == "lra.data.prepare" or (name == "lra.attention.registry" and modules & TRAINS):
            waiting |= set(LOADED_BY_NAME[name])
    if modules & TRAINS:
        for name in LOADED_BY_NAME["lra.attention.registry"]:
            modules |= set(imported(source(name) or ast.Module([], [])))
    tops = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names) - {"lra", "__future__"}
    return {DISTRIBUTIONS.get(top, normal(top)) for top in tops}


def test_measuring_describes_each_task_without_the_packages_that_read_data() -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["PIL", "matplotlib", "sklearn", "tensorflow", "tensorflow_datasets"]))
from lra.config.arena import arena, read_layers
from lra.data.synthetic import describe
config = read_layers(["config.yaml"])["config.yaml"]
for scale in ("mini", "paper"):
    chosen = arena(config | {"scale": scale})
    for task in chosen.settings["tasks"]:
        print(describe(task, chosen.data(task)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Task(") == 11


@pytest.mark.parametrize("env", ENVS)
def test_an_environment_has_the_versions_that_make_installs(env: str) -> None:
    locked = requirements("requirements.txt", "requirements-dev.txt")
    assert declared(env).items() <= locked.items()


def test_torch_is_the_release_that_results_were_made_with() -> None:
    assert declared("train")["torch"] == requirements("requirements.txt")["torch"] == "2.13.0"


@pytest.mark.parametrize("env", ENVS)
def test_an_environment_declares_just_what_its_rules_import(env: str) -> None:
    commands = commands_of(env)
    assert commands
    needed = {command: third_party(command) for command in commands}
    missing = {command: names - set(declared(env)) for command, names in needed.items()}
    assert not any(missing.values()), missing
    unused = set(declared(env)) - set().union(*needed.values()) - NEEDED_BY_OTHERS
    assert not unused, "declared, but nothing imports it"


def test_every_rule_that_runs_the_package_has_an_environment() -> None:
    rules = "".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    named = set(re.findall(r"-m lra ([\w-]+)", rules)) | plot_commands(rules)
    assert named == set().union(*(commands_of(env) for env in ENVS))


def test_what_make_installs_covers_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]

    def distributions(*lists: list[str]) -> set[str]:
        return {normal(re.split(r"[=<>\[;]", name)[0]) for names in lists for name in names} - {"lra"}

    for_the_arena = distributions(project["dependencies"], *(extras[name] for name in ("arena", "report", "workflow")))
    assert for_the_arena <= set(requirements("requirements.txt"))
    assert distributions(*extras.values()) <= set(requirements("requirements.txt", "requirements-dev.txt"))


def test_the_attentions_need_torch_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    modules = [module.name for module in pkgutil.iter_modules(lra.attention.__path__, "lra.attention.")]
    found = {name.partition(".")[0] for module in modules for name in imported(source(module) or ast.Module([], []))}
    # Torch brings triton along for GPUs; onnxscript is imported where a module is exported to ONNX.
    assert found - set(sys.stdlib_module_names) - {"lra"} == {"torch", "triton", "onnxscript"}
    assert {"torch"} == {normal(re.split(r"[=<>]", name)[0]) for name in project["dependencies"]}
