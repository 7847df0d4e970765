"""config.yaml resolved: what is run, with which settings, from which sources.

It needs neither torch nor pyarrow. :mod:`lra.config.blocks` says what the file may hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from lra import paths
from lra.attention.registry import ALIASES, Method, hidden, names, resolve
from lra.config.blocks import AttentionBlock, AttentionItem, Configuration, TuneBlock
from lra.config.mapping import as_mapping, from_mapping
from lra.config.reading import origin, read_config
from lra.config.settings import (
    SHARD_ROWS,
    ApproximateSettings,
    AttentionSettings,
    BenchSettings,
    Experiment,
    MeasureSettings,
    ModelSettings,
    TrainSettings,
)
from lra.errors import LraError, nearest
from lra.fingerprint import defined, descends, keywords
from lra.tasks.description import SPLITS
from lra.tasks.settings.pathfinder import Parameters

ATTENTION = {"lra.attention.Attention", "lra.attention.contract.Attention"}
"""The class that every attention descends from, by its two names."""
GIVEN = {"heads", "head_dim", "max_length", "features"}
"""What every attention is made with besides its options."""
HEADINGS = {"attention", "average", "model"}
"""What stands beside the tasks at the head of tables, and of the paper's."""
TEXTS = "text"
"""The task whose texts approximations are compared on."""
UNDESCRIBING = {"rows", "expected_rows", "seed", "dev", "split", "options"}
"""Data settings that change rows, but neither their length nor anything else that a model must know."""
EXTRACTED = {"lra_release", "pathfinder_tfds"}
"""Archives of which the tasks read what one pass extracts."""


