"""Pathfinder's generator: what is drawn, what the label says, and that neither class can be told by its ink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lra.tasks import pathfinder_generator
from lra.tasks.pathfinder_drawing import Parameters, contact_sheet, distance_to_segment, make_stamps, unit
from lra.tasks.pathfinder_generator import Curves, Room, draw, generate, grow_distractors, grow_pairs
from tasks.reading import refuses

HARD = Parameters()
PLAIN = Parameters(
    image_size=9,
    padding=0,
    antialias=1,
    contour_length=2,
    distractors=1,
    distractor_length=2,
    paddle_length=1.0,
    thickness=1.0,
    margin=0.0,
    continuity=2.0,
    seed_border=4,
    seed_distance=4.0,
    marker_radius=0.5,
    snake_contrast=0.5,
    paddle_contrast=0.5,
)


def test_distance_to_a_segment() -> None:
    points = np.array([[0, 2], [3, 4], [-3, -4], [1, 11]])
    np.testing.assert_allclose(distance_to_segment(points, np.array([0, 8])), [0, 3, 5, np.hypot(1, 3)])


def test_a_paddle_reaches_back_from_its_head() -> None:
    ink = make_stamps(Parameters(antialias=1, thickness=1.0, paddle_length=2.0)).ink
    middle = ink.shape[-1] // 2
    for degree, pixels in {
        0: [(0, 0), (0, -1), (0, -2)],
        90: [(0, 0), (-1, 0), (-2, 0)],
        180: [(0, 0), (0, 1), (0, 2)],
        225: [(0, 0), (1, 1)],
    }.items():
        assert {tuple(map(int, p)) for p in np.argwhere(ink[degree] > 0) - middle} == set(pixels)


def test_stamps_widen_by_the_margin() -> None:
    stamps = make_stamps(HARD)
    middle = stamps.near.shape[-1] // 2
    # across the middle of a paddle, which is half a pixel thick: 1.25 pixels are taken, 2.25 are near
    np.testing.assert_allclose(stamps.taken[0, middle - 3 : middle + 4, middle - 1], [0, 0, 0.75, 1, 0.75, 0, 0])
    np.testing.assert_allclose(stamps.near[0, middle - 3 : middle + 4, middle - 1], [0, 0.75, 1, 1, 1, 0.75, 0])
    # beyond the head likewise
    np.testing.assert_allclose(stamps.taken[0, middle, middle : middle + 3], [1, 0.75, 0])
    # drawn are 5 x 1 pixels of half the size, a quarter more where the filter's dark rim is cut
    assert 1.25 < stamps.ink[0].sum() < 1.25 * 1.25
    assert stamps.disc.sum() == pytest.approx(np.pi * 1.5**2, abs=0.5)


# Two curves of two paddles and a distractor. Its head is (7, 3), and its tail paddle starts at (7, 6).
EXPECTED = """
. . . . . . . . .
. A a . B b . . .
. . . . . . . . .
. . a . . b . . .
. . A . . B . . .
. . . . . . . . .
. . . . . . . . .
. . . o o o o . .
. . . . . . . . .
"""


@pytest.mark.parametrize("label", [0, 1])
def test_an_image_drawn_by_hand(label: int) -> None:
    room = Room(PLAIN, 8, np.random.default_rng(0))
    pairs, distractors = Curves.allocate(8, 2, 2), Curves.allocate(8, 1, 2)
    for curve, column in enumerate([1, 4]):
        pairs.seed(PLAIN, np.arange(8), curve, np.array([1, column]), np.array(0))
        pairs.head[:, curve, 1], pairs.degree[:, curve, 1] = (4, column + 1), 90
    distractors.seed(PLAIN, np.arange(8), 0, np.array([7, 6]), np.array(180))
    distractors.head[:, 0, 1], distractors.degree[:, 0, 1] = (7, 3), 180
    images = draw(room, pairs, distractors, np.ones((8, 1), bool), np.full(8, label, np.uint8))
    ends = set()
    for image in images:
        lit = {tuple(map(int, pixel)) for pixel in np.argwhere(image == 255)}
        ends.add("".join(sorted({(1, 1): "A", (4, 2): "a", (1, 4): "B", (4, 5): "b"}[pixel] for pixel in lit)))
        for row, line in enumerate(EXPECTED.split("\n")[1:-1]):
            for column, letter in enumerate(line.split()):
                if (row, column) not in lit:
                    grey = {".": 0, "o": 128}.get(letter, 64)  # 0.5 and 0.25 of the discs' brightness
                    assert image[row, column] == grey, (row, column)
    # discs mark the tail of one curve, and the head of the same one or of the other
    assert ends == ({"Aa", "Bb"} if label else {"Ab", "Ba"})


def test_curves_grow_as_described() -> None:
    count = 64
    room = Room(HARD, count, np.random.default_rng(1))
    pairs = grow_pairs(room, count)
    distractors, present = grow_distractors(room, count)
    assert 4 < present.sum(1).mean() <= 5
    start = pairs.head[:, :, 0]
    assert ((start[:, 0] >= 14) & (start[:, 0] < 18)).all()
    assert np.abs(np.linalg.norm(start[:, 0] - start[:, 1], axis=-1) - 7).max() <= 0.5**0.5
    for curves, kept in (pairs, np.ones((count, 2), bool)), (distractors, present):
        head, degree = curves.head[kept], curves.degree[kept]  # (curves, paddles, 2), (curves, paddles)
        assert head.min() >= 1 and head.max() <= 30
        heading = np.concatenate([degree[:, :1] + 180, degree[:, 1:]], axis=1)
        turn = np.abs((np.diff(heading, axis=1) + 180) % 360 - 180)
        assert turn.max() <= 91 and turn.mean() < 40
        joint = head[:, 0] + 3 * unit(heading[:, 0])
        for paddle in range(1, head.shape[1]):
            distance = np.linalg.norm(head[:, paddle] - joint, axis=-1)
            assert ((distance >= 2.5) & (distance <= 3.5)).all()
            joint = joint + 4 * unit(heading[:, paddle])


def test_paddles_keep_their_distance() -> None:
    """Recomputed on whole images: a paddle overlaps nothing but the newest paddles of the two curves."""
    room = Room(HARD, 16, np.random.default_rng(2))
    pairs = grow_pairs(room, 16)
    distractors, present = grow_distractors(room, 16)
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(32), indexing="ij"), axis=-1)

    def taken(head: np.ndarray, degree: int) -> np.ndarray:
        return np.clip(1 + 0.25 + 0.5 - distance_to_segment(grid - head, -2 * unit(np.array(degree))), 0, 1)

    for image in range(16):
        targets = [
            [taken(pairs.head[image, curve, i], pairs.degree[image, curve, i]) for i in range(14)] for curve in (0, 1)
        ]
        for i in range(2, 14):
            for curve in 0, 1:
                before = targets[curve][: i - 1] + targets[1 - curve][: i - 1]
                assert (np.max(before, axis=0) + targets[curve][i]).max() < 1.8
        earlier = targets[0] + targets[1]
        for curve in np.flatnonzero(present[image]):
            head, degree = distractors.head[image, curve], distractors.degree[image, curve]
            paddles = [taken(head[i], degree[i]) for i in range(4)]
            assert all((np.max(earlier, axis=0) + paddle).max() < 1.8 for paddle in paddles)
            earlier += paddles


def test_the_label_is_in_the_picture() -> None:
    """Where the lines of unbroken curves do not touch, following them from disc to disc gives the label."""
    p = Parameters(
        image_size=24,
        padding=1,
        antialias=1,
        contour_length=4,
        distractors=0,
        thickness=1.0,
        margin=0.5,
        seed_border=8,
        marker_radius=0.5,
        paddle_contrast=0.25,
    )
    images, labels = generate(p, 400, np.random.default_rng(3))
    clear = 0
    for image, label in zip(images, labels, strict=True):
        # widened by a pixel, the paddles of a curve join
        parts, count = ndimage.label(ndimage.binary_dilation(image > 0, np.ones((3, 3))), np.ones((3, 3)))
        discs = parts[image == 255]
        if count == 2 and len(discs) == 2:
            clear += 1
            assert (discs[0] == discs[1]) == label
    assert clear > 100


def test_hard_images_look_like_the_release() -> None:
    images, labels = generate(HARD, 2048, np.random.default_rng(4))
    assert images.shape == (2048, 32, 32) and images.dtype == np.uint8
    assert (images.min((1, 2)) == 0).all() and (images.max((1, 2)) == 255).all()
    assert abs(labels.mean() - 0.5) < 4 * 0.5 / 2048**0.5
    assert 335 < (images > 0).sum((1, 2)).mean() < 375  # 353 in the release
    for ink in (images > 0).sum((1, 2)), images.sum((1, 2), dtype=np.int64), (images > 200).sum((1, 2)):
        one, other = ink[labels == 0], ink[labels == 1]
        error = (one.var() / len(one) + other.var() / len(other)) ** 0.5
        assert abs(one.mean() - other.mean()) < 4 * error
    # neither does any single place tell the classes apart
    difference = images[labels == 0].mean(0) - images[labels == 1].mean(0)
    error = (images[labels == 0].var(0) / 1024 + images[labels == 1].var(0) / 1024) ** 0.5
    assert (np.abs(difference) / np.maximum(error, 1)).max() < 5.5


@pytest.mark.parametrize("size", [64, 128])
def test_larger_images_are_only_other_numbers(size: int) -> None:
    p = Parameters(
        image_size=size,
        paddle_length=5.0,
        thickness=1.5,
        margin=2.0,
        seed_border=size // 3,
        seed_distance=size / 6,
        contour_length=size // 9,
        distractors=8,
        marker_radius=3.0,
        snake_contrast=0.9,
        paddle_contrast=1.0,
    )
    images, labels = generate(p, 16, np.random.default_rng(5))
    assert images.shape == (16, size, size) and set(labels) == {0, 1}
    assert ((images > 0).mean((1, 2)) > 0.03).all()


@pytest.mark.parametrize("p", [HARD, PLAIN, Parameters(image_size=48, paddle_length=5.0, margin=2.5, seed_border=20)])
def test_nothing_looks_outside_the_arrays(p: Parameters, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = Room.flat

    def checked(room: Room, image: np.ndarray, point: np.ndarray) -> np.ndarray:
        assert np.abs(point - (p.image_size - 1) / 2).max(initial=0) <= (room.side - 1) / 2
        return flat(room, image, point)

    def checked_patch(room: Room, image: np.ndarray, head: np.ndarray, degree: np.ndarray) -> np.ndarray:
        reach = room.stamps.near.shape[-1] // 2
        assert np.abs(head - (p.image_size - 1) / 2).max(initial=0) + reach <= (room.side - 1) / 2
        return fits(room, image, head, degree)

    fits = Room.fits
    monkeypatch.setattr(Room, "flat", checked)
    monkeypatch.setattr(Room, "fits", checked_patch)
    generate(Parameters(**{**vars(p), "contour_length": 4}), 64, np.random.default_rng(6))


def test_the_generator_decides_everything() -> None:
    first, again, other = (generate(HARD, 8, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0] != other[0]).any((1, 2)).all()


def test_a_chunk_without_room_for_distractors() -> None:
    crowded = Parameters(image_size=14, seed_border=5, seed_distance=4.0, contour_length=4, distractors=9)
    room = Room(crowded, 32, np.random.default_rng(0))
    grow_pairs(room, 32)
    room.taken[:], room.near[:] = 1, 1
    assert not grow_distractors(room, 32)[1].any()
    assert generate(Parameters(distractors=0), 2, np.random.default_rng(0))[0].shape == (2, 32, 32)


def test_curves_that_cannot_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pathfinder_generator, "MAX_ATTEMPTS", 20)
    with refuses("two curves of 80 paddles find no room in 32x32 pixels; raise generator.image_size"):
        generate(Parameters(contour_length=80), 4, np.random.default_rng(0))


def test_impossible_parameters() -> None:
    with refuses("generator.seed_border (16) must be less than half of image_size (32)"):
        Parameters(seed_border=16)


def test_contact_sheet(tmp_path: Path) -> None:
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    contact_sheet(images, np.array([0, 1, 0], np.uint8), tmp_path / "sheet.png", columns=2, zoom=3)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (40, 40, 3)
    assert tuple(sheet[2, 2]) == (200, 0, 0) and tuple(sheet[2, 22]) == (0, 160, 0)
    np.testing.assert_array_equal(sheet[4:16:3, 4:16:3, 0], images[0])
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
