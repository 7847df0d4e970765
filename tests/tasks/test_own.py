"""A task of the user's own: what its function yields is what the shards hold, and a mistake is one sentence."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lra
from lra.cli.main import main
from lra.data.prepare import prepare
from lra.data.shards import read_shards
from lra.data.synthetic import describe, random_shards
from lra.errors import LraError
from lra.tasks import module_of, own
from lra.tasks.contract import Rows, Task
from lra.training.run import train_run

TASK = '''
"""Is the number of twos odd?"""

from dataclasses import dataclass
from random import Random

import numpy as np


@dataclass
class Sizes:
    """Classes of a file of one's own work too."""

    length: "int"


def parity(split, length=12, rows=80):
    sizes, random = Sizes(length), Random(split)
    for _ in range(rows):
        bits = [random.randint(1, 2) for _ in range(random.randint(1, sizes.length))]
        yield bits, bits.count(2) % 2


def pairs(split):
    yield from ((([1, 2], np.array([3])), True), ((range(1, 4), b"\\x02"), np.int64(0)))


def lines(split, source):
    return [(line.encode(), split == "train") for line in (source / f"{split}.txt").read_text().splitlines()]


def endless(split):
    random = Random(split)
    while True:
        yield [random.randrange(300) for _ in range(9)], random.randrange(3)


def whatever(split, **options):
    yield from ()


def wrong(split, row):
    yield [1, 2], 0
    yield {ROWS[row]} if row == "set" else ROWS[row]


def nothing(split):
    if split == "train":
        yield [1], 0


def forgotten(split):
    [1, 2], 0


def failing(split):
    yield [1, 2], 0
    yield [1, 2], 1 // (split == "no split")


ROWS = {
    "triple": ([1], 0, 0),
    "ids alone": 7,
    "negative": ([1, -1], 0),
    "large": ([1, 2, 3], 0),
    "larger than any": ([2**70], 0),
    "empty": ([], 0),
    "long": ([1] * 13, 0),
    "matrix": ([[1, 2], [1, 2]], 0),
    "ragged": ([[1, 2], [1]], 0),
    "text": ("abc", 0),
    "fraction": ([1.0, 2.0], 0),
    "none": (None, 0),
    "label": ([1], 2),
    "negative label": ([1], -1),
    "label of text": ([1], "yes"),
    "label of fraction": ([1], 0.5),
    "set": 1,
}
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(TASK)
    return path


def data(file: Path, function: str = "parity", **changes: Any) -> dict[str, Any]:
    """The ``data`` block as the reader of config.yaml hands it on."""
    block = {"name": "mine", "module": f"{file}:{function}", "classes": 2, "vocabulary": 3, "max_length": 12}
    return block | changes


def settings(file: Path, function: str = "parity", **changes: Any) -> own.Settings:
    return own.Settings(**data(file, function, **changes))


