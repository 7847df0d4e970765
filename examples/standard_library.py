"""Where in Python's standard library is this from? A task of real text that every Python carries.

    data: {module: "examples/standard_library.py:passages", classes: 4, vocabulary: 256, max_length: 256}

The source files of four packages are cut into passages; the label is the package. Bytes are the token ids, as in the
Arena's tasks of text. Other versions of Python carry other sources, so that numbers of two machines are comparable only
where their Pythons are the same.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path
from random import Random
from zlib import crc32

PACKAGES = ("asyncio", "email", "multiprocessing", "xml")


def passages(split: str, length: int = 256) -> Iterator[tuple[bytes, int]]:
    """Passages of ``length`` bytes, and the positions of their packages in ``PACKAGES``: as many of each, shuffled."""
    library = Path(sysconfig.get_path("stdlib"))
    found: list[list[bytes]] = []
    for package in PACKAGES:
        texts = [path.read_bytes() for path in (library / package).rglob("*.py")]
        cut = {text[start : start + length] for text in texts for start in range(0, len(text), length)}
        mine = sorted(passage for passage in cut if split_of(passage) == split)
        Random(0).shuffle(mine)
        found.append(mine)
    fewest = min(map(len, found))
    rows = [(passage, label) for label, mine in enumerate(found) for passage in mine[:fewest]]
    Random(0).shuffle(rows)
    yield from rows


def split_of(passage: bytes) -> str:
    """The split that a passage is in, eight of ten for training; it follows from the text, so that it is only one."""
    return {8: "dev", 9: "test"}.get(crc32(passage) % 10, "train")
