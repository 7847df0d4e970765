"""The blocks of config.yaml: which keys there are, what each may hold, and what it means.

``workflow/schemas/config.schema.yaml`` is made from these dataclasses by :mod:`lra.config.schema`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, PositiveFloat, Tag

from lra.config.mapping import STRICT
from lra.config.settings import ApproximateOptions, BenchOptions, MeasureOptions, ModelSettings, TrainSettings
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
"""The two forms of an item of ``attentions``, as the places of pydantic's errors call them."""


NAME_FORM = "A name is made of small letters, digits and underscores, a letter first."


def _different(items: tuple[T, ...]) -> tuple[T, ...]:
    if len(set(items)) < len(items):
        raise ValueError("an entry is listed twice")
    return items


def _form(item: Any) -> str | None:
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
    features: Count | None = None
    """The method's budget d instead of the scale's."""
    options: Options = field(default_factory=dict)
    """Arguments of the method's class, for instance `released` to get the released code's formula."""


AttentionItem = Annotated[
    Annotated[Name, Tag(NAME)]
    | Annotated[dict[Name, AttentionBlock | None], Field(min_length=1, max_length=1), Tag(SETTINGS)],
    Discriminator(_form),
]


@dataclass(frozen=True)
class SourceBlock:
    """One place that has an artefact: exactly one of url, path and package."""

    url: Annotated[str, Field(pattern="^https?://")] | None = None
    """An http or https address, with names in braces for several files."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """A file or folder of your own."""
    package: Annotated[str, Field(pattern="^[A-Za-z0-9._-]+==[A-Za-z0-9._-]+$")] | None = None
    """A Python package whose source distribution is the artefact, with its version, as `vaderSentiment==3.3.2`."""
    size: Count | None = None
    """Size in bytes."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """Checksum in hexadecimal, 64 digits 0-9 a-f."""
    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    """Checksum of publishers that give no other, 32 digits 0-9 a-f."""


Places = Annotated[tuple[SourceBlock, ...], Field(min_length=1)]


@dataclass(frozen=True)
class SourcesBlock:
    """Where each raw artefact comes from, tried in order."""

    vader: Places | None = None
    """Snippets of text, for text and retrieval at the scale `mini`."""
    lra_release: Places | None = None
    """The Arena's archive, for listops, retrieval, pathfinder and pathx."""
    pathfinder_tfds: Places | None = None
    """The images of Pathfinder, prepared for tensorflow_datasets."""
    imdb: Places | None = None
    """Film reviews, for text."""
    cifar10: Places | None = None
    """Photographs, for image."""
    aan: Places | None = None
    """Pairs of papers, for retrieval."""
    listops: Places | None = None
    """A folder with the files of ListOps."""


@dataclass(frozen=True)
class MeasureBlock(MeasureOptions):
    """How time, memory and FLOPs are measured, always at the tasks' true lengths and alone on the machine."""

    features: Count = 256
    """The methods' budget d."""


@dataclass(frozen=True)
class SweepBlock:
    """Other batch sizes and learning rates for one attention on one task (figure 3), each batch size at each rate.

    Nothing is swept without this block, or where its attention or its task is not run.
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
    """Short runs that choose a learning rate for each method on each task: as many, and as long, for every method.

    The rate with the highest dev accuracy is taken, the smallest of several. Without this block no rate is tuned.
    """

    learning_rate: Annotated[tuple[PositiveFloat, ...], *Different]
    """Peaks of the schedule, one short run each; they stand for `learning_rate` of every task."""
    steps: Count
    """Steps of a short run, at most those of the task; its warm-up is shorter in proportion."""
    seed: Seed
    """Seed of the short runs, none of `seeds`."""


@dataclass(frozen=True)
class TaskBlock(Generic[Data]):
    """Data and training of a task."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    data: Data
    """What its examples are made of."""
    train: TrainSettings
    """How a model is trained."""
    model: ModelSettings | None = None
    """Sizes of the model, instead of the scale's."""


class TasksBlock(BaseModel):
    """Data and training of each task; one that is not the Arena's is your own."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)
    __pydantic_extra__: dict[Name, TaskBlock[OwnBlock]] = Field(init=False)

    listops: TaskBlock[ListOpsSettings] | None = None
    text: TaskBlock[TextSettings] | None = None
    retrieval: TaskBlock[RetrievalSettings] | None = None
    pathfinder: TaskBlock[PathfinderSettings] | None = None
    image: TaskBlock[ImageSettings] | None = None
    pathx: TaskBlock[PathfinderSettings] | None = None


ARENA = tuple(TasksBlock.model_fields)
"""The Arena's tasks; all others are the user's own."""


@dataclass(frozen=True)
class ScaleBlock:
    """One of the scales."""

    features: Count
    """The budget d of every method: sampled columns, landmarks, projected length or random features."""
    threads: Count
    """CPU threads of one training run."""
    runtime: Count
    """Minutes that a cluster should grant to one training run."""
    memory: Count
    """Memory in MB that a cluster should grant to one training run."""
    model: ModelSettings
    """Sizes of the model; a task may have its own."""
    tasks: TasksBlock
    options: Mapping[str, Options] = field(default_factory=dict)
    """Arguments of some methods, your own too, that training at this scale takes where `attentions` says nothing else;
    measurements at the tasks' true lengths do without."""
    approximate: ApproximateOptions = field(default_factory=ApproximateOptions)
    sweep: SweepBlock | None = None
    tune: TuneBlock | None = None


@dataclass(frozen=True)
class ScalesBlock:
    """The scales of the one workflow."""

    mini: ScaleBlock
    """Data that needs no data host, short sequences, minutes on two cores."""
    paper: ScaleBlock | None = None
    """The paper's data, lengths and steps."""
    modern: ScaleBlock | None = None
    """The paper's data with larger models and longer training."""


@dataclass(frozen=True)
class Configuration:
    """What the arena runs. An unknown key is refused before any work."""

    scale: Literal["mini", "paper", "modern"]
    """Which block of `scales` is run."""
    tasks: Annotated[tuple[Name, ...], *Different]
    """The tasks to run, in the order of the tables."""
    attentions: Annotated[tuple[AttentionItem, ...], Field(min_length=1)]
    """The methods to run, in the order of the tables: a name, or a name with its settings, as
    `bigbird: {features: 64}`."""
    seeds: Annotated[tuple[Seed, ...], *Different]
    """One run a cell for each. Claims about differences between methods need at least three."""
    scales: ScalesBlock
    sources: SourcesBlock = field(default_factory=SourcesBlock)
    measure: MeasureBlock = field(default_factory=MeasureBlock)
    bench: BenchOptions | None = None
    """At which lengths the attentions' cores are timed against exact attention, and how often; null for not at all."""
