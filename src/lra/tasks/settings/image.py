"""The settings of image classification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeInt

from lra.tasks.description import Count, Rows

Source = Literal["sklearn_digits", "cifar10"]


@dataclass(frozen=True)
class ImageSettings:
    """The ``data`` block of image."""

    source: Source
    """``sklearn_digits`` (1797 scans of 8 x 8 pixels that scikit-learn carries) or ``cifar10``, which is the original
    archive cifar-10-python.tar.gz or a folder in which tensorflow_datasets prepared cifar10. Both give the same rows:
    the archive's images are put into the order of tensorflow_datasets, whose first 90 % of the training images are the
    Arena's train split and whose others are dev."""
    upscale: Count = 1
    """How many times each pixel is repeated in either direction."""
    rows: Rows | None = None
    """How many digits to choose."""
    expected_rows: Rows | None = None
    """Number of images that cifar10 must have; null for no check, as for an archive of your own."""
    seed: NonNegativeInt = 0
    """Seed of the choice of digits."""
