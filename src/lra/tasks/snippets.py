"""About 23 600 real snippets of text of four kinds, from the source distribution of a Python package.

The source distribution of vaderSentiment 3.3.2 (MIT licence; Hutto and Gilbert 2014, ICWSM) holds an archive with a
file a kind of text, whose lines are ``id <TAB> mean sentiment rating <TAB> text``. The ratings are not used here.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lra.errors import LraError

KINDS = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
INNER_ARCHIVE = "additional_resources/hutto_ICWSM_2014.tar.gz"


def read_snippets(archive: Path, kinds: Sequence[str], max_length: int) -> list[list[bytes]]:
    """For each kind its texts in order, cut to ``max_length`` bytes, without texts that repeat an earlier one.

    Args:
        archive: ``vaderSentiment-3.3.2.tar.gz``.
        kinds: some of ``KINDS``.
        max_length: in bytes; two texts that begin with the same ``max_length`` bytes count as the same.

    Raises:
        LraError: the archive has another layout, or a line is malformed.
    """
    seen: set[bytes] = set()
    snippets = []
    for kind, (name, content) in zip(kinds, _files(archive, kinds), strict=True):
        distinct = dict.fromkeys(text[:max_length] for text in _texts(content, f"{archive}: {name}"))
        snippets.append([text for text in distinct if text not in seen])
        seen.update(distinct)
        if not snippets[-1]:
            raise LraError(f"{archive}: {name} has no text of its own kind ({kind}); download the archive again.")
    return snippets


def _files(archive: Path, kinds: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each kind's file."""
    try:
        with tarfile.open(archive) as outer:
            inner = _member(outer, INNER_ARCHIVE)
        with tarfile.open(fileobj=io.BytesIO(inner)) as tar:
            for kind in kinds:
                name = f"{kind}_GroundTruth.txt"
                yield name, _member(tar, name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as problem:
        raise LraError(
            f"{archive} is not the source distribution of vaderSentiment ({problem}); delete it to download it again."
        ) from problem
    except KeyError as problem:
        raise LraError(
            f"{archive} holds no {problem.args[0]}; it must be the source distribution of vaderSentiment 3.3.2."
        ) from problem


def _member(tar: tarfile.TarFile, ending: str) -> bytes:
    for member in tar:
        file = tar.extractfile(member) if member.name.endswith(f"/{ending}") else None
        if file is not None:
            return file.read()
    raise KeyError(ending)


def _texts(content: bytes, where: str) -> Iterator[bytes]:
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        fields = line.split(b"\t", maxsplit=2)
        if len(fields) != 3 or not fields[2].strip():
            raise LraError(f"{where}, line {number}: expected id, rating and text between tabs.")
        yield fields[2].strip()
