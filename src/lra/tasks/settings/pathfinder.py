"""The settings of Pathfinder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from lra.errors import LraError
from lra.tasks.description import Count, Rows

Source = Literal["generate", "lra_release", "pathfinder_tfds"]


@dataclass(frozen=True)
class Parameters:
    """Parameters of the images; lengths are in pixels, and the defaults are those of 32x32 "hard"."""

    image_size: Count = 32
    """Height and width."""
    padding: NonNegativeInt = 1
    """Empty pixels kept free along every edge."""
    antialias: Count = 2
    """Shapes are drawn this many times larger, then scaled down with a Lanczos filter."""
    contour_length: Annotated[int, Field(ge=2)] = 14
    """Paddles (dashes) of each of the two curves."""
    distractors: NonNegativeInt = 5
    """Number of further, shorter curves; a curve without room is left out."""
    distractor_length: Count = 4
    """Paddles of a distractor."""
    paddle_length: PositiveFloat = 2.0
    """Length of a paddle."""
    thickness: PositiveFloat = 0.5
    """Thickness of a paddle."""
    margin: NonNegativeFloat = 1.0
    """Free pixels around a paddle, and on either side of the joint between two paddles."""
    continuity: NonNegativeFloat = 1.0
    """Straightness; a turn by an angle has the weight cos^2(min(continuity * angle, pi / 2))."""
    seed_border: NonNegativeInt = 14
    """The first curve starts at least this far from every edge."""
    seed_distance: PositiveFloat = 7.0
    """Distance between the starts of the two curves."""
    marker_radius: PositiveFloat = 1.5
    """Radius of the discs."""
    snake_contrast: PositiveFloat = 2.0
    """Brightness of distractors."""
    paddle_contrast: PositiveFloat = 0.75
    """Brightness of the two curves as a share of ``snake_contrast``."""
    marker_contrast: PositiveFloat = 1.0
    """Brightness of the discs."""
    paddle_tries: Count = 3
    """Draws for a paddle before its curve is given up."""
    distractor_tries: Count = 5
    """Starts of a distractor before it is left out."""

    def __post_init__(self) -> None:
        if 2 * self.seed_border >= self.image_size:
            raise LraError(
                f"pathfinder: generator.seed_border ({self.seed_border}) must be less than half of "
                f"image_size ({self.image_size}); the first curve starts inside."
            )

    @property
    def step(self) -> float:
        """Distance from one joint to the next along a straight curve."""
        return self.paddle_length + 2 * self.margin

    @property
    def reach(self) -> float:
        """Distance from a joint to the far end of the paddle behind it."""
        return self.paddle_length + self.margin


@dataclass(frozen=True)
class PathfinderSettings:
    """The ``data`` block of pathfinder and of pathx."""

    source: Source
    """``generate``, ``lra_release`` (the Arena's archive, unpacked) or ``pathfinder_tfds`` (the same images, prepared
    for tensorflow_datasets)."""
    split: Literal["seeded", "lra"] = "seeded"
    """Splits of images that are read. ``seeded``: images sorted by a seeded hash of their pixels and cut 80 : 10 : 10,
    so that both sources give the same examples; equal images count once. ``lra``: the Arena's slices of the
    tensorflow_datasets file, in its order."""
    rows: Rows | None = None
    """Images to generate; null for ``expected_rows``."""
    expected_rows: Rows | None = None
    """Number of images that a source must have, if it is read; null for no check, as for an archive of your own."""
    seed: NonNegativeInt = 0
    """Seed of the generator and of the seeded split."""
    generator: Parameters = field(default_factory=Parameters)
    """Parameters of the images; for images that are read, only ``image_size`` is used."""
