"""config.yaml, read and checked once; nobody else reads YAML.

A leaf: every room may import it, and it needs neither torch nor pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from lra.attention.registry import ALIASES, Method, names, resolve
from lra.errors import LraError, nearest
from lra.experiment import SHARD_ROWS, AttentionSettings, Experiment, ModelSettings, TrainSettings
from lra.fingerprint import classes
from lra.mapping import from_mapping

SCHEMA = Path(__file__).parents[2] / "workflow" / "schemas" / "config.schema.yaml"
SPLITS = ("train", "dev", "test")
EXTRACTED = {"lra_release", "pathfinder_tfds"}
"""Archives of which the tasks read what one pass extracts."""


@dataclass(frozen=True)
class Sweep:
    """One attention on one task, trained with every batch size at every learning rate (the paper's figure 3)."""

    attention: str
    task: str
    batch: tuple[int, ...]
    learning_rate: tuple[float, ...]

    def cells(self) -> list[str]:
        """The folder of each pair."""
        return [f"batch-{batch}_rate-{rate}" for batch in self.batch for rate in self.learning_rate]


@dataclass(frozen=True)
class Arena:
    """All that is run at the chosen scale.

    Args:
        scale: ``mini`` or ``paper``.
        tasks: names of the tasks, in order.
        attentions: each row's settings by name, in order.
        seeds: one run each.
        sources: where each artefact comes from, tried in order.
        measure: how cost is measured.
        settings: the scale's block of config.yaml.
        sweep: what is trained with other batch sizes and learning rates too, if anything.
    """

    scale: str
    tasks: tuple[str, ...]
    attentions: Mapping[str, AttentionSettings]
    seeds: tuple[int, ...]
    sources: Mapping[str, list[dict[str, Any]]]
    measure: Mapping[str, Any]
    settings: Mapping[str, Any]
    sweep: Sweep | None

    def experiment(self, attention: str, task: str, seed: int, **changes: Any) -> Experiment:
        """The resolved settings of one run, with ``changes`` of its training."""
        chosen = self.settings["tasks"][task]
        where = f"scales.{self.scale}.tasks.{task}"
        return Experiment(
            task=task,
            attention=self.attentions[attention],
            seed=seed,
            model=from_mapping(ModelSettings, self.settings["model"] | chosen.get("model", {}), f"{where}.model"),
            train=replace(from_mapping(TrainSettings, chosen["train"], f"{where}.train"), **changes),
        )

    def data(self, task: str) -> dict[str, Any]:
        """The task's data settings."""
        return dict(self.settings["tasks"][task]["data"])

    def artefact(self, task: str) -> str | None:
        """Name of the artefact in ``sources`` that the task reads; None where nothing is downloaded."""
        source = self.data(task)["source"]
        return source if source in self.sources else None

    def source(self, task: str) -> Path | None:
        """Where the task's artefact lies: as it was downloaded, or what was extracted of it."""
        artefact = self.artefact(task)
        return Path("data", "extracted" if artefact in EXTRACTED else "sources", artefact) if artefact else None

    def parts(self, task: str) -> dict[str, int]:
        """Number of Parquet files of each split, as far as the rows are known beforehand."""
        data = self.data(task)
        rows = data.get("rows") or data.get("expected_rows")
        return {split: -(-rows[split] // SHARD_ROWS) if rows else 1 for split in SPLITS}


def load(path: Path) -> Arena:
    """The arena that a config.yaml describes.

    Raises:
        LraError: the file is missing or not YAML, or a setting is wrong.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LraError(f"{path} is not there; run this in the project's folder or give --config.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise LraError(f"{path} cannot be read: {' '.join(str(problem).split())}.") from None
    return arena(config, path.parent)


def arena(config: Any, folder: Path = Path()) -> Arena:
    """Check a configuration as YAML or Snakemake gives it, and resolve it.

    Args:
        config: the content of config.yaml.
        folder: what paths of attentions of your own are relative to.

    Raises:
        LraError: one sentence that names the key, the value and what is allowed.
    """
    problem = best_match(Draft202012Validator(yaml.safe_load(SCHEMA.read_text())).iter_errors(config), relevance)
    if problem is not None:
        raise LraError(f"config.yaml: {_sentence(problem)}")
    scale = config["scale"]
    settings = config["scales"][scale]
    for task in config["tasks"]:
        if task not in settings["tasks"]:
            raise LraError(f"config.yaml: tasks: {task!r} has no settings under scales.{scale}.tasks.")
    attentions = {
        ALIASES.get(name, name): _attention(name, given or {}, settings["features"], folder)
        for name, given in config["attentions"].items()
    }
    chosen = Arena(
        scale,
        tuple(config["tasks"]),
        attentions,
        tuple(config["seeds"]),
        config.get("sources") or {},
        config.get("measure") or {},
        settings,
        _sweep(settings.get("sweep"), config["tasks"], attentions, f"scales.{scale}.sweep"),
    )
    for task in chosen.tasks:
        _check_source(chosen, task)
        train = settings["tasks"][task]["train"]
        if train["warmup"] >= train["steps"]:
            raise LraError(
                f"config.yaml: scales.{scale}.tasks.{task}.train.warmup: {train['warmup']} must be less than steps, "
                f"which is {train['steps']}."
            )
    return chosen


def _attention(name: str, given: Mapping[str, Any], features: int, folder: Path) -> AttentionSettings:
    name = ALIASES.get(name, name)
    module = given.get("module")
    if module is not None:
        method = Method(_own_class(name, module, folder))
    else:
        try:
            method = resolve(name)
        except ValueError:
            raise LraError(
                f"config.yaml: attentions: unknown attention {name!r}.{nearest(name, [*names(), *ALIASES])} "
                f"Known: {', '.join(names())}; your own needs `module: file.py:Class`."
            ) from None
    options = {**method.options, **given.get("options", {})}
    return AttentionSettings(name, given.get("features", features), options, method.path)


def _own_class(name: str, module: str, folder: Path) -> str:
    """Where a class of the user's own is, once it is known to be there."""
    where = f"config.yaml: attentions.{name}.module"
    if name in names():
        raise LraError(f"{where}: {name!r} already names a method of the registry; call your own something else.")
    file, _, class_name = module.partition(":")
    if file.endswith(".py"):
        file = str(folder / Path(file).expanduser())
    try:
        known = classes(file)
    except LraError as problem:
        raise LraError(f"{where}: {problem}") from None
    if class_name not in known:
        raise LraError(f"{where}: {file} defines no class {class_name!r}.{nearest(class_name, known)}")
    return f"{file}:{class_name}"


def _sweep(
    given: Mapping[str, Any] | None, tasks: Iterable[str], attentions: Iterable[str], where: str
) -> Sweep | None:
    """What is swept; None where its task or its attention is not among those that are run."""
    if given is None:
        return None
    sweep = from_mapping(Sweep, {**given, "attention": ALIASES.get(given["attention"], given["attention"])}, where)
    known = [*attentions, *names(), *ALIASES]
    if sweep.attention not in known:
        raise LraError(
            f"config.yaml: {where}.attention: unknown attention {sweep.attention!r}.{nearest(sweep.attention, known)}"
        )
    return sweep if sweep.task in tasks and sweep.attention in attentions else None


def _check_source(chosen: Arena, task: str) -> None:
    """A local path that is not there stops before any work, unless another source may do."""
    artefact = chosen.artefact(task)
    sources = chosen.sources[artefact] if artefact else []
    missing = [s["path"] for s in sources if "path" in s and not Path(s["path"]).expanduser().exists()]
    if missing and len(missing) == len(sources):
        raise LraError(f"config.yaml: sources.{artefact}: the path {missing[0]!r} is not there; correct it.")


def relevance(error: ValidationError) -> Any:
    """Prefer the deepest error: it names the key that is wrong."""
    return -len(error.path), error.validator != "additionalProperties"


def _sentence(error: ValidationError) -> str:
    """A schema violation in words: where, what, and what is allowed."""
    where = ".".join(map(str, error.absolute_path)) or "the file"
    value: Any = error.instance
    wanted: Any = error.validator_value
    schema: Any = error.schema
    match error.validator:
        case "additionalProperties":
            known = list(schema["properties"])
            key = next(key for key in value if key not in known)
            return f"{where}: unknown key {key!r}.{nearest(str(key), known)} Known: {', '.join(known)}."
        case "required":
            key = next(key for key in wanted if key not in value)
            return f"{where}: {key!r} is missing."
        case "enum":
            return f"{where}: {value!r} is not one of {_listed(wanted)}.{nearest(str(value), map(str, wanted))}"
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"{where}: {value!r} is not {' or '.join(_KINDS[kind] for kind in kinds)}."
        case "minimum":
            return f"{where}: {value!r} is less than {wanted}, the least allowed."
        case "exclusiveMinimum":
            return f"{where}: {value!r} must be more than {wanted}."
        case "maximum":
            return f"{where}: {value!r} is more than {wanted}, the most allowed."
        case "minItems" | "minProperties":
            return f"{where}: nothing is listed; give at least {wanted}."
        case "uniqueItems":
            return f"{where}: an entry is listed twice."
        case _:
            return f"{where}: {error.message}."


_KINDS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of settings",
    "null": "empty",
}


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))
