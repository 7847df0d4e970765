"""The blocks of config.yaml: the keys, their types, bounds and meaning.

:mod:`lra.config.schema` makes ``workflow/schemas/config.schema.yaml`` from these dataclasses.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PositiveFloat, Tag

from lra.config.mapping import STRICT
from lra.config.settings import (
    ApproximateOptions,
    BenchOptions,
    MeasureOptions,
    ModelSettings,
    PretrainSettings,
    TrainSettings,
)
from lra.tasks.description import Count
from lra.tasks.settings.image import ImageSettings
from lra.tasks.settings.listops import ListOpsSettings
from lra.tasks.settings.own import OwnBlock
from lra.tasks.settings.pathfinder import PathfinderSettings
from lra.tasks.settings.retrieval import RetrievalSettings
from lra.tasks.settings.text import TextSettings

T = TypeVar("T", bound=Hashable)
Data = TypeVar("Data")

NAME, SETTINGS = "<name>", "<settings>"
"""In the locations of pydantic's errors, the two forms of an item of ``attentions``."""


URL = r"^https?://[^/\s]+/[^\s{}]*(\{[^\s{},/]+(,[^\s{},/]+)+\}[^\s{}/]*)?$"
PACKAGE = r"^[A-Za-z0-9][A-Za-z0-9_.-]*==[A-Za-z0-9_.!+-]+$"
SHA256 = "^[0-9a-f]{64}$"
MD5 = "^[0-9a-f]{32}$"

NAME_FORM = "A name starts with a small letter and holds small letters, digits and underscores."


def _different(items: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(items)) < len(items):
        raise ValueError("an entry is listed twice")
    return items


def _form(item: Any) -> str | None:
    """The form of an item of ``attentions``; None if it has neither."""
    return NAME if isinstance(item, str) else SETTINGS if isinstance(item, dict) and len(item) == 1 else None


Different = (Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_different))
Name = Annotated[
    str,
    Field(
        pattern="^[a-z][a-z0-9_]*$",
        description=NAME_FORM,
    ),
]
Options = Mapping[str, Any]
Seed = Annotated[int, Field(ge=0, le=2**64 - 1)]


