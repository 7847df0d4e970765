"""Pictures of single paddles and discs, from which Pathfinder images are composed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lra.tasks.settings.pathfinder import Parameters

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

LANCZOS_REACH = 3
RINGING = 1 / 64
"""Values below this are set to 0: they are ringing of the Lanczos filter. Then 35 % of the pixels of 32x32 "hard" are
not black, as in the release; with the ringing it would be 56 %."""


@dataclass(frozen=True)
class Stamps:
    """Pictures (degrees, side, side) of one paddle with its head in the middle, one for each integer degree.

    ``ink`` is what is drawn; ``disc`` (1, side, side) likewise. ``taken`` is the paddle widened by the margin, ``near``
    by twice the margin; those two are smaller pictures. All hold 0..1.
    """

    ink: Floats
    disc: Floats
    taken: Floats
    near: Floats


@lru_cache(maxsize=4)
def make_stamps(p: Parameters) -> Stamps:
    """Draw the stamps for these parameters."""
    degrees = np.arange(360)[:, None, None]
    tail = -p.paddle_length * unit(degrees)
    room = _grid(int(np.ceil(p.paddle_length + p.thickness / 2 + 2 * p.margin + 0.5)), 1)
    beside = distance_to_segment(room, tail) - p.thickness / 2
    fine = _grid(int(np.ceil(max(p.paddle_length + p.thickness / 2, p.marker_radius))) + LANCZOS_REACH, p.antialias)
    half = max(p.thickness / 2, 0.5 / p.antialias) + 1e-9  # a line is never thinner than one sub-pixel
    return Stamps(
        ink=np.stack([_shrink(distance_to_segment(fine, end) <= half, p.antialias) for end in tail]),
        disc=_shrink(np.hypot(fine[..., 0], fine[..., 1]) <= p.marker_radius, p.antialias)[None],
        taken=np.clip(p.margin + 0.5 - beside, 0, 1).astype(np.float32),
        near=np.clip(2 * p.margin + 0.5 - beside, 0, 1).astype(np.float32),
    )


def distance_to_segment(points: Floats, end: Floats) -> Floats:
    """Distance of points (..., 2) to the segments from the origin to ``end`` (..., 2)."""
    share = np.clip((points * end).sum(-1) / (end * end).sum(-1), 0, 1)
    return np.hypot(*np.moveaxis(points - share[..., None] * end, -1, 0))


def unit(degree: Ints) -> Floats:
    """The direction (row, column) of an angle: (...) to (..., 2)."""
    angle = np.deg2rad(degree)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1)


def _grid(radius: int, antialias: int) -> Floats:
    """Positions (row, column) in a square patch of sub-pixels, one of which is the origin, in its middle pixel."""
    line = (np.arange((2 * radius + 1) * antialias) - antialias // 2) / antialias - radius
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)


def _shrink(shape: Bools, antialias: int) -> Floats:
    """A drawn shape (side * antialias, same), scaled down with a Lanczos filter to 0..1."""
    from PIL import Image  # here, because the environment that only describes the task has no pillow

    side = shape.shape[0] // antialias
    small = Image.fromarray(shape.astype(np.uint8) * 255).resize((side, side), Image.Resampling.LANCZOS)
    grey = np.asarray(small, np.float32) / 255
    return np.where(grey < RINGING, 0, grey)


def contact_sheet(images: Bytes, labels: Bytes, path: Path, columns: int = 8, zoom: int = 6) -> None:
    """Write a PNG with the images side by side, framed green where the label is 1 and red where it is 0."""
    from PIL import Image

    count, height, width = images.shape
    rows, gap = -(-count // columns), 2
    sheet = np.full((rows * (height * zoom + 4 * gap), columns * (width * zoom + 4 * gap), 3), 255, np.uint8)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(index, columns)
        tile = np.pad(np.kron(image, np.ones((zoom, zoom), np.uint8)), gap)[..., None].repeat(3, -1)
        frame = np.pad(np.zeros((height * zoom, width * zoom), bool), gap, constant_values=True)
        tile[frame] = (0, 160, 0) if label else (200, 0, 0)
        top, left = row * (height * zoom + 4 * gap) + gap, column * (width * zoom + 4 * gap) + gap
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    Image.fromarray(sheet).save(path, format="PNG")
