"""A trained run answers for raw input as its evaluation did for the shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.tasks.snippet_archive import write_snippets

import lra
from lra.cli.main import main
from lra.config.settings import AttentionSettings, Experiment
from lra.data.prepare import prepare
from lra.data.shards import Shards
from lra.errors import LraError
from lra.files import read_json, sealed
from lra.tasks import image, listops, pathfinder, retrieval, text
from lra.tasks.listops_trees import TOKENS
from lra.tasks.pathfinder_drawing import Parameters
from lra.training.run import train_run

Make = Callable[..., Experiment]

ROWS = {"train": 200, "dev": 20, "test": 40}
DATA: dict[str, dict[str, Any]] = {
    "listops": {
        "source": "generate",
        "rows": ROWS,
        "generator": {"min_length": 3, "max_length": 24, "max_depth": 4, "digit_probability": 0.5, "max_children": 4},
    },
    "image": {"source": "sklearn_digits", "upscale": 2, "rows": ROWS},
}


def trained(task: str, make: Make, folder: Path, attention: str = "softmax", **train: object) -> Path:
    """Folder of a run of a few steps; large embeddings make predictions differ from row to row."""
    prepare(task, DATA[task], None, folder / "data", workers=1)
    out, chosen = (
        folder / "run",
        make(attention, **({"steps": 40, "evaluate_every": 20, "learning_rate": 1e-2} | train)),
    )
    experiment = replace(chosen, task=task, model=replace(chosen.model, embedding_std=1.0))
    train_run(experiment, folder / "data", out, code="", threads=1)
    return out


def rows_of(folder: Path) -> tuple[list[np.ndarray[Any, Any]], list[int]]:
    """Token ids of each row of the test split, and what the run predicted."""
    tokens = pq.read_table(folder / "data" / "test")["tokens"].to_pylist()
    predictions = pq.read_table(folder / "run" / "predictions.parquet")["prediction"].to_pylist()
    return [np.array(row) for row in tokens], predictions


@pytest.mark.parametrize(
    ("attention", "pad"), [("softmax", "batch"), ("linformer", "length"), ("skeinformer", "batch")]
)
def test_expressions(toy_experiment: Make, tmp_path: Path, attention: str, pad: str) -> None:
    run = lra.load_run(trained("listops", toy_experiment, tmp_path, attention, pad=pad))
    tokens, expected = rows_of(tmp_path)
    assert len(set(expected)) > 1
    for row, label in zip(tokens, expected, strict=True):
        prediction = run.predict(" ".join(TOKENS[i] for i in row))
        assert prediction.label == label
        assert prediction.probabilities.shape == (10,)
        assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_images(toy_experiment: Make, tmp_path: Path) -> None:
    run = lra.load_run(trained("image", toy_experiment, tmp_path))
    settings = image.Settings("sklearn_digits", upscale=2)
    seen = set()
    for row, label in zip(*rows_of(tmp_path), strict=True):
        digit = row.reshape(16, 16)[::2, ::2]
        assert (image.encode(settings, digit) == row).all()
        prediction = run.predict(digit)
        assert prediction.label == label
        seen.add(prediction.probabilities.tobytes())
    assert len(seen) > 1


def test_what_each_task_encodes() -> None:
    for task in text, retrieval:
        settings = task.Settings("vader", max_length=4)
        assert task.encode(settings, "aé!!!").tolist() == [98, 196, 170, 34]
        assert task.encode(settings, b"\xff").tolist() == [256]
        assert task.encode(settings, os.fsdecode(b"\xe9!")).tolist() == [234, 34], "as on a command line"
        with pytest.raises(LraError, match=r"'\\ud800' is no text that UTF-8 can hold"):
            task.encode(settings, "\ud800")
        with pytest.raises(LraError, match="expected a text of at least one byte, not ''"):
            task.encode(settings, "")
    assert listops.encode(listops.Settings("generate"), "[MAX 2 [MIN 9 ] ]").tolist() == [12, 3, 11, 10, 15, 15]
    for broken in ("[MAX 1 2", "[MAX 1 2 ] ]", "[MAX 1 2 ] 3", "1 2"):
        with pytest.raises(LraError, match="the expression is not one whole tree"):
            listops.encode(listops.Settings("generate"), broken)
    assert listops.encode(listops.Settings("generate", brackets=False), "[MAX 1 2").tolist() == [12, 2, 3]
    drawn = pathfinder.Settings("generate", generator=Parameters(image_size=3, seed_border=1))
    assert pathfinder.encode(drawn, np.arange(9).reshape(3, 3)).tolist() == list(range(9))
    with pytest.raises(LraError, match=r"a grey image of shape \(3, 3\), not \(9,\)"):
        pathfinder.encode(drawn, np.arange(9))
    with pytest.raises(LraError, match="whole numbers from 0 to 255"):
        pathfinder.encode(drawn, np.full((3, 3), 256))
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    cifar = image.Settings("cifar10")
    assert (image.encode(cifar, colours) == image.grey(colours).ravel()).all()
    assert (image.encode(cifar, image.grey(colours)) == image.grey(colours).ravel()).all()


def test_the_command(toy_experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained("image", toy_experiment, tmp_path)
    row = rows_of(tmp_path)[0][0].reshape(16, 16)[::2, ::2].astype(np.uint8)
    np.save(tmp_path / "digit.npy", row)
    Image.fromarray(row).save(tmp_path / "digit.png")
    capsys.readouterr()
    assert main(["predict", str(folder), str(tmp_path / "digit.npy"), str(tmp_path / "digit.png")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    expected = lra.load_run(folder).predict(row)
    assert first == second
    assert first.startswith(f"label {expected.label}, probabilities {expected.probabilities[0]:.4f} ")
    for name, sentence in (
        ("nowhere.png", "is not there; correct the path"),
        ("data/manifest.json", "cannot be read as an image"),
    ):
        assert main(["predict", str(folder), str(tmp_path / name)]) == 1
        assert sentence in capsys.readouterr().err


def test_pairs_on_the_command_line(toy_experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"source": "vader", "max_length": 64, "rows": {"train": 64, "dev": 8, "test": 8}}
    prepare("retrieval", settings, write_snippets(tmp_path / "vader"), tmp_path / "data", workers=1)
    experiment = replace(toy_experiment(), task="retrieval")
    experiment = replace(experiment, model=replace(experiment.model, embedding_std=1.0))
    train_run(experiment, tmp_path / "data", tmp_path / "run", code="", threads=1)
    run = lra.load_run(tmp_path / "run")
    pairs = [("a paper", "another one"), ("lol", "a paper")]
    expected = [run.predict(*pair).probabilities for pair in pairs]
    assert not np.array_equal(*expected)
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "run"), *pairs[0], *pairs[1]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("probabilities ")[2] for line in lines] == [f"{a:.4f} {b:.4f}" for a, b in expected]
    assert main(["predict", str(tmp_path / "run"), "a", "b", "c"]) == 1
    assert "retrieval compares pairs; give two inputs for each example, not 3 in all." in capsys.readouterr().err


def test_a_run_on_data_that_do_not_say_how_they_were_made(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    with pytest.raises(LraError, match=r"metrics.json does not say how its data were made; train this run again"):
        lra.load_run(tmp_path / "run")


def test_a_run_needs_neither_its_data_nor_the_current_folder(
    toy_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained("listops", toy_experiment, tmp_path)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert lra.load_run(folder).predict("[MAX 1 2 ]").probabilities.shape == (10,)


def test_mistakes(toy_experiment: Make, tmp_path: Path) -> None:
    folder = trained("listops", toy_experiment, tmp_path)
    run = lra.load_run(folder)
    for raw, sentence in (
        (("[MAX 1 x ]",), "'x' is not a token of ListOps"),
        (("",), "the expression has 0 tokens, not 1 to 24"),
        (("[MAX 1 ]", "[MIN 1 ]"), r"listops takes 1 input\(s\) at a time, not 2"),
    ):
        with pytest.raises(LraError, match=sentence):
            run.predict(*raw)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(LraError, match=r"model.safetensors is damaged or another run's: .*; train this run again"):
        lra.load_run(folder)
    with pytest.raises(LraError, match=r"metrics.json is not there"):
        lra.load_run(tmp_path / "data")


def test_a_run_whose_attention_is_gone(toy_experiment: Make, tmp_path: Path) -> None:
    method = tmp_path / "mine.py"
    method.write_text("from lra.attention.vmean import VMean\n\n\nclass Mine(VMean):\n    pass\n")
    experiment = replace(toy_experiment(), task="listops", attention=AttentionSettings("mine", 8, {}, f"{method}:Mine"))
    prepare("listops", DATA["listops"], None, tmp_path / "data", workers=1)
    train_run(experiment, tmp_path / "data", tmp_path / "run", code="", threads=1)
    with pytest.raises(LraError, match=r"names .*mine.py:Mine', which is not in the registry"):
        lra.load_run(tmp_path / "run")
    assert main(["predict", str(tmp_path / "run"), "[MAX 1 2 ]"]) == 1
    assert main(["predict", str(tmp_path / "run"), "[MAX 1 2 ]", "--trust"]) == 0
    assert lra.load_run(tmp_path / "run", trust=True).predict("[MAX 1 2 ]").label in range(10)
    method.unlink()
    with pytest.raises(LraError, match=r"mine.py cannot be imported: FileNotFoundError"):
        lra.load_run(tmp_path / "run", trust=True)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m["settings"].update(task="sources"), "data_settings are not those of a task"),
        (lambda m: m.update(data_settings=3), "data_settings are not those of a task"),
        (
            lambda m: m["settings"].update(task="../../x"),
            "(there is no task|are not those of a task)",
        ),
        (
            lambda m: m["data_settings"]["generator"].update(max_length=2**40),
            "describes a larger model than its weights",
        ),
    ],
)
def test_data_settings_from_elsewhere(
    toy_experiment: Make, tmp_path: Path, change: Callable[..., None], sentence: str
) -> None:
    """They name a module of this package and sizes of the model, and nothing else follows from them."""
    folder = trained("listops", toy_experiment, tmp_path, steps=2, evaluate_every=1)
    metrics = read_json(folder / "metrics.json")
    change(metrics)
    (folder / "metrics.json").write_text(json.dumps(sealed(metrics)))
    with pytest.raises(LraError, match=sentence):
        lra.load_run(folder)


def test_importing_lra_imports_no_torch() -> None:
    code = "import sys, lra; assert 'torch' not in sys.modules; assert callable(lra.load_run); assert lra.__version__"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'lode_run'"):
        lra.lode_run  # noqa: B018
