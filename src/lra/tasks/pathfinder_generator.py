"""Pathfinder images: two dashed curves among shorter ones, and two discs that mark the ends of one curve or of both.

Linsley et al. 2018 (arXiv 1805.08315) invented the task; Tay et al. 2021 (arXiv 2011.04006) took 32x32 and 128x128
pixels into the Long Range Arena. The images of a chunk grow together, a paddle a round, so that numpy works on many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lra.errors import LraError
from lra.tasks.pathfinder_drawing import Bools, Bytes, Floats, Ints, make_stamps, unit
from lra.tasks.settings.pathfinder import Parameters

MAX_ATTEMPTS = 20_000
"""Number of attempts to place the two curves of an image, after which they do not fit."""
DEAD_END = 1e-4
"""A curve ends if the sum of the weights of all candidates is smaller."""
MAX_OVERLAP = 1.8
"""Upper bound of the sum of a new paddle and the taken pixels, each 0..1 with soft rims."""


def generate(p: Parameters, count: int, random: np.random.Generator) -> tuple[Bytes, Bytes]:
    """Draw images (count, size, size) in grey 0..255 and their labels (count,): 1 where the discs share a curve."""
    room = Room(p, count, random)
    label = random.integers(2, size=count, dtype=np.uint8)
    pairs = grow_pairs(room, count)
    distractors, present = grow_distractors(room, count)
    return draw(room, pairs, distractors, present, label), label


class Room:
    """The taken pixels of each image of a chunk while its curves grow.

    ``taken`` and ``near`` (images, side, side) hold 0 for free and 1 for taken pixels, with in-between values at the
    rims. Each image has a taken edge, so that no access is out of bounds.
    """

    def __init__(self, p: Parameters, count: int, generator: np.random.Generator) -> None:
        self.p, self.random, self.stamps = p, generator, make_stamps(p)
        self.edge = max(self.stamps.ink.shape[-1], self.stamps.near.shape[-1]) // 2 + int(np.ceil(p.step)) + 2
        self.side = p.image_size + 2 * self.edge
        self.empty = np.ones((self.side, self.side), np.float32)
        inner = slice(self.edge + p.padding, self.side - self.edge - p.padding)
        self.empty[inner, inner] = 0
        self.taken = np.tile(self.empty, (count, 1, 1))
        self.near = self.taken.copy()
        self.around = self.patch(self.stamps.near)
        near = np.indices((2 * int(p.reach) + 5,) * 2).reshape(2, -1).T - int(p.reach) - 2
        # the joint is less than half a pixel's diagonal from the middle
        self.ring = near[np.abs(np.hypot(*near.T) - p.reach) < 0.5 + 0.5**0.5]

    def flat(self, image: Ints, point: Ints) -> Ints:
        """Where the pixels ``point`` (..., 2) of ``image`` (...) are in the flattened stack."""
        return (image * self.side + point[..., 0] + self.edge) * self.side + point[..., 1] + self.edge

    def patch(self, stamp: Floats) -> Ints:
        """Where the pixels of a stamp (..., side, side) are in the flattened stack, relative to its middle."""
        span = np.arange(stamp.shape[-1]) - stamp.shape[-1] // 2
        return (span[:, None] * self.side + span).ravel()

    def clear(self, image: Ints) -> None:
        """Forget everything in these images."""
        self.taken[image] = self.near[image] = self.empty

    def take(self, image: Ints, head: Ints, degree: Ints) -> None:
        """Mark one paddle in each of these images, all different."""
        at = self.flat(image, head)[:, None] + self.around
        for room, stamp in (self.taken, self.stamps.taken), (self.near, self.stamps.near):
            pixels = room.reshape(-1)
            pixels[at] = np.maximum(pixels[at], stamp[degree].reshape(at.shape))

    def fits(self, image: Ints, head: Ints, degree: Ints) -> Bools:
        """Whether paddles (...) overlap the taken pixels only a little."""
        at = self.flat(image, head)[..., None] + self.around
        stamp = self.stamps.taken[degree].reshape(*at.shape)
        return (self.taken.reshape(-1)[at] + stamp).max(-1) < MAX_OVERLAP

    def extend(self, image: Ints, joint: Floats, degree: Ints) -> tuple[Bools, Ints, Ints]:
        """Look for the next paddle of one curve in each image.

        Args:
            image: (curves,) which image.
            joint: (curves, 2) where the next paddle starts, one margin behind the last one.
            degree: (curves,) direction of the last paddle.

        Returns:
            Whether one was found, its head (curves, 2) and its direction in integer degrees (curves,).
        """
        p = self.p
        heads = np.rint(joint).astype(np.int64)[:, None] + self.ring  # (curves, candidates, 2)
        way = heads - joint[:, None]
        distance = np.sqrt(np.einsum("ijk,ijk->ij", way, way)) + 1e-12  # never 0
        turn = np.arccos(np.clip(np.einsum("ijk,ik->ij", way, unit(degree)) / distance, -1, 1))
        weight = np.cos(np.minimum(p.continuity * turn, np.pi / 2)) ** 2
        weight *= 1 - self.near.reshape(-1)[self.flat(image[:, None], heads)]
        weight *= np.abs(distance - p.reach) < 0.5
        weight = weight.cumsum(1)
        good, head, degree = np.zeros(len(image), bool), heads[:, 0], degree.copy()
        left = np.flatnonzero(weight[:, -1] > DEAD_END)
        for _ in range(p.paddle_tries):
            draw = self.random.random(len(left)) * weight[left, -1]
            pick = np.minimum((weight[left] <= draw[:, None]).sum(-1), len(self.ring) - 1)
            head[left] = heads[left, pick]
            degree[left] = to_degree(np.arctan2(*way[left, pick].T))
            good[left] = self.fits(image[left], head[left], degree[left])
            left = left[~good[left]]
        return good, head, degree


@dataclass
class Curves:
    """Curves that grow paddle by paddle.

    Args:
        head: (images, curves, paddles, 2) a paddle is drawn from here backwards.
        degree: (images, curves, paddles) direction of each paddle.
        joint: (images, curves, 2) where the next paddle starts.
        heading: (images, curves) direction in which the curve goes on.
    """

    head: Ints
    degree: Ints
    joint: Floats
    heading: Ints

    @classmethod
    def allocate(cls, images: int, curves: int, paddles: int) -> Curves:
        """Room for that many."""
        shape = (images, curves, paddles)
        whole = np.int64
        return cls(
            np.zeros((*shape, 2), whole), np.zeros(shape, whole), np.zeros((*shape[:2], 2)), np.zeros(shape[:2], whole)
        )

    def seed(self, p: Parameters, image: Ints, curve: Ints | int, tail: Ints, heading: Ints) -> None:
        """Lay the first paddles, which are drawn from their tails (..., 2) onwards."""
        self.head[image, curve, 0] = tail
        self.degree[image, curve, 0] = (heading + 180) % 360
        self.joint[image, curve] = tail + p.reach * unit(heading)
        self.heading[image, curve] = heading

    def advance(self, room: Room, image: Ints, curve: Ints, paddle: Ints) -> Bools:
        """Lay the given paddle of one curve in each image, and mark the one before it; returns where there was room."""
        good, head, degree = room.extend(image, self.joint[image, curve], self.heading[image, curve])
        image, curve, paddle, head, degree = image[good], curve[good], paddle[good], head[good], degree[good]
        self.take(room, image, curve, paddle - 1)
        self.head[image, curve, paddle] = head
        self.degree[image, curve, paddle] = self.heading[image, curve] = degree
        self.joint[image, curve] += room.p.step * unit(degree)
        return good

    def take(self, room: Room, image: Ints, curve: Ints | int, paddle: Ints | int) -> None:
        """Mark one paddle in each image."""
        room.take(image, self.head[image, curve, paddle], self.degree[image, curve, paddle])


def to_degree(angle: Floats) -> Ints:
    """Radians to the nearest integer degree in 0..359."""
    return np.rint(np.rad2deg(angle)).astype(np.int64) % 360


def seed_pairs(room: Room, curves: Curves, image: Ints) -> Bools:
    """Start both curves in these images; returns where the second one is inside the image."""
    p, random = room.p, room.random
    tail = np.zeros((image.size, 2, 2), np.int64)
    tail[:, 0] = random.integers(p.seed_border, p.image_size - p.seed_border, (image.size, 2))
    tail[:, 1] = np.rint(tail[:, 0] + p.seed_distance * unit(random.integers(360, size=image.size)))
    heading = random.integers(360, size=(image.size, 2))
    curves.seed(p, image[:, None], np.arange(2), tail, heading)
    ends = np.concatenate([tail, tail + p.paddle_length * unit(heading)], axis=1)
    return np.minimum(ends, p.image_size - 1 - ends).min((1, 2)) >= p.padding


def grow_pairs(room: Room, count: int) -> Curves:
    """Two curves in every image, grown in turn; if one is stuck, both start again.

    Raises:
        LraError: the curves do not fit into the image.
    """
    p = room.p
    curves = Curves.allocate(count, 2, p.contour_length)
    grown, attempts = np.zeros(count, np.int64), np.zeros(count, np.int64)  # grown: paddles in turn, the seeds are one
    active = np.arange(count)
    while active.size:
        fresh = active[grown[active] == 0]
        attempts[fresh] += 1
        if attempts.max() > MAX_ATTEMPTS:
            raise LraError(
                f"pathfinder: two curves of {p.contour_length} paddles find no room in {p.image_size}x{p.image_size}"
                " pixels; raise generator.image_size, or lower generator.contour_length."
            )
        room.clear(fresh)
        grown[fresh] = seed_pairs(room, curves, fresh)
        busy = active[grown[active] > 0]
        good = curves.advance(room, busy, (grown[busy] - 1) % 2, (grown[busy] + 1) // 2)
        grown[busy] = np.where(good, grown[busy] + 1, 0)
        active = active[grown[active] < 2 * p.contour_length - 1]
    for curve in range(2):
        curves.take(room, np.arange(count), curve, -1)
    return curves


def grow_distractors(room: Room, count: int) -> tuple[Curves, Bools]:
    """Short curves at random free places, and (images, distractors) which of them found room."""
    p = room.p
    curves = Curves.allocate(count, p.distractors, p.distractor_length)
    present = np.zeros((count, p.distractors), np.bool_)
    for curve in range(p.distractors):
        for _ in range(p.distractor_tries):
            if (image := np.flatnonzero(~present[:, curve])).size:
                present[image, curve] = grow_distractor(room, curves, image, curve)
    return curves, present


def grow_distractor(room: Room, curves: Curves, image: Ints, curve: int) -> Bools:
    """Draw one whole distractor in each of these images that has room for it; returns where there was room."""
    p = room.p
    before = room.taken[image], room.near[image]
    free = (room.near[image] == 0).reshape(image.size, -1).cumsum(1)
    pick = (room.random.random(image.size) * free[:, -1]).astype(np.int64)
    tail = np.stack(np.divmod((free <= pick[:, None]).sum(1), room.side), axis=-1) - room.edge
    heading = room.random.integers(360, size=image.size)
    good = free[:, -1] > 0
    tail[~good] = 0
    curves.seed(p, image, curve, tail, heading)
    good &= room.fits(image, tail, (heading + 180) % 360)
    for paddle in range(1, p.distractor_length):
        going = image[good]
        good[good] = curves.advance(room, going, np.full_like(going, curve), np.full_like(going, paddle))
    curves.take(room, image[good], curve, -1)
    room.taken[image[~good]], room.near[image[~good]] = before[0][~good], before[1][~good]
    return good


def draw(room: Room, pairs: Curves, distractors: Curves, present: Bools, label: Bytes) -> Bytes:
    """The images (images, size, size), darkest 0 and brightest 255."""
    p, stamps, count = room.p, room.stamps, len(label)
    canvas = np.zeros((count, room.side, room.side), np.float32)
    pixels, patch = canvas.reshape(-1), room.patch(stamps.ink)

    def put(image: Ints, point: Ints, stamp: Floats) -> None:
        at = room.flat(image, point)[:, None] + patch
        pixels[at] = np.maximum(pixels[at], stamp.reshape(len(stamp), -1))

    everyone = np.arange(count)
    for curve, paddle in np.ndindex(2, p.contour_length):
        ink = stamps.ink[pairs.degree[:, curve, paddle]]
        put(everyone, pairs.head[:, curve, paddle], p.snake_contrast * p.paddle_contrast * ink)
    for curve, paddle in np.ndindex(p.distractors, p.distractor_length):
        image = np.flatnonzero(present[:, curve])
        ink = stamps.ink[distractors.degree[image, curve, paddle]]
        put(image, distractors.head[image, curve, paddle], p.snake_contrast * ink)
    first = room.random.integers(2, size=count)
    second = np.where(label == 1, first, 1 - first)
    for point in pairs.head[everyone, first, 0], pairs.head[everyone, second, -1]:
        put(everyone, point, p.marker_contrast * stamps.disc)
    inner = slice(room.edge, room.side - room.edge)
    image = canvas[:, inner, inner]
    low, high = image.min((1, 2), keepdims=True), image.max((1, 2), keepdims=True)
    return np.rint((image - low) / (high - low) * 255).astype(np.uint8)