@dataclass(frozen=True)
class AttentionBlock:
    """The settings of an attention."""

    module: Annotated[str, Field(pattern="^[^:]+:[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """A class of your own, `path/to/file.py:Class` or `package.module:Class`."""
    method: Name | None = None
    """The method of the registry that this row trains under a name of its own, with its options."""
    features: Count | None = None
    """The method's budget d instead of the scale's."""
    options: Options = field(default_factory=dict)
    """Arguments of the method's class, such as `released: true` for the formula of the released code."""
    pretrain: bool | None = None
    """Whether this row's runs are pretrained; null takes `pretrain` of the top level."""


AttentionItem = Annotated[
    Annotated[Name, Tag(NAME)]
    | Annotated[dict[Name, AttentionBlock | None], Field(min_length=1, max_length=1), Tag(SETTINGS)],
    Discriminator(_form),
]


@dataclass(frozen=True)
class SourceBlock:
    """One source of an artefact: exactly one of url, path and package."""

    url: Annotated[str, Field(pattern=URL)] | None = None
    """An http or https address; names in braces stand for several files."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """A file or folder of your own."""
    package: Annotated[str, Field(pattern=PACKAGE)] | None = None
    """A Python package with its version, such as `vaderSentiment==3.3.2`; its source distribution is the artefact."""
    size: Count | None = None
    """Size in bytes."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """Checksum in hexadecimal, 64 digits 0-9 a-f."""
    md5: Annotated[str, Field(pattern=MD5)] | None = None
    """MD5 checksum in hexadecimal, 32 digits 0-9 a-f, if the publisher gives no SHA-256."""


Places = Annotated[tuple[SourceBlock, ...], Field(min_length=1)]


@dataclass(frozen=True)
class SourcesBlock:
    """The sources of each raw artefact, tried in order."""

    vader: Places | None = None
    """Snippets of text: for text and retrieval at the scale `mini`."""
    lra_release: Places | None = None
    """The Arena's archive: for listops, retrieval, pathfinder and pathx."""
    pathfinder_tfds: Places | None = None
    """The images of Pathfinder, prepared for tensorflow_datasets: for pathfinder and pathx."""
    imdb: Places | None = None
    """Film reviews: for text."""
    cifar10: Places | None = None
    """Photographs: for image."""
    aan: Places | None = None
    """Pairs of papers: for retrieval."""
    listops: Places | None = None
    """A folder with the files of ListOps: for listops."""


@dataclass(frozen=True)
class MeasureBlock(MeasureOptions):
    """Measurement of time, memory and FLOPs, at the tasks' true lengths and alone on the machine, at every scale."""

    features: Count = 256
    """The methods' budget d."""


@dataclass(frozen=True)
class SweepBlock:
    """One attention on one task, trained with each batch size at each learning rate (figure 3).

    Without this block, or if its attention or its task is not run, there is no sweep.
    """

    attention: str
    """One of `attentions`."""
    task: str
    """One of `tasks`."""
    batch: Annotated[tuple[Count, ...], *Different]
    """Examples of an optimiser step."""
    learning_rate: Annotated[tuple[PositiveFloat, ...], *Different]
    """Peaks of the schedule."""


@dataclass(frozen=True)
class TuneBlock:
    """Short runs that choose a learning rate for each method on each task. Every method gets the same number of runs,
    each of the same length.

    The rate with the highest dev accuracy is chosen; among equals, the smallest. Without this block no rate is tuned.
    """

    learning_rate: Annotated[tuple[PositiveFloat, ...], *Different]
    """Peaks of the schedule, one short run for each; the chosen one replaces the task's `learning_rate`."""
    steps: Count
    """Steps of a short run, at most those of the task; its warm-up is shorter in proportion."""
    seed: Seed
    """Seed of the short runs; it must not be one of `seeds`."""


@dataclass(frozen=True)
class TaskBlock(Generic[Data]):
    """Data and training of a task."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    data: Data
    """Source and size of its examples."""
    train: TrainSettings
    """How a model is trained."""
    model: ModelSettings | None = None
    """Sizes of the model that differ from the scale's."""
    pretrain: PretrainSettings | None = None
    """How a model is pretrained, if `pretrain` of the top level or of a row asks for it."""


class TasksBlock(BaseModel):
    """Data and training of each task. Any other name is a task of your own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[Name, TaskBlock[OwnBlock]] = Field(init=False)

    listops: TaskBlock[ListOpsSettings] | None = None
    text: TaskBlock[TextSettings] | None = None
    retrieval: TaskBlock[RetrievalSettings] | None = None
    pathfinder: TaskBlock[PathfinderSettings] | None = None
    image: TaskBlock[ImageSettings] | None = None
    pathx: TaskBlock[PathfinderSettings] | None = None


ARENA = tuple(TasksBlock.model_fields)
"""Names of the Arena's tasks; all others are the user's own."""


@dataclass(frozen=True)
class ScaleBlock:
    """Data, model and training of a scale."""

    features: Count
    """The budget d of every method: sampled columns, landmarks, projected length or random features."""
    threads: Count
    """CPU threads of one training run."""
    runtime: Count
    """Minutes that one training run asks of a cluster."""
    memory: Count
    """Memory in MB that one training run asks of a cluster."""
    model: ModelSettings
    """Sizes of the model; a task may have its own."""
    tasks: TasksBlock
    options: Mapping[str, Options] = field(default_factory=dict)
    """Arguments of some methods, by name, for training at this scale; `attentions` overrides them. Measurements at the
    tasks' true lengths do not use them."""
    approximate: ApproximateOptions = field(default_factory=ApproximateOptions)
    sweep: SweepBlock | None = None
    tune: TuneBlock | None = None


@dataclass(frozen=True)
class ScalesBlock:
    """The scales; `scale` says which of them is run."""

    mini: ScaleBlock
    """Data that needs no data host, short sequences, minutes on two cores."""
    paper: ScaleBlock | None = None
    """The paper's data, lengths and steps."""
    modern: ScaleBlock | None = None
    """The paper's data with larger models and longer training."""


@dataclass(frozen=True)
class Configuration:
    """The file config.yaml. An unknown key is refused before any work."""

    scale: Literal["mini", "paper", "modern"]
    """Which block of `scales` is run."""
    tasks: Annotated[tuple[Name, ...], *Different]
    """The tasks to run, in the order of the tables."""
    attentions: Annotated[tuple[AttentionItem, ...], Field(min_length=1)]
    """The methods to run, in the order of the tables: a name, or a name with its settings, such as
    `bigbird: {features: 64}`."""
    seeds: Annotated[tuple[Seed, ...], *Different]
    """Each cell has one run for each seed. Claims about differences between methods need at least three seeds."""
    scales: ScalesBlock
    pretrain: bool = False
    """Whether models first learn to predict hidden tokens of their task's training split, by the `pretrain` block of
    the task. `pretrain` of a row overrides it."""
    sources: SourcesBlock = field(default_factory=SourcesBlock)
    measure: MeasureBlock = field(default_factory=MeasureBlock)
    bench: BenchOptions | None = None
    """Lengths and repeats of the timing of attention cores against exact attention; null for no timing."""
