from __future__ import annotations

import dataclasses
import functools
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import toy_examples
from lra.config.mapping import from_mapping
from lra.config.settings import AttentionSettings, Experiment, TrainSettings
from lra.data.shards import Shards, write_shards
from lra.devices import make_deterministic
from lra.tasks.contract import Task
from lra.training import compiling
from lra.training.checkpoint import Checkpoints
from lra.training.compiling import CACHE, compiles, share_cache, warm_up_lengths
from lra.training.progress import Interrupted
from lra.training.trainer import Trainer

Make = Callable[..., Experiment]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

CRASHES = """
from lra.attention.vmean import VMean

class Crashes(VMean):
    def attend(self, query, key, value, mask, draws):
        if query.shape[2] < 1000:
            raise RuntimeError("always")
"""


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    make_deterministic()  # as each run does: else generated code adds in the order in which its threads arrive
    yield
    torch.use_deterministic_algorithms(False)
    torch._dynamo.reset()


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What torch's tracing makes of a model, which then runs without generated code: that takes a C++ compiler."""
    traced: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model, options, **given: functools.partial(compile, backend=backend)(model, **given)
    )
    return traced


def shards_of(folder: Path, length: int, towers: int = 1) -> Shards:
    task = Task("toy", classes=2, vocabulary=9, max_length=length, towers=towers)
    return write_shards(folder / "data", task, toy_examples(length=length, towers=towers), expected=None, provenance={})


def trainer(experiment: Experiment, shards: Shards, folder: Path) -> Trainer:
    return Trainer(experiment, shards, CPU, Checkpoints(folder, "test"))


def test_auto_compiles_on_a_gpu() -> None:
    def train(**given: Any) -> TrainSettings:
        needed = {"batch": 8, "learning_rate": 1e-3, "warmup": 1, "steps": 2, "evaluate_every": 1}
        return from_mapping(TrainSettings, needed | given, "train")

    assert compiles(train(), CUDA) and not compiles(train(), CPU)
    assert compiles(train(compile=True), CPU) and not compiles(train(compile=False), CUDA)


@pytest.mark.parametrize(("pad", "micro_batch"), [("length", None), ("bucket", None), ("bucket", 5)])
def test_one_graph_a_mode_serves_all_batches(
    pad: str, micro_batch: int | None, toy_experiment: Make, tmp_path: Path, graphs: list[Any]
) -> None:
    """Without dropout it computes what the model does uncompiled, and compiling is over before the first step."""
    experiment = toy_experiment("vmean", pad=pad, compile=True, micro_batch=micro_batch, batch=12, steps=8)
    experiment = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, dropout=0.0))
    shards = shards_of(tmp_path, 200)
    run = trainer(experiment, shards, tmp_path / "run")
    train = run._train
    compiled_before = []
    run._train = lambda: (compiled_before.append(len(graphs)), train())  # type: ignore[method-assign]
    score = run.run()
    assert compiled_before == [len(graphs)] and len(graphs) <= 4
    assert run.progress.compiled and run.progress.times["compile"] > run.progress.times["train"]
    eager = trainer(
        dataclasses.replace(experiment, train=dataclasses.replace(experiment.train, compile=False)), shards, tmp_path
    )
    expected = eager.run()
    assert not eager.progress.compiled and eager.progress.times["compile"] == 0
    assert score.loss == pytest.approx(expected.loss, rel=1e-4)


def test_two_towers_of_their_own_lengths(toy_experiment: Make, tmp_path: Path, graphs: list[Any]) -> None:
    run = trainer(toy_experiment("vmean", pad="batch", compile=True, batch=2), shards_of(tmp_path, 200, 2), tmp_path)
    assert 0 <= run.run().accuracy <= 1
    assert run.progress.compiled and len(graphs) <= 4


def test_a_stopped_run_goes_on_to_the_same_bits(toy_experiment: Make, tmp_path: Path, graphs: list[Any]) -> None:
    experiment = toy_experiment("vmean", pad="bucket", compile=True)
    shards = shards_of(tmp_path, 200)
    whole = trainer(experiment, shards, tmp_path / "whole")
    expected = whole.run()
    first = trainer(experiment, shards, tmp_path / "stopped")
    step = first.step

    def stop(batch: Any) -> None:
        step(batch)
        if first.progress.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    first.step = stop  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        first.run()
    score = trainer(experiment, shards, tmp_path / "stopped").run()
    assert score.loss == expected.loss and (score.prediction == expected.prediction).all()


