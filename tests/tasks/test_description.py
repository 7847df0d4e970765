"""What models and configurations know of a task."""

from __future__ import annotations

import pytest

from lra.tasks.description import trimmed


@pytest.mark.parametrize(
    ("longest", "length", "padded"),
    [
        (1, 512, 64),
        (64, 4096, 64),
        (65, 4096, 128),
        (81, 128, 96),
        (128, 128, 128),
        (5, 64, 8),
        (3, 4, 3),
        (70, 70, 70),
    ],
)
def test_trimming(longest: int, length: int, padded: int) -> None:
    """To multiples of 64, or of an eighth of a short task's length."""
    assert trimmed(longest, length) == padded
