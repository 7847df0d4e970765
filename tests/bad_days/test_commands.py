"""Commands and settings that are misspelt or make no sense."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.bad_days.mishaps import (
    RUN,
    TRAIN,
    Day,
    Patch,
    all_of,
    assert_kind,
    attention,
    configured,
    gone,
    replaced,
    text,
)
from tests.workflow.arena import LISTOPS

IMDB = {"source": "imdb", "rows": {"train": 1, "dev": 1, "test": 1}, "max_length": 10, "dev": "train", "seed": 0}
OWN = {"data": {"module": "ends.py:rows", "classes": 2, "vocabulary": 5, "max_length": 9}, "train": LISTOPS["train"]}
TEXT = {"data": IMDB, "train": LISTOPS["train"]}

DAYS = {
    # The command line.
    "no command": Day("", "COMMAND", code=2),
    "misspelt command": Day("trian", "unknown 'trian'. Did you mean 'train'?", code=2),
    "misspelt option": Day(f"{TRAIN} --thread-count 3", "does not take '--thread-count'", code=2),
    "misspelt option, nearest": Day("prepare listops --worker=2 --uot x", "Did you mean '--out'?", code=2),
    "a device that is chosen for you": Day(f"{TRAIN} --device cuda", "'--device'", code=2),
    "no number": Day(f"{TRAIN} --seed one", "--seed: 'one' is not a whole number of at least 0", code=2),
    "negative seed": Day(f"{TRAIN} --seed -1", "--seed: '-1' is not a whole number of at least 0", code=2),
    "no thread": Day(f"{TRAIN} --threads 0", "--threads: '0' is not a whole number of at least 1", code=2),
    "no step": Day(f"{TRAIN} --max-steps 0", "--max-steps: '0' is not a whole number of at least 1", code=2),
    "no worker": Day("prepare listops --workers 0", "--workers", code=2),
    "a seed that no generator takes": Day(f"{TRAIN} --seed {2**64}", "the most allowed", code=2),
    "threads that no machine has": Day(f"{TRAIN} --threads 99999999999", "the most allowed", code=2),
    "no pause between checkpoints": Day(f"{TRAIN} --checkpoint-seconds soon", "--checkpoint-seconds", code=2),
    "length zero": Day("bench --lengths 0 --attentions vmean", "--lengths", code=2),
    "unknown split": Day(f"evaluate {RUN} --split valid", "unknown 'valid'", code=2),
    "unknown shell": Day("completion tcsh", "unknown 'tcsh'", code=2),
    "unknown archive": Day("extract imdb mine.txt", "unknown 'imdb'", code=2),
    "settings that are no JSON": Day("prepare listops --settings {", "--settings: not JSON", code=2),
    "settings that are a list": Day(f"{TRAIN} --settings []", "--settings: not an object in JSON", code=2),
    "sources that are an object": Day("download vader --sources {}", "--sources: not a list in JSON", code=2),
    "no attention": Day("train --task listops", "needs --attention and --task"),
    "misspelt attention": Day("train --attention vmeen --task listops", "Did you mean 'vmean'?"),
    "misspelt task": Day("train --attention vmean --task listop", "Did you mean 'listops'?"),
    "unknown task with settings": Day('prepare sorting --settings \'{"source": "generate"}\' --out x', "'sorting'"),
    "unknown figure": Day("plots accuracy", "Did you mean 'accuracy_time'?"),
    "unknown attention to bench": Day("bench --attentions vmeen", "Did you mean 'vmean'?"),
    "unknown attention to check": Day("check vmeen", "Did you mean 'vmean'?"),
    "an attention's unknown option": Day("check vmean --options '{\"x\": 1}'", "unexpected keyword argument 'x'"),
    "a metrics file that is not there": Day("collect --metrics results/x.json", "results/x.json is not there"),
    # config.yaml.
    "no config.yaml": Day(TRAIN, "config.yaml is not there; run this in the project's folder", gone("config.yaml")),
    "config.yaml is a folder": Day(f"{TRAIN} --config data", "data cannot be read"),
    "config.yaml is no YAML": Day(TRAIN, "config.yaml cannot be read", text("config.yaml", "tasks: [listops\nx")),
    "config.yaml is no text": Day(TRAIN, "config.yaml cannot be read", text("config.yaml", b"\xff\xfe\x00")),
    "config.yaml has a key twice": Day(
        TRAIN, "has the key 'seeds' again; keep one", replaced("config.yaml", "seeds:", "seeds: [3]\nseeds:")
    ),
    "config.yaml is empty": Day(TRAIN, "config.yaml is empty;", text("config.yaml", "")),
    "misspelt key": Day(TRAIN, "Did you mean 'seeds'?", replaced("config.yaml", "seeds:", "seds:")),
    "unknown scale": Day(TRAIN, "config.yaml: scale", configured("scale", value="huge")),
    "a text for a number": Day(
        TRAIN,
        "train.batch: 'many' is not a whole number",
        configured("scales", "mini", "tasks", "listops", "train", "batch", value="many"),
    ),
    "a number that YAML reads as a text": Day(
        TRAIN,
        "'1e-3' is not a number. YAML reads it as text: remove the quotes, or write 1.0e-3 for 1e-3",
        configured("scales", "mini", "tasks", "listops", "train", "learning_rate", value="1e-3"),
    ),
    "a rate that is no number": Day(
        TRAIN,
        "train.learning_rate: nan is not a number",
        configured("scales", "mini", "tasks", "listops", "train", "learning_rate", value=float("nan")),
    ),
    "a dropout that is no number": Day(
        TRAIN,
        "model.dropout: nan is not a number",
        configured("scales", "mini", "model", "dropout", value=float("nan")),
    ),
    "a seed with a point": Day(TRAIN, "seeds.0: 1.0 is not a whole number", configured("seeds", value=[1.0])),
    "a batch with a point": Day(
        TRAIN,
        "config.yaml: scales.mini.tasks.listops.train.batch: 16.0 is not a whole number",
        configured("scales", "mini", "tasks", "listops", "train", "batch", value=16.0),
    ),
    "a configured seed that no generator takes": Day(TRAIN, "the most allowed", configured("seeds", value=[2**64])),
    "an attention in both its spellings": Day(
        TRAIN,
        "attentions: 'nystromformer' is 'nystrom', which is listed too; keep one",
        configured("attentions", value=[{"nystromformer": {"features": 4}}, "nystrom", "vmean"]),
    ),
    "an attention's file that ends the program": Day(
        "check mine.py:Mine", "mine.py, line 2, ends the program", text("mine.py", "import sys\nsys.exit(0)\n")
    ),
    "an attention's file that holds a null byte": Day(
        "train --attention mine --task listops",
        "mine.py: source code",
        all_of(attention(mine={"module": "mine.py:Mine"}), text("mine.py", "class Mine:\0")),
    ),
    "an attention's file that nests too deeply": Day(
        "train --attention mine --task listops",
        "mine.py nests too deeply",
        all_of(
            attention(mine={"module": "mine.py:Mine"}),
            text("mine.py", f"x = {'+'.join(['1'] * 2000)}\nclass Mine(x.Y): pass\n"),
        ),
    ),
    "a task's function that ends the program": Day(
        "prepare mine",
        "ends.py, line 2, ends the program",
        all_of(
            configured("scales", "mini", "tasks", "mine", value=OWN),
            text("ends.py", "def rows(split):\n    raise SystemExit\n"),
        ),
    ),
    "heads that do not exist": Day(
        TRAIN, "model.heads: 0 is less than 1", configured("scales", "mini", "model", "heads", value=0)
    ),
    "warmup longer than the run": Day(
        TRAIN, "must be less than steps", configured("scales", "mini", "tasks", "listops", "train", "warmup", value=9)
    ),
    "an attention that nobody knows": Day(TRAIN, "Did you mean 'bigbird'?", attention(bigbrid={})),
    "an attention's file that is missing": Day(
        "train --attention mine --task listops",
        "attentions.mine.module",
        attention(mine={"module": "mine.py:Mine"}),
    ),
    "an option that the attention lacks": Day(
        TRAIN, "Did you mean 'dropout'?", attention(softmax={"options": {"droput": 0.5}})
    ),
    "a batch larger than the split": Day(
        TRAIN,
        "listops.train.batch: 999 is more than the 200 training rows.",
        configured("scales", "mini", "tasks", "listops", "train", "batch", value=999),
    ),
    "a local path that is not there": Day(
        "prepare text",
        "the path 'nowhere.tar.gz' is not there",
        all_of(
            configured("tasks", value=["text"]),
            configured("scales", "mini", "tasks", "text", value=TEXT),
            configured("sources", "imdb", value=[{"path": "nowhere.tar.gz"}]),
        ),
    ),
}


@pytest.mark.parametrize("name", DAYS)
def test_a_bad_day(name: str, arena: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]) -> None:
    assert_kind(DAYS[name], arena, monkeypatch, capsys)