def test_what_does_not_compile_runs_uncompiled(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The numbers are those of `compile: false`."""
    expected = trainer(toy_experiment("softmax"), toy_shards, tmp_path / "eager").run()
    capsys.readouterr()
    run = trainer(toy_experiment("softmax", compile=True), toy_shards, tmp_path / "run")
    run.model.layers[0].attention.attention.attend = torch._dynamo.disable(  # type: ignore[method-assign, union-attr]
        run.model.layers[0].attention.attention.attend  # type: ignore[union-attr]
    )
    score = run.run()
    assert not run.progress.compiled and score.loss == expected.loss
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("the model runs uncompiled, because compiling it failed (Unsupported: ")
    assert not any("uncompiled" in line for line in rest)


def test_a_method_that_crashes_does_so_compiled_or_not(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, graphs: list[Any]
) -> None:
    (method := tmp_path / "odd.py").write_text(CRASHES)
    attention = AttentionSettings("odd", 8, module=f"{method}:Crashes")
    run = trainer(dataclasses.replace(toy_experiment(compile=True), attention=attention), toy_shards, tmp_path / "run")
    with pytest.raises(RuntimeError, match=r"^always$"):
        run.run()


def test_memory_that_runs_out_while_compiling(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer rows are tried from the start on, so that a run that goes on meets the same graphs."""
    asked: list[tuple[bool, int]] = []

    def limited(model: Any, **sizes: bool) -> Any:
        def forward(tokens: Any, mask: Any) -> torch.Tensor:
            asked.append((model.training, len(tokens[0])))
            if len(tokens[0]) > (4 if model.training else 8):
                raise torch.OutOfMemoryError("too much")
            return model(tokens, mask)

        return forward

    monkeypatch.setattr("lra.training.trainer.compiled", limited)
    run = trainer(toy_experiment(compile=True), toy_shards, tmp_path)
    run.progress.evaluation_batch = 32
    run.compile()
    assert (run.progress.micro_batch, run.progress.evaluation_batch, run.progress.compiled) == (4, 4, True)
    assert asked == [(False, 32), (False, 16), (False, 8), (True, 16), (False, 8), (True, 8), (False, 4), (True, 4)]


def test_memory_that_runs_out_in_an_evaluation(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment("vmean"), toy_shards, tmp_path)
    expected = run.evaluate("dev")
    run.progress.evaluation_batch = 64
    rows: list[int] = []

    def limited(tokens: Any, mask: Any) -> torch.Tensor:
        rows.append(len(tokens[0]))
        if len(tokens[0]) > 16:
            raise torch.OutOfMemoryError("too much")
        return run.model(tokens, mask)

    run.forward = limited
    score = run.evaluate("dev")
    assert rows == [40, 32, 16, 16, 8] and run.model.training
    assert math.isclose(score.loss, expected.loss, rel_tol=1e-6)
    assert (score.prediction == expected.prediction).all()


def test_lengths_to_warm_up_with() -> None:
    assert warm_up_lengths(2048, False) == [2048]
    assert warm_up_lengths(2048, True) == [2048, 1088]
    assert warm_up_lengths(128, True) == [128]


def test_compiled_code_is_kept_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_cache()
    assert os.environ[CACHE] == str(tmp_path / "cache")  # where the variable says so
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    share_cache()
    assert Path(os.environ[CACHE]).parent == tmp_path / "user" / "lra" and Path(os.environ[CACHE]).is_dir()


@pytest.mark.parametrize("home", ["/proc/nohome", "file"])
def test_without_a_home_torchs_own_folder_stays(home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv(CACHE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    share_cache()
    assert CACHE not in os.environ


def test_a_folder_that_takes_no_files_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiling.os, "access", lambda folder, mode: False)
    share_cache()
    assert CACHE not in os.environ


@pytest.mark.slow
@pytest.mark.long
def test_generated_code_learns_and_repeats(toy_experiment: Make, tmp_path: Path) -> None:
    """With torch's own backend, which needs a C++ compiler."""
    experiment = toy_experiment("vmean", pad="bucket", compile=True, precision="bf16")
    shards = shards_of(tmp_path, 200)
    scores = []
    for folder in ("one", "two"):
        torch._dynamo.reset()  # each run has a process of its own
        run = trainer(experiment, shards, tmp_path / folder)
        scores.append(run.run())
        assert run.progress.compiled
    assert scores[0].loss == scores[1].loss
