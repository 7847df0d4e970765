"""The arena: the runs, settings and sources that a config.yaml describes.

This module needs neither torch nor pyarrow. :mod:`lra.config.blocks` defines the keys of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lra import paths
from lra.attention.registry import names
from lra.config.attentions import check_options, listed_attentions, resolve_attentions
from lra.config.blocks import Configuration, TuneBlock
from lra.config.consistency import check_consistency
from lra.config.mapping import as_mapping, from_mapping
from lra.config.own import resolve_task
from lra.config.reading import CONFIG, merged, origin, read_layers
from lra.config.settings import (
    SHARD_ROWS,
    ApproximateSettings,
    AttentionSettings,
    Experiment,
    MeasureSettings,
    ModelSettings,
    PretrainSettings,
    TrainSettings,
)
from lra.config.sweep import Sweep, resolve_sweep
from lra.errors import LraError, nearest
from lra.tasks.description import SPLITS
from lra.tasks.settings.pathfinder import Parameters

TEXTS = "text"
"""The task whose texts are the input for approximation errors."""
ROW_SETTINGS = {"rows", "expected_rows", "seed", "dev", "split", "options"}
"""Data settings that change the rows, but not the sizes on which a model depends."""
EXTRACTED = {"lra_release", "pathfinder_tfds"}
"""Archives that are extracted before the tasks read them."""


@dataclass(frozen=True)
class Arena:
    """The runs and measurements of the chosen scale, with their settings.

    Args:
        scale: ``mini``, ``paper`` or ``modern``.
        tasks: names of the tasks, in the order of the tables.
        attentions: settings of each row by name, in the order of the tables.
        seeds: each cell has one run for each seed.
        sources: the sources of each artefact, in the order in which they are tried.
        measure: the block ``measure`` of config.yaml.
        bench: lengths and repeats of the timing of attention cores; empty for no timing.
        settings: the block of the scale; its ``options`` are for training only.
        sweep: the cell that is also trained with other batch sizes and learning rates, or None.
        tune: the short runs that choose each cell's learning rate; None if all methods of a task share one rate.
        true_size: settings of each task at its true size: those of the scale ``paper``, and for tasks that ``paper``
            lacks those of the chosen scale.
        pretrained: the attentions whose runs start from a pretraining.
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
    pretrained: frozenset[str]

    def experiment(self, attention: str, task: str, seed: int, **changes: Any) -> Experiment:
        """The resolved settings of one run, with ``changes`` of its training."""
        block = self.settings["tasks"][task]
        where = f"scales.{self.scale}.tasks.{task}"
        method = self.attentions[attention]
        options = {**self.settings.get("options", {}).get(attention, {}), **method.options}
        return Experiment(
            task=task,
            attention=replace(method, options=options),
            seed=seed,
            model=from_mapping(ModelSettings, self.settings["model"] | (block.get("model") or {}), f"{where}.model"),
            train=replace(from_mapping(TrainSettings, block["train"], f"{where}.train"), **changes),
            pretrain=self._pretrain(task, f"{where}.pretrain") if attention in self.pretrained else None,
        )

    def _pretrain(self, task: str, where: str) -> PretrainSettings:
        if (block := self.settings["tasks"][task].get("pretrain")) is None:
            raise LraError(f"{where} is missing, and pretraining is asked for; add the block, or leave `pretrain` out.")
        return from_mapping(PretrainSettings, block, where)

    def tries(self, attention: str, task: str) -> dict[str, Experiment]:
        """The short runs that choose a cell's learning rate, by the name of their folder; empty if nothing is tuned.
        All methods take the same number of steps here. Bounds in seconds or FLOPs apply to the final runs only.
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
        """The settings with which an attention is measured: its own, with the budget d of the ``measure`` block."""
        return replace(self.attentions[attention], features=self.measure.get("features", AttentionSettings.features))

    def measure_settings(self, attention: str, task: str) -> MeasureSettings:
        """Settings for measuring the cost of an attention on a task of true size.

        Raises:
            LraError: there is no such task.
        """
        if task not in self.true_size:
            raise LraError(f"unknown task {task!r}.{nearest(task, self.true_size)} Known: {', '.join(self.true_size)}.")
        data, train = self.true_size[task]["data"], self.true_size[task]["train"]
        sizes = {key: value for key, value in data.items() if key not in ROW_SETTINGS}
        block = {key: value for key, value in self.measure.items() if key != "features"} | {
            "attention": as_mapping(self.measured_attention(attention)),
            "data": {"name": task, **sizes} if "module" in data else sizes,
            "train_batch": train["batch"],
            "train_precision": train.get("precision", "fp32"),
        }
        return from_mapping(MeasureSettings, block, "measure")

    def approximate_settings(self, attention: str) -> ApproximateSettings:
        """Settings for measuring an attention's approximation error.

        Raises:
            LraError: the scale has no task with texts.
        """
        if TEXTS not in self.settings["tasks"]:
            raise LraError(
                f"the scale {self.scale!r} has no task {TEXTS!r}, whose data the measurement of errors reads; add it."
            )
        method = as_mapping(self.attentions[attention], leave_out="features")
        model = as_mapping(self.experiment(attention, TEXTS, seed=0).model)
        block = {"attention": method, "model": model, **self.settings.get("approximate", {})}
        return from_mapping(ApproximateSettings, block, f"scales.{self.scale}.approximate")

    def data(self, task: str) -> dict[str, Any]:
        """The task's data settings; for a task of your own they include its name."""
        data = dict(self.settings["tasks"][task]["data"])
        return {"name": task} | data if "module" in data else data

    def own(self, task: str) -> str | None:
        """The function of a task of your own, ``file.py:function``; None for one of the Arena's tasks."""
        return self.data(task).get("module")

    def artefact(self, task: str) -> str | None:
        """Name of the artefact in ``sources`` that the task reads; None if it reads no download."""
        source = self.data(task).get("source")
        return source if source in self.sources and not self.own(task) else None

    def source(self, task: str) -> Path | None:
        """Path of the task's downloaded or extracted artefact, or of your own file; None for generated data."""
        artefact = self.artefact(task)
        if artefact:
            return paths.extracted(artefact) if artefact in EXTRACTED else paths.source(artefact)
        own = self.data(task).get("source") if self.own(task) else None
        return Path(own) if own else None

    def extracted_parts(self, artefact: str) -> list[str]:
        """Parts of an archive that the tasks need: the task's name; for Pathfinder and Path-X, ``pathfinder<size>``."""
        parts = set()
        for task in self.tasks:
            if self.artefact(task) == artefact:
                size = (self.data(task).get("generator") or {}).get("image_size", Parameters.image_size)
                parts.add(f"pathfinder{size}" if task in ("pathfinder", "pathx") else task)
        return sorted(parts)

    def parts(self, task: str) -> dict[str, int]:
        """Number of Parquet files of each split; 1 if the number of rows is unknown before the source is read."""
        data = self.data(task)
        rows = data.get("rows") or data.get("expected_rows")
        return {split: -(-rows[split] // SHARD_ROWS) if rows else 1 for split in SPLITS}


def load(*given: str | Path) -> Arena:
    """The arena that files and single settings describe.

    Args:
        given: files, and settings such as ``scale=paper``, which override files; of two files, and of two settings,
            the later one overrides. Without a file it is config.yaml. Paths of attentions and tasks of your own are
            relative to the first file.

    Raises:
        LraError: a file is missing or not YAML, or a setting is wrong.
    """
    layers = read_layers(given)
    return arena(merged(layers.values()), Path(next(iter(layers))).parent, layers)


def find(*given: str | Path) -> Arena | None:
    """The same as :func:`load`; None if nothing is given and there is no config.yaml."""
    return load(*given) if given or Path(CONFIG).exists() else None


def scales(*given: str | Path) -> Iterator[Arena]:
    """The arena at each scale that has a configured task; see :func:`load`."""
    layers = read_layers(given)
    content = merged(layers.values())
    folder = Path(next(iter(layers))).parent
    arena(content, folder, layers)
    for scale, block in content["scales"].items():
        if tasks := [task for task in content["tasks"] if block and block["tasks"].get(task)]:
            yield arena({**content, "scale": scale, "tasks": tasks}, folder, layers)


def arena(config: Any, folder: Path = Path(), files: Mapping[str, Any] = MappingProxyType({})) -> Arena:
    """Check a configuration as YAML or Snakemake gives it, and resolve it.

    Args:
        config: the content of config.yaml.
        folder: paths of attentions and tasks of your own are relative to it.
        files: the content of each file of settings, by name; later files override earlier ones. An error names the file
            that it comes from.

    Raises:
        LraError: one sentence that names the file, the key, the value and what is allowed.
    """
    try:
        return _resolved(config, folder)
    except LraError as problem:
        raise LraError(f"{origin(str(problem), files)}: {problem}") from None


def _resolved(config: Any, folder: Path) -> Arena:
    """The arena of a configuration; :func:`arena` says which file an error comes from."""
    checked = from_mapping(Configuration, config)
    settings = config["scales"].get(checked.scale)
    if settings is None:
        raise LraError(f"scales: {checked.scale!r}, which `scale` asks for, is missing.")
    where = f"scales.{checked.scale}"
    blocks = _without_empty(settings["tasks"])
    tasks = {name: resolve_task(name, block, folder, f"{where}.tasks") for name, block in blocks.items()}
    settings = settings | {"tasks": tasks}
    for task in checked.tasks:
        if task not in tasks:
            raise LraError(
                f"tasks: {task!r} has no settings under {where}.tasks.{nearest(task, tasks)} Known: {', '.join(tasks)}."
            )
    listed = listed_attentions(checked.attentions)
    attentions = resolve_attentions(listed, settings["features"], folder)
    variants = {name: block.method for name, block in listed.items() if block.method}
    options = settings.get("options", {})
    settings["options"] = {name: options[of] for name, of in variants.items() if of in options} | options
    for name, options in settings["options"].items():
        known = [*attentions, *names()]
        if name not in known:
            raise LraError(f"{where}.options: unknown attention {name!r}.{nearest(name, known)}")
        if name in attentions:
            check_options(f"{where}.options.{name}", options, attentions[name].module)
    paper = _without_empty((config["scales"].get("paper") or {}).get("tasks", {}))
    resolved = Arena(
        checked.scale,
        checked.tasks,
        attentions,
        checked.seeds,
        {
            name: [_without_empty(place) for place in places]
            for name, places in _without_empty(config.get("sources", {})).items()
        },
        config.get("measure", {}),
        config.get("bench") or {},
        settings,
        resolve_sweep(settings.get("sweep"), checked.tasks, tasks, attentions, f"{where}.sweep"),
        from_mapping(TuneBlock, settings["tune"], f"{where}.tune") if settings.get("tune") else None,
        tasks | {name: block for name, block in paper.items() if "module" not in block["data"]},
        frozenset(
            name for name, block in listed.items() if (checked.pretrain if block.pretrain is None else block.pretrain)
        ),
    )
    check_consistency(resolved)
    return resolved


def _without_empty(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without its empty keys, which mean the same as missing ones."""
    return {key: value for key, value in block.items() if value is not None}