@dataclass(frozen=True)
class Sweep:
    """One attention on one task, trained with every batch size at every learning rate (the paper's figure 3)."""

    attention: str
    task: str
    batch: tuple[int, ...]
    learning_rate: tuple[float, ...]

    def cells(self) -> dict[str, tuple[int, float]]:
        """Each pair of a batch size and a learning rate, by the name of its folder."""
        return {f"batch-{batch}_rate-{rate}": (batch, rate) for batch in self.batch for rate in self.learning_rate}


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
        bench: at which lengths the attentions' cores are timed, and how often; empty for not at all.
        settings: the scale's block of config.yaml, its ``options`` being for training only.
        sweep: what is trained with other batch sizes and learning rates too, if anything.
        tune: the short runs that choose each cell's learning rate; None where all methods of a task share one.
        true_size: the settings of every task of the scale ``paper``, and of those that only the chosen scale has.
    """

    scale: str
    tasks: tuple[str, ...]
    attentions: Mapping[str, AttentionSettings]
    seeds: tuple[int, ...]
    sources: Mapping[str, list[dict[str, Any]]]
    measure: Mapping[str, Any]
    bench: Mapping[str, Any]
    settings: Mapping[str, Any]
    sweep: Sweep | None
    tune: TuneBlock | None
    true_size: Mapping[str, Any]

    def experiment(self, attention: str, task: str, seed: int, **changes: Any) -> Experiment:
        """The resolved settings of one run, with ``changes`` of its training."""
        chosen = self.settings["tasks"][task]
        where = f"scales.{self.scale}.tasks.{task}"
        method = self.attentions[attention]
        options = {**self.settings.get("options", {}).get(attention, {}), **method.options}
        return Experiment(
            task=task,
            attention=replace(method, options=options),
            seed=seed,
            model=from_mapping(ModelSettings, self.settings["model"] | (chosen.get("model") or {}), f"{where}.model"),
            train=replace(from_mapping(TrainSettings, chosen["train"], f"{where}.train"), **changes),
        )

    def tries(self, attention: str, task: str) -> dict[str, Experiment]:
        """The short runs that choose a cell's learning rate, by the name of their folder; none where nothing is tuned.

        A bound in seconds or FLOPs is for the final runs: here every method has the same steps.
        """
        if self.tune is None:
            return {}
        train = self.settings["tasks"][task]["train"]
        changes = {
            "steps": self.tune.steps,
            "warmup": train["warmup"] * self.tune.steps // train["steps"],
            "seconds": None,
            "flops": None,
        }
        return {
            f"rate-{rate}": self.experiment(attention, task, self.tune.seed, learning_rate=rate, **changes)
            for rate in self.tune.learning_rate
        }

    def measured_attention(self, attention: str) -> AttentionSettings:
        """An attention as its cost is measured: with the budget of the ``measure`` block."""
        return replace(self.attentions[attention], features=self.measure.get("features", AttentionSettings.features))

    def measure_settings(self, attention: str, task: str) -> MeasureSettings:
        """How the cost of training an attention on a task of true size is measured.

        Raises:
            LraError: there is no such task.
        """
        if task not in self.true_size:
            raise LraError(f"unknown task {task!r}.{nearest(task, self.true_size)} Known: {', '.join(self.true_size)}.")
        data, train = self.true_size[task]["data"], self.true_size[task]["train"]
        described = {key: value for key, value in data.items() if key not in UNDESCRIBING}
        block = {key: value for key, value in self.measure.items() if key != "features"} | {
            "attention": as_mapping(self.measured_attention(attention)),
            "data": {"name": task, **described} if "module" in data else described,
            "train_batch": train["batch"],
            "train_precision": train.get("precision", "fp32"),
        }
        return from_mapping(MeasureSettings, block, "measure")

    def approximate_settings(self, attention: str) -> ApproximateSettings:
        """How an attention's error is found.

        Raises:
            LraError: the scale has no task with texts.
        """
        if TEXTS not in self.settings["tasks"]:
            raise LraError(f"the scale {self.scale!r} has no task {TEXTS!r}, on whose data errors are found.")
        method = as_mapping(self.attentions[attention], leave_out="features")
        model = as_mapping(self.experiment(attention, TEXTS, seed=0).model)
        block = {"attention": method, "model": model, **self.settings.get("approximate", {})}
        return from_mapping(ApproximateSettings, block, f"scales.{self.scale}.approximate")

    def bench_settings(self, *attentions: str) -> BenchSettings:
        """How the cores of some attentions are timed; there is a ``bench`` block."""
        methods = tuple(self.measured_attention(attention) for attention in attentions)
        return BenchSettings(methods, lengths=tuple(self.bench["lengths"]), repeats=self.bench["repeats"])

    def data(self, task: str) -> dict[str, Any]:
        """The task's data settings; those of a task of your own hold its name too."""
        data = dict(self.settings["tasks"][task]["data"])
        return {"name": task} | data if "module" in data else data

    def own(self, task: str) -> str | None:
        """Where the function is that yields a task of your own, ``file.py:function``; None for the Arena's tasks."""
        return self.data(task).get("module")

    def artefact(self, task: str) -> str | None:
        """Name of the artefact in ``sources`` that the task reads; None where nothing is downloaded."""
        source = self.data(task).get("source")
        return source if source in self.sources and not self.own(task) else None

    def source(self, task: str) -> Path | None:
        """What the task reads: its artefact as it was downloaded or extracted, or a file or folder of your own."""
        artefact = self.artefact(task)
        if artefact:
            return paths.extracted(artefact) if artefact in EXTRACTED else paths.source(artefact)
        own = self.data(task).get("source") if self.own(task) else None
        return Path(own) if own else None

    def extracted_parts(self, artefact: str) -> list[str]:
        """What the tasks need of an archive: the name of a task or, of Pathfinder and Path-X, ``pathfinder<size>``."""
        parts = set()
        for task in self.tasks:
            if self.artefact(task) == artefact:
                size = (self.data(task).get("generator") or {}).get("image_size", Parameters.image_size)
                parts.add(f"pathfinder{size}" if task in ("pathfinder", "pathx") else task)
        return sorted(parts)

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
    config = read_config(path)
    return arena(config, path.parent, {str(path): config})


def arena(config: Any, folder: Path = Path(), files: Mapping[str, Any] = MappingProxyType({})) -> Arena:
    """Check a configuration as YAML or Snakemake gives it, and resolve it.

    Args:
        config: the content of config.yaml.
        folder: what paths of attentions and tasks of your own are relative to.
        files: what each of the files says whose settings were laid over another, by name, the last one on top; an error
            names the one it comes from.

    Raises:
        LraError: one sentence that names the file, the key, the value and what is allowed.
    """
    try:
        return _resolved(config, folder)
    except LraError as problem:
        raise LraError(f"{origin(str(problem), files)}: {problem}") from None


