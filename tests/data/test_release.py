"""The released archives: what the tasks need of them, whole or not at all."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.data import archives_builder as builder
from tests.data.fetching import contents, environment, names

from lra.cli.main import main
from lra.data import release
from lra.data.release import extract_lra_release, extract_pathfinder_tfds
from lra.errors import LraError

TASKS = ["listops", "retrieval", "pathfinder32"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return builder.lra_release(tmp_path / "lra_release.gz")


def inner_files(prefix: str = "") -> dict[str, bytes]:
    start = f"{builder.INNER}/{prefix}"
    return {name.removeprefix(start): data for name, data in builder.release_files() if name.startswith(start)}


def test_release_has_the_inner_folders_files_and_no_others(archive: Path, tmp_path: Path) -> None:
    target = extract_lra_release(archive, tmp_path / "out", TASKS)
    table = pq.read_table(target / "pathfinder32.parquet")
    assert table.schema.names == ["path", "bytes"]
    assert [str(kind) for kind in table.schema.types] == ["string", "binary"]
    packed = dict(zip(table["path"].to_pylist(), table["bytes"].to_pylist(), strict=True))
    assert packed == inner_files(f"{builder.HARD}/")
    (target / "pathfinder32.parquet").unlink()
    wanted = [f"listops-1000/{name}" for name in builder.LISTOPS_NAMES.values()]
    wanted += [f"tsv_data/{name}" for name in builder.AAN_NAMES.values()]
    assert contents(target) == {name: inner_files()[name] for name in wanted}
    assert names(tmp_path) == ["lra_release.gz", "out"]


@pytest.mark.parametrize("task", TASKS)
def test_release_gives_only_what_the_task_needs(archive: Path, tmp_path: Path, task: str) -> None:
    folder = {"listops": "listops-1000", "retrieval": "tsv_data", "pathfinder32": "pathfinder32.parquet"}[task]
    assert names(extract_lra_release(archive, tmp_path / "out", [task])) == [folder]


def test_images_of_every_size_that_is_asked_for(archive: Path, tmp_path: Path) -> None:
    """Those of 32 x 32 pixels were all that came out."""
    target = extract_lra_release(archive, tmp_path / "out", ["pathfinder32", "pathfinder128"])
    assert names(target) == ["pathfinder128.parquet", "pathfinder32.parquet"]
    table = pq.read_table(target / "pathfinder128.parquet")
    packed = dict(zip(table["path"].to_pylist(), table["bytes"].to_pylist(), strict=True))
    assert packed == inner_files("pathfinder128/curv_contour_length_14/")


@pytest.mark.parametrize("root", ["", builder.OUTER, builder.INNER])
def test_an_unpacked_release_is_read_like_the_archive(archive: Path, tmp_path: Path, root: str) -> None:
    for name, data in builder.release_files():
        path = tmp_path / "unpacked" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    from_folder = extract_lra_release(tmp_path / "unpacked" / root, tmp_path / "folder", TASKS)
    from_archive = extract_lra_release(archive, tmp_path / "archive", TASKS)
    tables = [pq.read_table(out / "pathfinder32.parquet").sort_by("path") for out in (from_folder, from_archive)]
    assert tables[0] == tables[1]
    texts = [{k: v for k, v in contents(out).items() if k.endswith("tsv")} for out in (from_folder, from_archive)]
    assert len(texts[0]) == 6
    assert texts[0] == texts[1]


def test_images_are_written_in_bounded_groups(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "ROW_GROUP", 1000)
    target = extract_lra_release(archive, tmp_path / "out", ["pathfinder32"])
    assert pq.ParquetFile(target / "pathfinder32.parquet").num_row_groups > 3
    assert pq.read_table(target / "pathfinder32.parquet").num_rows == 12


def test_extraction_is_deterministic(archive: Path, tmp_path: Path) -> None:
    again = builder.lra_release(tmp_path / "again.gz")
    assert again.read_bytes() == archive.read_bytes()
    first = extract_lra_release(archive, tmp_path / "first", TASKS)
    assert contents(first) == contents(extract_lra_release(again, tmp_path / "second", TASKS))


def test_tfds_folder(tmp_path: Path) -> None:
    archive = builder.pathfinder_tfds(tmp_path / "pathfinder_tfds.gz")
    target = extract_pathfinder_tfds(archive, tmp_path / "out", ["pathfinder32"])
    assert names(target) == ["pathfinder32"]
    assert len(contents(target / "pathfinder32/1.0.0")) == 5


def test_tfds_folder_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    builder.pathfinder_tfds(Path("archive.gz"))
    assert main(["extract", "pathfinder_tfds", "archive.gz"]) == 0
    extracted = contents(Path("data/extracted/pathfinder_tfds"))
    assert extracted == contents(extract_pathfinder_tfds(Path("archive.gz"), tmp_path / "out", ["pathfinder32"]))


def test_tfds_parts_that_are_not_there(tmp_path: Path) -> None:
    archive = builder.pathfinder_tfds(tmp_path / "pathfinder_tfds.gz")
    with pytest.raises(LraError, match=r"has no TFDS/pathfinder128/1.0.0/"):
        extract_pathfinder_tfds(archive, tmp_path / "out", ["pathfinder128"])
    with pytest.raises(LraError, match="has no data for pathfinder; it may have pathfinder32, pathfinder64"):
        extract_pathfinder_tfds(archive, tmp_path / "out", ["pathfinder"])


def test_plain_tar_is_recognised_whatever_its_name(archive: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.gz"
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    assert contents(extract_lra_release(plain, tmp_path / "a", TASKS)) == contents(
        extract_lra_release(archive, tmp_path / "b", TASKS)
    )


def test_an_older_target_is_replaced(archive: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "tsv_data").mkdir(parents=True)
    (target / "tsv_data/old").write_text("old")
    extract_lra_release(archive, target, ["listops"])
    assert names(target) == ["listops-1000"]


def test_a_task_without_data_in_the_release_is_refused(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LraError, match="no data for image, text; it has listops, retrieval, pathfinder32, pathfinder64"
    ):
        extract_lra_release(archive, tmp_path / "out", ["text", "listops", "image"])


@pytest.mark.parametrize(
    ("lost", "named"),
    [
        ("listops-1000/basic_val.tsv", "listops-1000/basic_val.tsv"),
        ("tsv_data/", "tsv_data/new_aan_pairs.eval.tsv"),
        (f"{builder.HARD}/imgs", f"{builder.HARD}/imgs/"),
        (f"{builder.HARD}/imgs/1", "lacks imgs/1"),
        (f"{builder.HARD}/metadata/0.npy", "lacks metadata/0.npy"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, lost: str, named: str) -> None:
    files = [file for file in builder.release_files() if not file[0].startswith(f"{builder.INNER}/{lost}")]
    archive = builder.write_tar_gz(tmp_path / "lra_release.gz", files)
    with pytest.raises(LraError) as error:
        extract_lra_release(archive, tmp_path / "out", TASKS)
    assert named in str(error.value)
    assert names(tmp_path) == ["lra_release.gz"]


@pytest.mark.parametrize("share", [0, 0.0001, 0.01, 0.3, 0.6, 0.9, 0.999, 0.9999999])
@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_an_archive_cut_short_anywhere_is_noticed(archive: Path, tmp_path: Path, share: float, packed: bool) -> None:
    whole = archive.read_bytes()
    if not packed:
        # Two blocks of zeros end a tar; what follows them is padding that may be cut.
        whole = gzip.decompress(whole).rstrip(b"\0") + bytes(511)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(whole[: int(len(whole) * share)])
    for tasks in (["listops"], TASKS):
        with pytest.raises(LraError, match="damaged or cut short near byte"):
            extract_lra_release(cut, tmp_path / "out", tasks)
    assert names(tmp_path) == ["cut.gz", "lra_release.gz"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_flipped_bit_in_a_gzip_is_noticed(archive: Path, tmp_path: Path, share: float) -> None:
    data = bytearray(archive.read_bytes())
    data[int(len(data) * share)] ^= 1
    archive.write_bytes(data)
    with pytest.raises(LraError, match=r"lra_release\.gz is no tar archive, damaged or cut short near byte \d+"):
        extract_lra_release(archive, tmp_path / "out", TASKS)


@pytest.mark.parametrize(("verified", "whole"), [(True, True), (False, False)])
def test_only_a_verified_archive_is_left_early(archive: Path, tmp_path: Path, verified: bool, whole: bool) -> None:
    archive.write_bytes(archive.read_bytes()[:-100])
    if whole:
        extract_lra_release(archive, tmp_path / "out", ["listops"], verified=verified)
        with pytest.raises(LraError, match="cut short"):
            extract_lra_release(archive, tmp_path / "out", ["listops", "pathfinder32"], verified=verified)
    else:
        with pytest.raises(LraError, match="cut short"):
            extract_lra_release(archive, tmp_path / "out", ["listops"], verified=verified)


def test_an_image_of_many_megabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "LARGEST_IMAGE", 100)
    archive = builder.lra_release(tmp_path / "lra_release.gz")
    with pytest.raises(LraError, match=r"sample_0.png' of \d+ bytes, too large for an image"):
        extract_lra_release(archive, tmp_path / "out", ["pathfinder32"])


def test_a_full_disk_is_one_sentence(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release, "save", full)
    with pytest.raises(LraError, match=r"out could not be made: .*No space left on device"):
        extract_lra_release(archive, tmp_path / "out", ["listops"])
    assert names(tmp_path) == ["lra_release.gz"]


def test_a_killed_extraction_leaves_no_target(archive: Path, tmp_path: Path) -> None:
    script = f"""
import os, signal
from pathlib import Path
from lra.data import release
save, saved = release.save, []
def dying_save(member, folder):
    if len(saved) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    save(member, folder)
    saved.append(member)
release.save = dying_save
release.extract_lra_release(Path({str(archive)!r}), Path({str(tmp_path / "out")!r}), {TASKS!r})
"""
    assert subprocess.run([sys.executable, "-c", script], env=environment()).returncode == -signal.SIGKILL
    assert names(tmp_path) == [".out.guard", "lra_release.gz", "out.part"]
    assert len(contents(tmp_path / "out.part")) >= 2
    extract_lra_release(archive, tmp_path / "out", ["listops"])
    assert names(tmp_path) == ["lra_release.gz", "out"]
    assert names(tmp_path / "out") == ["listops-1000"]
