"""Downloads from a loopback server that breaks off, forgets, changes and lies."""

from __future__ import annotations

import gzip
import io
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from tests.data.fetching import BODY, HALF, MD5, OTHER, SHA256, Folder, environment, resume, url
from tests.data.site import Answer, Site

from lra.data import download, transfer
from lra.data.download import Retry, Source
from lra.data.lockfile import recorded


@pytest.mark.parametrize("answer", [Answer(), Answer(sized=False), Answer(chunked=True), Answer(etag=None)])
def test_a_download(site: Site, folder: Folder, answer: Answer) -> None:
    site.usual = answer
    assert folder.fetch(site) == BODY
    assert folder.files() == ["archive", "lock.json"]
    entry = recorded(folder.lock, "archive")
    assert entry is not None
    assert (entry.kind, entry.sha256, entry.size, entry.source) == ("file", SHA256, len(BODY), str(url(site)))


def test_all_checks_pass(site: Site, folder: Folder) -> None:
    assert folder.fetch(url(site, size=len(BODY), sha256=SHA256, md5=MD5)) == BODY


def test_what_is_there_and_as_recorded_is_kept(site: Site, folder: Folder) -> None:
    folder.fetch(site)
    folder.fetch(site)
    assert len(site.ranges) == 1
    folder.target.write_bytes(BODY[:-1] + b"x")
    assert folder.fetch(site) == BODY
    assert len(site.ranges) == 2


def test_a_cut_body_is_resumed(site: Site, folder: Folder) -> None:
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, resume(HALF)]
    assert sum(site.sent) == len(BODY)


def test_a_date_serves_where_there_is_no_strong_etag(site: Site, folder: Folder) -> None:
    site.usually(etag='W/"weak"', modified="Mon, 02 Nov 2020 00:00:00 GMT")
    site.first = [Answer(etag='W/"weak"', modified=site.usual.modified, cut=HALF)]
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, resume(HALF)]


def test_without_etag_and_date_a_cut_body_starts_again(site: Site, folder: Folder) -> None:
    site.usually(etag='W/"weak"')
    site.first = [Answer(etag='W/"weak"', cut=HALF)]
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, None]


def test_a_server_that_ignores_ranges_starts_again(site: Site, folder: Folder) -> None:
    site.usually(ignore_range=True)
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, resume(HALF)]


def test_a_connection_that_drops_twice(site: Site, folder: Folder) -> None:
    site.first = [Answer(silent=True), Answer(silent=True)]
    assert folder.fetch(site) == BODY


def test_any_number_of_drops_is_survived_as_long_as_each_try_brings_something(site: Site, folder: Folder) -> None:
    step = len(BODY) // 10 + 1
    site.usually(cut=step)
    assert folder.fetch(site) == BODY
    assert len(site.ranges) == 10


def test_tries_that_bring_nothing_end_it(site: Site, folder: Folder) -> None:
    site.usually(cut=HALF, ignore_range=True)
    message = folder.refuse(site)
    assert f"broke off after {HALF} of {len(BODY)} bytes (tried 3 times)" in message
    assert site.ranges == [None, resume(HALF), resume(HALF)]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_error_is_tried_again(site: Site, folder: Folder, status: int) -> None:
    site.first = [Answer(status=status), Answer(status=status)]
    assert folder.fetch(site) == BODY


def test_a_file_that_changed_meanwhile_starts_again(site: Site, folder: Folder) -> None:
    site.usually(etag='"second"', body=OTHER)
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == OTHER
    assert site.ranges == [None, resume(HALF)]


def test_a_changed_file_is_noticed_even_if_the_server_ignores_if_range(site: Site, folder: Folder) -> None:
    site.usually(etag='"second"', body=OTHER, ignore_if_range=True)
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == OTHER
    assert site.ranges == [None, resume(HALF), None]


def test_another_part_than_asked_for_is_not_appended(site: Site, folder: Folder) -> None:
    site.first = [Answer(cut=HALF), Answer(shift=7)]
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, resume(HALF), None]


