"""An address with names in braces: several files, all or none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.data.fetching import HASTE, OTHER, PAGE, Folder, contents, resume
from tests.data.site import Answer, Site

from lra.data.download import Source, fetch
from lra.data.lockfile import recorded
from lra.errors import LraError

FILES = {"pairs.train.tsv": b"1.0\ta\n" * 50, "pairs.eval.tsv": b"0.0\tb\n", "pairs.test.tsv": b"1.0\tc\n"}
TRAIN, EVAL, TEST = (Answer(body=body) for body in FILES.values())


def source(site: Site) -> Source:
    return Source(url=f"{site.address}/aan/pairs.{{train,eval,test}}.tsv?download=true")


def get(folder: Folder, *sources: Source) -> dict[str, bytes]:
    return contents(fetch("aan", sources, folder.target, folder.lock, retry=HASTE))


def refuse(folder: Folder, *sources: Source) -> str:
    with pytest.raises(LraError) as error:
        get(folder, *sources)
    return str(error.value)


def test_what_the_braces_stand_for() -> None:
    braces = Source(url="https://host/a%20b/{x,y-1}.tsv")
    assert braces.urls == ["https://host/a%20b/x.tsv", "https://host/a%20b/y-1.tsv"]
    assert Source(url="https://host/{x,y}").urls == ["https://host/x", "https://host/y"]
    assert Source(url="https://host/x.gz").urls == ["https://host/x.gz"]


@pytest.mark.parametrize("end", ["{a", "a}", "{}", "{a}", "{a,}", "{a,b/c}", "{a,b}/c", "{a,b}{c,d}", "{a,{b,c}}"])
def test_other_braces_are_refused(end: str) -> None:
    with pytest.raises(LraError, match=r"should be like: https://host/file.gz or https://host/\{a,b\}.tsv"):
        Source(url=f"https://host/{end}")


def test_a_checksum_is_of_one_file() -> None:
    with pytest.raises(LraError, match="is several files; size, sha256 and md5 are for one"):
        Source(url="https://host/{a,b}.tsv", size=3)


def test_several_files_become_a_folder(site: Site, folder: Folder) -> None:
    site.first = [TRAIN, EVAL, TEST]
    assert get(folder, source(site)) == FILES
    assert folder.files() == ["archive", "lock.json"]
    entry = recorded(folder.lock, "aan")
    assert entry is not None
    assert (entry.kind, entry.size) == ("files", sum(map(len, FILES.values())))
    # Nothing is asked for again.
    assert get(folder, source(site)) == FILES
    assert len(site.ranges) == 3


def test_all_or_nothing_and_what_came_is_kept_to_go_on(site: Site, folder: Folder) -> None:
    site.first = [TRAIN, EVAL, Answer(status=403)]
    assert "answered 403 Forbidden" in refuse(folder, source(site))
    assert not folder.target.exists()
    assert not folder.lock.exists()
    site.first = [TEST]
    assert get(folder, source(site)) == FILES
    assert len(site.ranges) == 4
    assert folder.files() == ["archive", "lock.json"]


def test_a_page_that_begins_slowly_is_no_file(site: Site, folder: Folder) -> None:
    site.first = [TRAIN, Answer(body=PAGE, kind="text/plain", cut=1, stall=True), TEST]
    threading.Timer(0.3, site.go_on.set).start()
    assert "is a web page, not the file" in refuse(folder, source(site))
    assert folder.files() == []


def test_each_file_is_resumed(site: Site, folder: Folder) -> None:
    site.first = [Answer(body=TRAIN.body, cut=100), TRAIN, EVAL, TEST]
    assert get(folder, source(site)) == FILES
    assert site.ranges == [None, resume(100), None, None]


def test_a_mirrors_files_are_not_mixed_with_anothers(site: Site, mirror: Site, folder: Folder) -> None:
    site.first = [Answer(body=b"a"), Answer(body=PAGE)]
    mirror.first = [TRAIN, EVAL, TEST]
    assert get(folder, source(site), source(mirror)) == FILES


def test_another_content_is_refused_and_damage_mended(site: Site, mirror: Site, folder: Folder) -> None:
    site.first = [TRAIN, EVAL, TEST]
    get(folder, source(site))
    file = folder.target / "pairs.eval.tsv"
    file.write_bytes(b"0.0\td\n")  # of the same size
    mirror.first = [TRAIN, Answer(body=b"0.0\te\n"), TEST]
    assert "is not what aan was at first use (files, " in refuse(folder, source(mirror))
    site.first = [TRAIN, EVAL, TEST]
    assert get(folder, source(site)) == FILES
    assert folder.files() == ["archive", "lock.json"]


def test_files_and_a_file_and_a_link_replace_each_other(site: Site, folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    mine = Source(path=str(tmp_path / "mine"))
    one = Source(url=f"{site.address}/one.gz")
    for first in (mine, one):
        for second in (mine, one):
            site.first = [Answer(body=OTHER)] if first == one else []
            fetch("aan", [first], folder.target, folder.lock, retry=HASTE)
            folder.lock.unlink()
            site.first = [TRAIN, EVAL, TEST]
            assert get(folder, source(site)) == FILES
            assert not folder.target.is_symlink()
            folder.lock.unlink()
            site.first = [Answer(body=OTHER)] if second == one else []
            fetch("aan", [second], folder.target, folder.lock, retry=HASTE)
            assert folder.target.is_symlink() == (second == mine)
            folder.lock.unlink()
    assert list((tmp_path / "mine").iterdir()) == []