def _resolved(config: Any, folder: Path) -> Arena:
    given = from_mapping(Configuration, config)
    settings = config["scales"].get(given.scale)
    if settings is None:
        raise LraError(f"scales: {given.scale!r}, which `scale` asks for, is missing.")
    where = f"scales.{given.scale}"
    blocks = _given(settings["tasks"])
    tasks = {name: _task(name, block, folder, f"{where}.tasks") for name, block in blocks.items()}
    settings = settings | {"tasks": tasks}
    for task in given.tasks:
        if task not in tasks:
            raise LraError(
                f"tasks: {task!r} has no settings under {where}.tasks.{nearest(task, tasks)} Known: {', '.join(tasks)}."
            )
    listed = _by_name(given.attentions)
    if clash := next(((name, value) for name, value in hidden().items() if name in listed), None):
        raise LraError(
            f"attentions: the entry point {clash[0]!r} of an installed package, {clash[1]}, has the name of a method "
            "of the registry; rename it or uninstall that package."
        )
    attentions = {name: _attention(name, block, settings["features"], folder) for name, block in listed.items()}
    for name, options in settings.get("options", {}).items():
        known = [*attentions, *names()]
        if name not in known:
            raise LraError(f"{where}.options: unknown attention {name!r}.{nearest(name, known)}")
        if name in attentions:
            _check_options(f"{where}.options.{name}", options, attentions[name].module)
    paper = (config["scales"].get("paper") or {}).get("tasks", {})
    chosen = Arena(
        given.scale,
        given.tasks,
        attentions,
        given.seeds,
        {name: [_given(place) for place in places] for name, places in _given(config.get("sources", {})).items()},
        config.get("measure", {}),
        config.get("bench") or {},
        settings,
        _sweep(settings.get("sweep"), given.tasks, tasks, attentions, f"{where}.sweep"),
        from_mapping(TuneBlock, settings["tune"], f"{where}.tune") if settings.get("tune") else None,
        tasks | {name: block for name, block in paper.items() if "module" not in block["data"]},
    )
    _check_rules(chosen)
    _check_tuning(chosen, f"{where}.tune")
    for task in chosen.tasks:
        _check_source(chosen, task)
        train = settings["tasks"][task]["train"]
        if train["warmup"] >= train["steps"]:
            raise LraError(
                f"{where}.tasks.{task}.train.warmup: {train['warmup']} must be less than steps, which is "
                f"{train['steps']}."
            )
        sizes = chosen.experiment(next(iter(attentions)), task, seed=0).model
        if sizes.positions == "rotary" and sizes.head_dim % 2:
            raise LraError(
                f"{where}: the model of {task} has a `head_dim` of {sizes.head_dim}; rotary positions turn pairs, so "
                "make it even."
            )
    return chosen


