"""A small archive with the layout of the source distribution of vaderSentiment 3.3.2."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

TEXTS = {
    "movieReviewSnippets": [b"A fine film, number %d." % i for i in range(60)],
    "amazonReviewSnippets": [b"this camera is item %d in my bag" % i for i in range(40)],
    "nytEditorialSnippets": [b"The mayor should read page %d of the report." % i for i in range(150)],
    "tweets": [b"@anonymous lol %d" % i for i in range(120)],
}


def content(texts: Sequence[bytes]) -> bytes:
    """Lines with an id, a rating and a text; the last one is not ended."""
    return b"\r\n".join(b"%d\t-0.5\t%s" % (i, text) for i, text in enumerate(texts, start=1))


def write_snippets(path: Path, files: Mapping[str, bytes] | None = None) -> Path:
    """Write the archive with the given content of each kind's file."""
    if files is None:
        files = {kind: content(texts) for kind, texts in TEXTS.items()}
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        folder = tarfile.TarInfo("hutto_ICWSM_2014")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for kind, data in files.items():
            add(tar, f"hutto_ICWSM_2014/{kind}_anonDataRatings.txt", b"1\t[0, 1]\n")
            add(tar, f"hutto_ICWSM_2014/{kind}_GroundTruth.txt", data)
    with tarfile.open(path, "w:gz") as tar:
        add(tar, "vaderSentiment-3.3.2/README.rst", b"VADER")
        add(tar, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return path


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file to an archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