def taken(chosen: own.Settings, source: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """All rows by split."""
    return {
        split: list(itertools.chain.from_iterable(batch.to_pylist() for batch in batches))
        for split, batches in own.examples(chosen, source, workers=1).items()
    }


def test_rows_are_what_the_function_yields(file: Path) -> None:
    found = taken(settings(file, options={"length": 9, "rows": 2000}))  # more than one record batch
    function = own.load(f"{file}:parity")
    for split, rows in found.items():
        expected = [{"tokens": ids, "label": label} for ids, label in function(split, length=9, rows=2000)]
        assert rows == expected
    assert found["train"] != found["test"]


def test_two_towers_and_whatever_holds_whole_numbers(file: Path) -> None:
    found = taken(settings(file, "pairs", vocabulary=4, towers=2))
    expected = [{"tokens": [1, 2], "tokens_2": [3], "label": 1}, {"tokens": [1, 2, 3], "tokens_2": [2], "label": 0}]
    assert found == dict.fromkeys(("train", "dev", "test"), expected)


@pytest.mark.parametrize(("vocabulary", "kind"), [(256, pa.uint8()), (257, pa.uint16()), (65536, pa.uint16())])
def test_ids_are_stored_in_the_smallest_type(file: Path, vocabulary: int, kind: pa.DataType) -> None:
    chosen = settings(file, vocabulary=vocabulary)
    assert next(iter(own.examples(chosen, None, 1)["train"])).schema.field("tokens").type.value_type == kind
    assert own.encode(chosen, [vocabulary - 1]).tolist() == [vocabulary - 1]


def test_so_many_rows_of_an_endless_function(file: Path) -> None:
    chosen = settings(file, "endless", classes=3, vocabulary=300, rows=Rows(train=1500, dev=3, test=4))
    assert {split: len(rows) for split, rows in taken(chosen).items()} == {"train": 1500, "dev": 3, "test": 4}
    with pytest.raises(LraError, match=r"mine.py:parity yields 80 rows for split 'dev', but `rows` .* asks for 81"):
        taken(settings(file, rows=Rows(train=80, dev=81, test=1)))


def test_an_endless_function_without_rows_is_stopped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It wrote until the disk was full."""
    monkeypatch.setattr(own, "MOST_ROWS", 80)
    assert len(taken(settings(file))["train"]) == 80
    with pytest.raises(LraError, match=r"endless yields more than 80 rows for split 'train'; .* `rows: {train: \.\.\."):
        taken(settings(file, "endless", classes=3, vocabulary=300))


def test_a_function_that_tells_nothing_of_its_parameters(file: Path) -> None:
    with pytest.raises(LraError, match="max failed at train row 0: TypeError"):
        taken(dataclasses.replace(settings(file, options={"a": 1}), module="builtins:max"))


def test_shards_and_a_source_of_ones_own(file: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    for split in ("train", "dev", "test"):
        (texts / f"{split}.txt").write_text(f"{split}\nline\n")
    chosen = data(file, "lines", vocabulary=256, source=str(texts))
    shards = prepare("mine", chosen, texts, tmp_path / "shards", workers=2)
    assert shards.task == Task("mine", classes=2, vocabulary=256, max_length=12)
    table = pq.read_table(shards.files("test")[0])
    assert [bytes(row) for row in table["tokens"].to_pylist()] == [b"test", b"line"]
    assert shards.provenance["settings"] == chosen
    assert shards.splits["train"]["also_in_another_split"] == 1
    with pytest.raises(LraError, match=r"nowhere is not there; correct the path"):
        prepare("mine", chosen, tmp_path / "nowhere", tmp_path / "shards", workers=2)


SENTENCES = {
    "triple": r"it must be \(token_ids, label\), not \(\[1\], 0, 0\)",
    "ids alone": r"it must be \(token_ids, label\), not 7",
    "negative": "token id -1 is not 0 to 2; correct it, or `vocabulary` in config.yaml",
    "large": "token id 3 is not 0 to 2; correct it, or `vocabulary` in config.yaml",
    "larger than any": r"token ids must be a list of whole numbers, not \[1180591620717411303424\]",
    "empty": "a sequence has no token ids; leave such a row out",
    "long": "a sequence has 13 token ids, more than max_length 12; cut it in the function, or correct `max_length`",
    "matrix": r"token ids must be a list of whole numbers, not \[\[1, 2\], \[1, 2\]\]",
    "ragged": r"token ids must be a list of whole numbers, not \[\[1, 2\], \[1\]\]",
    "text": "token ids must be a list of whole numbers, not 'abc'",
    "fraction": r"token ids must be a list of whole numbers, not \[1.0, 2.0\]",
    "none": "token ids must be a list of whole numbers, not None",
    "label": "label 2 is not 0 to 1; correct it, or `classes` in config.yaml",
    "negative label": "label -1 is not 0 to 1",
    "label of text": "label 'yes' is not a whole number",
    "label of fraction": "label 0.5 is not a whole number",
    "set": r"it must be \(token_ids, label\), not \{1\}",
}


@pytest.mark.parametrize("row", SENTENCES)
def test_a_wrong_row_is_one_sentence(file: Path, row: str) -> None:
    with pytest.raises(LraError, match=rf"^{file}:wrong, train row 1: {SENTENCES[row]}.*\.$") as error:
        taken(settings(file, "wrong", options={"row": row}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("function", "changes", "sentence"),
    [
        ("nothing", {}, r"mine.py:nothing yields nothing for split 'dev'; it must yield \(token_ids, label\)"),
        ("forgotten", {}, "mine.py:forgotten returns None for split 'train'; it must yield"),
        ("failing", {}, r"mine.py:failing failed at train row 1: ZeroDivisionError: .* \(line \d+\)\.$"),
        ("parity", {"towers": 2, "options": {"length": 1}}, r"it must be \(\(token_ids_1, token_ids_2\), label\), not"),
        ("parity", {"options": {"lenght": 3}}, r"takes no argument 'lenght', .* Did you mean 'length'\?$"),
        ("parity", {"source": "texts"}, r"takes no argument 'source', but .* of mine in config.yaml give it `source`;"),
        ("parity", {"options": {"split": 3}}, "takes no argument 'split'"),
        ("lines", {}, r"failed at train row 0: TypeError: .*missing 1 required positional argument: 'source'"),
        ("whatever", {"options": {"a": 1}, "source": "texts"}, "yields nothing for split 'train'"),
        ("partiy", {}, "mine.py defines no function 'partiy'"),
    ],
)
def test_a_wrong_function_is_one_sentence(file: Path, function: str, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LraError, match=sentence) as error:
        taken(settings(file, function, **changes), Path("texts") if "source" in changes else None)
    assert "\n" not in str(error.value)


def test_a_file_that_breaks_names_the_line(file: Path, tmp_path: Path) -> None:
    file.write_text("from random import Random\n\nROWS = undefined\n")
    with pytest.raises(LraError, match=r"mine.py cannot be imported: NameError: .*'undefined'.* \(line 3\)\.$"):
        taken(settings(file))
    with pytest.raises(LraError, match=r"no_such_package cannot be imported: ModuleNotFoundError"):
        own.load("no_such_package:parity")
    assert own.load("random:choice")  # of an installed package


def test_a_file_may_import_what_lies_beside_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    file.with_name("helper_of_task.py").write_text("def parity(split): yield [1, 2], 1")
    file.write_text("from helper_of_task import parity")
    assert taken(settings(file))["dev"] == [{"tokens": [1, 2], "label": 1}]


def test_the_line_of_a_failure_is_the_right_one(file: Path) -> None:
    with pytest.raises(LraError) as error:
        taken(settings(file, "failing"))
    line = int(str(error.value).rpartition("(line ")[2].removesuffix(")."))
    assert 'split == "no split"' in file.read_text().splitlines()[line - 1]


def test_the_module_of_a_task() -> None:
    assert module_of("mine", {"module": "mine.py:parity"}) is own
    assert module_of("listops", {"source": "generate"}).__name__ == "lra.tasks.listops"


def test_a_task_that_is_not_there_and_one_that_lacks_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LraError, match="there is no task 'sorting'; one of your own needs `module"):
        module_of("sorting", {"source": "generate"})
    monkeypatch.delitem(sys.modules, "lra.tasks.listops", raising=False)
    monkeypatch.setitem(sys.modules, "lra.tasks.listops_trees", None)
    with pytest.raises(ModuleNotFoundError, match="listops_trees"):
        module_of("listops", {"source": "generate"})


def test_random_rows_for_a_rehearsal(tmp_path: Path) -> None:
    """They need no call of the function, and are as large as the task says."""
    task = describe("mine", data(Path("nowhere.py"), towers=2, max_length=40))
    assert task == Task("mine", classes=2, vocabulary=3, max_length=40, towers=2)
    shards = random_shards(task, Rows(5, 4, 3), tmp_path)
    assert shards.splits["dev"]["longest"] == 40


def test_a_trained_run_takes_token_ids(file: Path, tmp_path: Path, toy_experiment: Any) -> None:
    """And needs the function's file no more."""
    prepare("mine", data(file), None, tmp_path / "data", workers=1)
    train_run(
        dataclasses.replace(toy_experiment(), task="mine"), tmp_path / "data", tmp_path / "run", code="", threads=1
    )
    file.unlink()
    run = lra.load_run(tmp_path / "run")
    test = pq.read_table(read_shards(tmp_path / "data").files("test")[0])["tokens"].to_pylist()
    expected = pq.read_table(tmp_path / "run" / "predictions.parquet")["prediction"].to_pylist()
    assert [run.predict(row).label for row in test] == expected
    shares = run.predict([1, 2, 2]).probabilities
    assert (run.predict("1 2 2").probabilities == shares).all()
    assert (run.predict(np.array([1, 2, 2])).probabilities == shares).all()
    for raw in ("one two", "1 3", [], [[1]], "1 " * 13):
        with pytest.raises(LraError, match=r"^mine takes token ids such as 3 1 2, not "):
            run.predict(raw)


def test_it_is_predicted_on_the_command_line(
    file: Path, tmp_path: Path, toy_experiment: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare("mine", data(file), None, tmp_path / "data", workers=1)
    train_run(
        dataclasses.replace(toy_experiment(), task="mine"), tmp_path / "data", tmp_path / "run", code="", threads=1
    )
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), "1 2 2", "2"]) == 0
    assert capsys.readouterr().out.count("label ") == 2
