"""Sources, data and runs that are missing, damaged, or something else."""

from __future__ import annotations

import json
import os
import shlex
import tarfile
from pathlib import Path
from typing import Any

import pytest
from tests.bad_days.mishaps import (
    DATA,
    MEASURE,
    RUN,
    TRAIN,
    Before,
    Day,
    Patch,
    all_of,
    archive,
    assert_kind,
    cut,
    edited,
    garbled,
    gone,
    member,
    replaced,
    sources,
    text,
)

INNER = "lra_release/lra_release/listops-1000"
LISTOPS = {
    "source": "lra_release",
    "brackets": False,
    "expected_rows": {"train": 2, "dev": 1, "test": 1},
    "max_length": 20,
}
IMAGE_DATA = {"source": "cifar10", "rows": {"train": 1, "dev": 1, "test": 1}, "seed": 0}


def edited_split(**changes: Any) -> Before:
    """Change what the manifest says of the training split."""
    return edited(DATA / "manifest.json", lambda m: m["splits"]["train"].update(changes) or m)


FOREIGN = "is damaged or another run's"
UNTRAINED = f"{TRAIN} --seed 2"
"""Of what was trained before, a command finds the run in the store."""

DAYS = {
    # Sources.
    "a source that nobody named": Day("download vadr", "Did you mean 'vader'?"),
    "a source of two kinds": Day(f"download x {sources({'url': 'http://a/b', 'path': 'c'})}", "exactly one of"),
    "a source that is no block": Day(f"download x {sources()[:-4]}'[3]'", "sources.x: 3 is not a block of settings"),
    "a path that is not there": Day(
        f"download x {sources({'path': 'nowhere'})}", "there is no such file or folder", lines=6
    ),
    "another checksum": Day(
        f"download x {sources({'path': 'mine.txt', 'sha256': '0' * 64})}", "not the expected 000", lines=6
    ),
    "a login page in place of an archive": Day(
        f"download x {sources({'path': 'page.tar.gz'})}",
        "is a web page, not the file",
        text("page.tar.gz", "<!DOCTYPE html><html>Please log in"),
        lines=6,
    ),
    "a server that is down": Day(
        f"download x {sources({'url': 'http://127.0.0.1:9/x.gz'})}",
        "cannot be reached",
        lambda patch: patch.setattr("lra.data.transfer.time.sleep", lambda seconds: None),
        lines=6,
    ),
    "a damaged lock file": Day(
        "download vader", "lock.json cannot be read", text("data/sources/lock.json", "{half a lock")
    ),
    "an archive that is missing": Day("extract lra_release nowhere.gz --tasks listops", "nowhere.gz is not there"),
    "an archive that is none": Day("extract lra_release mine.txt --tasks listops", "mine.txt is no tar archive"),
    "an archive that is cut short": Day(
        "extract lra_release a.gz --tasks listops",
        "damaged or cut short",
        all_of(archive("a.gz", member(f"{INNER}/basic_train.tsv"), os.urandom(5000)), cut(Path("a.gz"))),
    ),
    "an archive that lacks files": Day(
        "extract lra_release a.gz --tasks listops",
        "is it the right archive?",
        archive("a.gz", member(f"{INNER}/basic_train.tsv"), b"Source\tTarget\n"),
    ),
    "an archive with a link": Day(
        "extract lra_release a.gz --tasks listops",
        "a symbolic link",
        archive("a.gz", member(f"{INNER}/basic_train.tsv", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    ),
    "an archive that leads out of its folder": Day(
        "extract lra_release a.gz --tasks listops",
        "leads out of the folder",
        archive("a.gz", member("lra_release/x/../lra_release/listops-1000/basic_train.tsv"), b"x"),
    ),
    "a task that the archive lacks": Day("extract lra_release mine.txt --tasks image", "has no data for image"),
    # Prepared data.
    "data that are not prepared": Day(TRAIN, "manifest.json is not there", gone(DATA)),
    "a manifest that is cut": Day(TRAIN, "manifest.json cannot be read", cut(DATA / "manifest.json")),
    "a manifest of another version": Day(
        TRAIN, "is not a manifest", edited(DATA / "manifest.json", lambda m: {**m, "task": {**m["task"], "new": 1}})
    ),
    "a manifest that is a list": Day(TRAIN, "is not a manifest", edited(DATA / "manifest.json", lambda m: [m])),
    "a manifest of no file": Day(TRAIN, "is not a manifest", edited_split(files=[])),
    "a manifest of other rows": Day(TRAIN, "is not a manifest", edited_split(rows=5000)),
    "a manifest of rows that are none": Day(TRAIN, "is not a manifest", edited_split(rows=None)),
    "a manifest of no class": Day(TRAIN, "is not a manifest", edited_split(classes=[])),
    "a manifest of no provenance": Day(
        TRAIN, "is not a manifest", edited(DATA / "manifest.json", lambda m: {**m, "provenance": None})
    ),
    "a split that is missing": Day(TRAIN, "dev/part-00000.parquet is missing", gone(DATA / "dev")),
    "a manifest without a split": Day(
        TRAIN,
        "is not a manifest",
        edited(DATA / "manifest.json", lambda m: {**m, "splits": {"train": m["splits"]["train"]}}),
    ),
    "a shard that is cut": Day(TRAIN, "is truncated or changed", cut(DATA / "train/part-00000.parquet")),
    "a shard of other bytes": Day(UNTRAINED, "part-00000.parquet", garbled(DATA / "train/part-00000.parquet")),
    "test data of other bytes": Day(UNTRAINED, "test/part-00000.parquet", garbled(DATA / "test/part-00000.parquet")),
    "data of another task": Day(
        "train --attention vmean --task image --data data/mini/listops", "holds the task 'listops', not 'image'"
    ),
    "a contact sheet of nothing": Day("contact-sheet nowhere", "nowhere/manifest.json is not there"),
    "random data for an unknown task": Day("rehearsal-data listop", "Did you mean 'listops'?"),
    "a contact sheet of another task": Day("contact-sheet data/mini/listops", "give shards of pathfinder"),
    "an expression that is cut": Day(
        f"prepare listops --source raw --settings {shlex.quote(json.dumps(LISTOPS))}",
        "basic_train.tsv",
        all_of(
            text("raw/basic_train.tsv", "Source\tTarget\n( ( [MAX 1 ) ] )\tmany\n"),
            text("raw/basic_val.tsv", "Source\tTarget\n"),
            text("raw/basic_test.tsv", "Source\tTarget\n"),
        ),
    ),
    "fewer rows than the archive has": Day(
        f"prepare listops --source raw --settings {shlex.quote(json.dumps(LISTOPS))}",
        "has 1 rows, not the expected 2",
        all_of(
            *(
                text(f"raw/basic_{split}.tsv", f"Source\tTarget\n( ( ( [MAX {i} ) 1 ) ] )\t{max(i, 1)}\n")
                for i, split in enumerate(("train", "val", "test"))
            )
        ),
    ),
    "sources of an example that are no archive": Day(
        "prepare image --source mine.txt --settings " + shlex.quote(json.dumps(IMAGE_DATA)) + " --out data/mini/image",
        "mine.txt",
    ),
    # Runs.
    "a run that is not there": Day("evaluate results/runs/mini/listops/vmean/seed-9", "seed-9/metrics.json is not"),
    "a run's file in place of its folder": Day(f"evaluate {RUN}/metrics.json", "metrics.json"),
    "a run that was stopped": Day(
        f"predict {RUN} '[MAX 1 2 ]'", "metrics.json is not there", gone(RUN / "metrics.json")
    ),
    "a record that is cut": Day(
        f"predict {RUN} '[MAX 1 2 ]'", "metrics.json cannot be read", cut(RUN / "metrics.json")
    ),
    "a record that is a list": Day(f"evaluate {RUN}", "metrics.json", edited(RUN / "metrics.json", lambda m: [m])),
    "a record of another version": Day(
        f"evaluate {RUN}", "is not the metrics.json", edited(RUN / "metrics.json", lambda m: {"status": "ok"})
    ),
    "a record with an unknown setting": Day(
        f"evaluate {RUN}",
        "unknown key 'new'",
        edited(RUN / "metrics.json", lambda m: {**m, "settings": {**m["settings"], "new": 1}}),
    ),
    "a run that failed": Day(
        f"predict {RUN} '[MAX 1 2 ]'",
        "has no trained weights",
        edited(RUN / "metrics.json", lambda m: {**m, "status": "diverged", "reason": "nan"}),
    ),
    "a record with an accuracy that is none": Day(
        "collect", "its 'test_accuracy' is None", edited(RUN / "metrics.json", lambda m: {**m, "test_accuracy": None})
    ),
    "a record of settings that are none": Day(
        "report", "its 'settings' is None", edited(RUN / "metrics.json", lambda m: {**m, "settings": None})
    ),
    "a run whose attention's file is gone": Day(
        f"evaluate {RUN} --trust",
        "run this in the folder that it was trained in",
        edited(RUN / "metrics.json", lambda m: m["settings"]["attention"].update(module="gone.py:Mine") or m),
    ),
    "a run whose attention takes other options now": Day(
        f"predict {RUN} '[MAX 1 2 ]'",
        "unexpected keyword argument 'x'",
        edited(RUN / "metrics.json", lambda m: m["settings"]["attention"].update(options={"x": 1}) or m),
    ),
    "no weights": Day(f"evaluate {RUN}", "model.safetensors", gone(RUN / "model.safetensors")),
    "weights that are cut": Day(f"evaluate {RUN}", FOREIGN, cut(RUN / "model.safetensors")),
    "weights that are a page": Day(
        f"predict {RUN} '[MAX 1 2 ]'",
        FOREIGN,
        text(RUN / "model.safetensors", "<html>"),
    ),
    "predictions that are cut": Day("collect", FOREIGN, cut(RUN / "predictions.parquet")),
    "a history that is gone": Day("plots loss_steps", "history.csv cannot be read", gone(RUN / "history.csv")),
    "a run on data that were changed": Day(
        f"evaluate {RUN}",
        "is not the data that",
        edited(DATA / "manifest.json", lambda m: {**m, "content": {**m["content"], "train": "0"}}),
    ),
    "a manifest edited by hand": Day(TRAIN, "its checksum differs", replaced(f"{DATA}/manifest.json", "0.5", "0.6")),
    "a record edited by hand": Day(
        "collect", "its checksum differs", replaced(f"{RUN}/metrics.json", 'wall_seconds": ', 'wall_seconds": 1')
    ),
    "a run in the place of another": Day(
        "collect",
        "results/runs/mini/listops/softmax/seed-1 holds the run of listops/vmean/seed-1; delete it",
        lambda patch: RUN.parent.rename("results/runs/mini/listops/softmax") and None,
    ),
    "a history that is emptied": Day("report", FOREIGN, text(RUN / "history.csv", "")),
    "code that a run names": Day(
        f"predict {RUN} 1",
        "names 'theirs.py:Mine', which is not in the registry",
        edited(RUN / "metrics.json", lambda m: m["settings"]["attention"].update(module="theirs.py:Mine") or m),
    ),
    "no run yet": Day("collect", "there is no finished run", gone("results/runs")),
    "no table yet": Day("tables", "table.csv is not there", gone("results/table.csv")),
    "a table of something else": Day("tables --table mine.txt", "mine.txt"),
    "a benchmark's table of something else": Day("plot-bench mine.txt", "mine.txt"),
    "an approximation's table of something else": Day("plot-approximation mine.txt", "mine.txt"),
    "an approximation's table that is missing": Day("plot-approximation x.csv", "x.csv"),
    "no expression": Day(f"predict {RUN} 'MAX 1 2'", "MAX"),
    "weights of a larger model": Day(
        f"evaluate {RUN}",
        "model.safetensors cannot be read",
        edited(RUN / "metrics.json", lambda m: m["settings"]["model"].update(layers=2) or m),
    ),
    "a measurement of nothing": Day("collect", "measure.json is not a measurement", text(MEASURE, "{}")),
    "a measurement of nothing to plan with": Day("plan", "measure.json is not a measurement", text(MEASURE, "[]")),
    "a figure that is not there": Day("report --figures results/x.svg", "results/x.svg"),
    "texts that are not prepared": Day(
        "approximate --attention vmean",
        "the scale 'mini' has no task 'text', whose data the measurement of errors reads",
    ),
}


@pytest.mark.parametrize("name", DAYS)
def test_a_bad_day(name: str, arena: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    assert_kind(DAYS[name], arena, monkeypatch, capsys)