def test_a_part_shorter_than_asked_for_is_gone_on_with(site: Site, folder: Folder) -> None:
    site.usually(most=HALF // 2)
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == BODY
    assert site.ranges[:3] == [None, resume(HALF), resume(HALF + HALF // 2)]


def test_a_file_that_became_shorter_starts_again(site: Site, folder: Folder) -> None:
    shorter = gzip.compress(b"short")
    site.usually(body=shorter, ignore_if_range=True)
    site.first = [Answer(cut=HALF)]
    assert folder.fetch(site) == shorter
    assert site.ranges == [None, resume(HALF), None]


def test_a_later_call_resumes(site: Site, folder: Folder) -> None:
    site.first = [Answer(cut=HALF), *[Answer(status=503)] * 3]
    assert "answered 503" in folder.refuse(site)
    assert folder.files() == ["archive.part", "archive.part.json"]
    assert folder.fetch(site) == BODY
    assert site.ranges[-1] == resume(HALF)
    assert folder.files() == ["archive", "lock.json"]


def test_a_whole_part_is_not_downloaded_again(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download, "record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            folder.fetch(site)
    assert folder.files() == ["archive.part", "archive.part.json"]
    assert folder.fetch(site) == BODY
    assert len(site.ranges) == 1


def test_another_mirrors_part_is_not_gone_on_with(site: Site, mirror: Site, folder: Folder) -> None:
    site.first = [Answer(cut=HALF), Answer(status=403)]
    mirror.usually(body=OTHER)
    assert folder.fetch(site, mirror) == OTHER
    assert mirror.ranges == [None]


def test_a_file_of_another_size_is_not_downloaded(site: Site, folder: Folder) -> None:
    site.usually(cut=10)
    assert f"is {len(BODY)} bytes, not the expected 9" in folder.refuse(url(site, size=9))
    assert len(site.ranges) == 1


@pytest.mark.parametrize("memory", ["", "[]", '{"url": 1}', "{}", "not JSON"])
def test_a_part_with_a_damaged_memory_starts_again(site: Site, folder: Folder, memory: str) -> None:
    folder.path.mkdir()
    folder.part.write_bytes(OTHER[:HALF])
    (folder.path / "archive.part.json").write_text(memory)
    assert folder.fetch(site) == BODY
    assert site.ranges == [None]


def test_pauses_grow_up_to_a_cap() -> None:
    retry = Retry(first=1, longest=5)
    assert [retry.pause(failures) for failures in (1, 2, 3, 4, 9)] == [1, 2, 4, 5, 5]


def test_pauses_are_made(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    site.usually(silent=True)
    folder.refuse(site, retry=Retry(tries=5, first=2, longest=10))
    assert pauses == [2, 4, 8, 10]


def test_a_server_may_say_how_long_to_wait(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(transfer.time, "sleep", pauses.append)
    said = ["7", "3600", "Fri, 31 Dec 1999 23:59:59 GMT"]
    site.first = [Answer(status=429, headers={"Retry-After": value}) for value in said]
    assert folder.fetch(site, retry=Retry(tries=5, first=2, longest=10)) == BODY
    assert pauses == [7, 10, 8]


@pytest.mark.parametrize(
    "address", ["http://host..example/file.gz", "http://127.0.0.1/f\u00fcr.gz", f"http://{'a' * 70}/f"]
)
def test_an_address_that_cannot_be_asked(address: str, folder: Folder) -> None:
    assert "is no address that can be asked" in folder.refuse(Source(url=address))


def test_a_redirection_to_no_address(site: Site, folder: Folder) -> None:
    site.usually(status=302, headers={"Location": "http://[::1/file.gz"})
    assert "is no address that can be asked (Invalid IPv6 URL)" in folder.refuse(site)


def test_a_body_that_is_packed_on_the_way(site: Site, folder: Folder) -> None:
    site.usually(headers={"Content-Encoding": "gzip"})
    assert "is sent with encoding gzip" in folder.refuse(Source(url=f"{site.address}/pairs.tsv"))
    assert not folder.lock.exists()
    assert folder.fetch(site) == BODY  # of file.gz that is how some servers call the file's own packing


@pytest.mark.parametrize("sized", [True, False])
def test_nothing_is_not_taken_for_a_file(site: Site, folder: Folder, sized: bool) -> None:
    site.usually(body=b"", sized=sized)
    assert "sent nothing (tried 3 times)" in folder.refuse(Source(url=f"{site.address}/pairs.tsv"))
    assert folder.files() == []


def test_a_silent_server_times_out(site: Site, folder: Folder) -> None:
    site.usually(cut=0, stall=True)
    assert "broke off after 0" in folder.refuse(site, retry=Retry(tries=2, first=0, timeout=0.2))


@pytest.mark.parametrize(("free", "spare", "enough"), [(10**9, 0, True), (10**9, 10**9, False), (1000, 0, False)])
def test_a_full_disk_is_noticed_first(
    site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch, free: int, spare: int, enough: bool
) -> None:
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 0, free))
    if enough:
        assert folder.fetch(site, spare=spare) == BODY
    else:
        message = folder.refuse(site, site, spare=spare)
        assert "free, but 683.8 KiB are needed to download archive" in message
        assert ("953.7 MiB to unpack it" in message) == (spare > 0)
        assert len(site.ranges) == 1
        assert folder.files() == []


def test_only_the_rest_of_a_download_must_fit(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    site.first = [Answer(cut=HALF), Answer(status=403)]
    folder.refuse(site)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, len(BODY) - HALF))
    assert folder.fetch(site) == BODY


def test_a_part_that_is_overwritten_makes_room(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    site.first = [Answer(cut=HALF), Answer(status=403)]
    folder.refuse(site)
    site.usually(body=OTHER, etag='"second"')
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, len(OTHER) - HALF))
    assert folder.fetch(site) == OTHER


def test_a_disk_that_fills_up_is_one_sentence(site: Site, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "_receive", full)
    assert "No space left on device" in folder.refuse(site)
    assert len(site.ranges) == 1


def test_of_two_that_fetch_the_same_one_waits_for_the_other(site: Site, folder: Folder) -> None:
    site.usually(cut=HALF, stall=True)
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(folder.fetch(site))) for _ in range(3)]
    for thread in threads:
        thread.start()
    while not site.sent:
        time.sleep(0.01)
    site.go_on.set()
    for thread in threads:
        thread.join()
    assert results == [BODY] * 3
    assert len(site.ranges) == 1
    assert folder.files() == ["archive", "lock.json"]