def _given(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without the keys that are empty, which is as if they were not there."""
    return {key: value for key, value in block.items() if value is not None}


def _by_name(items: Iterable[AttentionItem]) -> dict[str, AttentionBlock]:
    """The settings of each attention that is listed, an alias by the name it stands for."""
    found: dict[str, AttentionBlock] = {}
    spelt: dict[str, str] = {}
    for item in items:
        given, block = (item, None) if isinstance(item, str) else next(iter(item.items()))
        name = ALIASES.get(given, given)
        if name in found:
            alias = next((one for one in (given, spelt[name]) if one != name), None)
            again = f"{alias!r} is {name!r}, which is listed too" if alias else f"{name!r} is listed twice"
            raise LraError(f"attentions: {again}; keep one.")
        found[name], spelt[name] = block or AttentionBlock(), given
    return found


def _attention(name: str, block: AttentionBlock, features: int, folder: Path) -> AttentionSettings:
    where = f"attentions.{name}"
    if block.module is not None:
        if name in names():
            raise LraError(f"{where}.module: {name!r} already names a method of the registry; rename your own.")
        method = Method(_own_place(block.module, "class", folder, f"{where}.module"))
        module, _, class_name = method.path.partition(":")
        if descends(module, class_name, ATTENTION) is False:
            raise LraError(f"{where}.module: {class_name!r} of {module} is no subclass of lra.attention.Attention.")
    else:
        try:
            method = resolve(name)
        except ValueError:
            raise LraError(
                f"attentions: unknown attention {name!r}.{nearest(name, [*names(), *ALIASES])} Known: "
                f"{', '.join(names())}; your own needs `module: file.py:Class`."
            ) from None
    _check_options(f"{where}.options", block.options, method.path)
    options = {**method.options, **block.options}
    return AttentionSettings(name, block.features or features, options, method.path)


def _check_options(where: str, options: Mapping[str, Any], path: str | None) -> None:
    """An option that the class does not take stops before any work, as far as its source tells."""
    module, _, class_name = (path or "").partition(":")
    known = keywords(module, class_name) if options else None
    if known is not None and (unknown := sorted(set(options) - (known := known - GIVEN))):
        raise LraError(
            f"{where}: unknown key {unknown[0]!r}.{nearest(unknown[0], known)} Known: {', '.join(sorted(known))}."
        )


def _task(name: str, block: Mapping[str, Any], folder: Path, where: str) -> Mapping[str, Any]:
    """A task's settings; the paths of one of the user's own are checked, and relative to the current folder."""
    data = dict(block["data"])
    if "module" not in data:
        return block
    if name in HEADINGS:
        raise LraError(f"{where}: {name!r} heads a column of the tables; call your task something else.")
    where = f"{where}.{name}.data"
    data["module"] = _own_place(data["module"], "function", folder, f"{where}.module")
    if data.get("source") is not None:
        source = folder / Path(data["source"]).expanduser()
        if not source.exists():
            raise LraError(f"{where}.source: the path {str(source)!r} is not there; correct it.")
        data["source"] = str(source)
    return {**block, "data": data}


def _own_place(module: str, kind: Literal["class", "function"], folder: Path, where: str) -> str:
    """Where a class or function of the user's own is, once it is known to be there."""
    file, _, name = module.partition(":")
    if file.endswith(".py"):
        file = str(folder / Path(file).expanduser())
    try:
        known = defined(file, kind)
    except LraError as problem:
        raise LraError(f"{where}: {problem}") from None
    if name not in known:
        raise LraError(f"{where}: {file} defines no {kind} {name!r}.{nearest(name, known)}")
    return f"{file}:{name}"


def _sweep(
    given: Mapping[str, Any] | None,
    run: Iterable[str],
    tasks: Iterable[str],
    attentions: Iterable[str],
    where: str,
) -> Sweep | None:
    """What is swept; None where its task is not among those that are ``run``, or its attention not."""
    if given is None:
        return None
    sweep = from_mapping(Sweep, {**given, "attention": ALIASES.get(given["attention"], given["attention"])}, where)
    known = [*attentions, *names(), *ALIASES]
    if sweep.attention not in known:
        raise LraError(f"{where}.attention: unknown attention {sweep.attention!r}.{nearest(sweep.attention, known)}")
    if sweep.task not in tasks:
        raise LraError(f"{where}.task: unknown task {sweep.task!r}.{nearest(sweep.task, tasks)}")
    return sweep if sweep.task in run and sweep.attention in attentions else None


def _check_rules(chosen: Arena) -> None:
    """Rules are named after their attention and task, so no two cells may join to one name."""
    rules: dict[str, str] = {}
    for task, attention in itertools.product(chosen.tasks, chosen.attentions):
        for rule in (f"train_{attention}_{task}", f"train_{attention}_{task}_seed"):
            cell = f"{attention} on {task}"
            if rule in rules:
                raise LraError(
                    f"tasks: the rule {rule} would be both for {rules[rule]} and for {cell}; give a task "
                    "or an attention of your own another name."
                )
            rules[rule] = cell


def _check_tuning(chosen: Arena, where: str) -> None:
    """Runs that chose a setting are no evidence for it, and a try is no longer than what it stands for."""
    if chosen.tune is None:
        return
    if chosen.tune.seed in chosen.seeds:
        raise LraError(
            f"{where}.seed: {chosen.tune.seed} is one of `seeds`, whose runs must not choose their own learning rate; "
            "give another seed."
        )
    for task in chosen.tasks:
        steps = chosen.settings["tasks"][task]["train"]["steps"]
        if chosen.tune.steps > steps:
            raise LraError(f"{where}.steps: {chosen.tune.steps} is more than the {steps} steps of {task}; give fewer.")


def _check_source(chosen: Arena, task: str) -> None:
    """A local path that is not there stops before any work, unless another source may do."""
    artefact = chosen.artefact(task)
    sources = chosen.sources[artefact] if artefact else []
    missing = [s["path"] for s in sources if "path" in s and not Path(s["path"]).expanduser().exists()]
    if missing and len(missing) == len(sources):
        raise LraError(f"sources.{artefact}: the path {missing[0]!r} is not there; correct it.")
