"""config.yaml resolved: the runs, their settings and their sources.

This module needs neither torch nor pyarrow. :mod:`lra.config.blocks` defines the keys of the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lra import paths
from lra.attention.registry import names
from lra.config.attentions import check_options, listed_attentions, resolve_attentions
from lra.config.blocks import Configuration, TuneBlock
from lra.config.mapping import as_mapping, from_mapping
from lra.config.own import resolve_task
from lra.config.reading import origin, read_config
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
"""Data settings that change the rows, but not the sizes that a model depends on."""
EXTRACTED = {"lra_release", "pathfinder_tfds"}
"""Archives that are extracted before the tasks read them."""


@dataclass(frozen=True)
class Arena:
    """The runs and measurements of the chosen scale, with their settings.

    Args:
        scale: ``mini`` or ``paper``.
        tasks: names of the tasks, in order.
        attentions: each row's settings by name, in order.
        seeds: one run each.
        sources: where each artefact comes from, tried in order.
        measure: how cost is measured.
        bench: lengths and repeats of the timing of attention cores; empty for no timing.
        settings: the scale's block of config.yaml; its ``options`` are for training only.
        sweep: the cell that is also trained with other batch sizes and learning rates, or None.
        tune: the short runs that choose each cell's learning rate; None if all methods of a task share one rate.
        true_size: the settings of every task of the scale ``paper``, and of tasks that only the chosen scale has.
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
            pretrain=self._pretrain(task, f"{where}.pretrain") if attention in self.pretrained else None,
        )

    def _pretrain(self, task: str, where: str) -> PretrainSettings:
        if (block := self.settings["tasks"][task].get("pretrain")) is None:
            raise LraError(f"{where} is missing, and pretraining is asked for; add the block, or leave `pretrain` out.")
        return from_mapping(PretrainSettings, block, where)

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
        """The settings with which an attention is measured: its budget is that of the ``measure`` block."""
        return replace(self.attentions[attention], features=self.measure.get("features", AttentionSettings.features))

    def measure_settings(self, attention: str, task: str) -> MeasureSettings:
        """Settings of measuring the cost of an attention on a task of true size.

        Raises:
            LraError: there is no such task.
        """
        if task not in self.true_size:
            raise LraError(f"unknown task {task!r}.{nearest(task, self.true_size)} Known: {', '.join(self.true_size)}.")
        data, train = self.true_size[task]["data"], self.true_size[task]["train"]
        described = {key: value for key, value in data.items() if key not in ROW_SETTINGS}
        block = {key: value for key, value in self.measure.items() if key != "features"} | {
            "attention": as_mapping(self.measured_attention(attention)),
            "data": {"name": task, **described} if "module" in data else described,
            "train_batch": train["batch"],
            "train_precision": train.get("precision", "fp32"),
        }
        return from_mapping(MeasureSettings, block, "measure")

    def approximate_settings(self, attention: str) -> ApproximateSettings:
        """Settings of measuring an attention's approximation error.

        Raises:
            LraError: the scale has no task with texts.
        """
        if TEXTS not in self.settings["tasks"]:
            raise LraError(
                f"the scale {self.scale!r} has no task {TEXTS!r}, whose data the measurement of errors reads."
            )
        method = as_mapping(self.attentions[attention], leave_out="features")
        model = as_mapping(self.experiment(attention, TEXTS, seed=0).model)
        block = {"attention": method, "model": model, **self.settings.get("approximate", {})}
        return from_mapping(ApproximateSettings, block, f"scales.{self.scale}.approximate")

    def data(self, task: str) -> dict[str, Any]:
        """The task's data settings; those of a task of your own hold its name too."""
        data = dict(self.settings["tasks"][task]["data"])
        return {"name": task} | data if "module" in data else data

    def own(self, task: str) -> str | None:
        """The function of a task of your own, ``file.py:function``; None for the Arena's tasks."""
        return self.data(task).get("module")

    def artefact(self, task: str) -> str | None:
        """Name of the artefact in ``sources`` that the task reads; None where nothing is downloaded."""
        source = self.data(task).get("source")
        return source if source in self.sources and not self.own(task) else None

    def source(self, task: str) -> Path | None:
        """Path of the task's downloaded or extracted artefact, or of a file or folder of your own."""
        artefact = self.artefact(task)
        if artefact:
            return paths.extracted(artefact) if artefact in EXTRACTED else paths.source(artefact)
        own = self.data(task).get("source") if self.own(task) else None
        return Path(own) if own else None

    def extracted_parts(self, artefact: str) -> list[str]:
        """Parts of an archive that the tasks need: names of tasks; for Pathfinder and Path-X, ``pathfinder<size>``."""
        parts = set()
        for task in self.tasks:
            if self.artefact(task) == artefact:
                size = (self.data(task).get("generator") or {}).get("image_size", Parameters.image_size)
                parts.add(f"pathfinder{size}" if task in ("pathfinder", "pathx") else task)
        return sorted(parts)

    def parts(self, task: str) -> dict[str, int]:
        """Number of Parquet files of each split; 1 if the number of rows is not known."""
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
    given = from_mapping(Configuration, config)
    settings = config["scales"].get(given.scale)
    if settings is None:
        raise LraError(f"scales: {given.scale!r}, which `scale` asks for, is missing.")
    where = f"scales.{given.scale}"
    blocks = _given(settings["tasks"])
    tasks = {name: resolve_task(name, block, folder, f"{where}.tasks") for name, block in blocks.items()}
    settings = settings | {"tasks": tasks}
    for task in given.tasks:
        if task not in tasks:
            raise LraError(
                f"tasks: {task!r} has no settings under {where}.tasks.{nearest(task, tasks)} Known: {', '.join(tasks)}."
            )
    listed = listed_attentions(given.attentions)
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
        resolve_sweep(settings.get("sweep"), given.tasks, tasks, attentions, f"{where}.sweep"),
        from_mapping(TuneBlock, settings["tune"], f"{where}.tune") if settings.get("tune") else None,
        tasks | {name: block for name, block in paper.items() if "module" not in block["data"]},
        frozenset(
            name for name, block in listed.items() if (given.pretrain if block.pretrain is None else block.pretrain)
        ),
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
        for attention in chosen.pretrained:
            pretrain = chosen.experiment(attention, task, seed=0).pretrain
            if pretrain and pretrain.warmup >= pretrain.steps:
                raise LraError(
                    f"{where}.tasks.{task}.pretrain.warmup: {pretrain.warmup} must be less than steps, which is "
                    f"{pretrain.steps}."
                )
        sizes = chosen.experiment(next(iter(attentions)), task, seed=0).model
        if sizes.positions == "rotary" and sizes.head_dim % 2:
            raise LraError(
                f"{where}: the model of {task} has a `head_dim` of {sizes.head_dim}; rotary positions turn pairs, so "
                "make it even."
            )
    return chosen


def _given(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block without its empty keys, which mean the same as missing ones."""
    return {key: value for key, value in block.items() if value is not None}


def _check_rules(chosen: Arena) -> None:
    """Refuse two cells whose rules would have the same name, which joins attention and task."""
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
    """Refuse a missing local path before any work, unless the artefact has another source."""
    artefact = chosen.artefact(task)
    sources = chosen.sources[artefact] if artefact else []
    missing = [s["path"] for s in sources if "path" in s and not Path(s["path"]).expanduser().exists()]
    if missing and len(missing) == len(sources):
        raise LraError(f"sources.{artefact}: the path {missing[0]!r} is not there; correct it.")