def test_a_killed_download_leaves_no_target_and_is_resumed(site: Site, folder: Folder) -> None:
    site.first = [Answer(cut=HALF, stall=True)]
    script = f"""
from pathlib import Path
from lra.data.download import Source, fetch
fetch("archive", [Source(url="{site.address}/file.gz")], Path({str(folder.target)!r}), Path({str(folder.lock)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script], env=environment())
    # A file object holds back at most its buffer.
    while not folder.part.exists() or folder.part.stat().st_size < HALF - io.DEFAULT_BUFFER_SIZE:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.files() == [".archive.guard", "archive.part", "archive.part.json"]
    offset = folder.part.stat().st_size
    assert folder.fetch(site) == BODY
    assert site.ranges == [None, resume(offset)]
    assert folder.files() == ["archive", "lock.json"]


def test_an_answer_without_the_file_is_refused(site: Site, folder: Folder) -> None:
    site.usually(status=202)
    assert "answered 202 Accepted" in folder.refuse(site)
    assert len(site.ranges) == 1


def test_a_body_that_never_begins_is_tried_again_and_leaves_no_part(site: Site, folder: Folder) -> None:
    site.usually(cut=0)
    assert f"broke off after 0 of {len(BODY)} bytes (tried 3 times)" in folder.refuse(site)
    assert folder.files() == []
    site.usually(cut=None)
    site.first = [Answer(cut=0)]
    assert folder.fetch(site) == BODY


def test_a_certificate_that_is_not_trusted_is_not_tried_again(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def urlopen(request: urllib.request.Request, timeout: float) -> None:
        tries.append(request.full_url)
        raise urllib.error.URLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    message = folder.refuse(Source(url="https://localhost/file.gz"))
    assert "https://localhost/file.gz: cannot be reached (certificate verify failed)\n" in message
    assert len(tries) == 1
