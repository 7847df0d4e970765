"""Masked-token prediction, and runs that start from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tests.conftest import toy_examples

from lra.config.pretraining import pretraining
from lra.config.settings import Experiment, PretrainSettings
from lra.data.batches import Batch
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.files import read_json
from lra.model import build_model
from lra.tasks.contract import Task
from lra.training.checkpoint import Checkpoints
from lra.training.objective import IGNORED, TRAINING, HiddenTokens, Labels
from lra.training.progress import Interrupted
from lra.training.run import train_run
from lra.training.run_folder import load_encoder, read_run, read_weights
from lra.training.store import train_stored
from lra.training.trainer import Trainer

CPU = torch.device("cpu")
SETTINGS = PretrainSettings(mask=0.5, batch=16, learning_rate=5e-3, warmup=2, steps=8, evaluate_every=4)
HOW: dict[str, Any] = {"code": "x", "threads": 1}
Make = Callable[..., Experiment]


@pytest.fixture
def pretrained(toy_experiment: Make) -> Experiment:
    """A run that starts from a pretraining of eight steps."""
    return replace(toy_experiment(steps=8, seconds=60.0), pretrain=SETTINGS)


def batch_of(*lengths: int) -> Batch:
    """64 rows a tower, each of this many real tokens of the ids 1 ... 8, padded to 24."""
    tokens = tuple(torch.randint(1, 9, (64, 24), dtype=torch.int32) for _ in lengths)
    mask = tuple((torch.arange(24) < length).expand(64, 24) for length in lengths)
    return Batch(tuple(t * m for t, m in zip(tokens, mask, strict=True)), mask, torch.zeros(64, dtype=torch.int64))


def test_a_share_of_real_tokens_is_hidden_and_asked_for() -> None:
    batch = batch_of(24, 10)
    (posed,) = HiddenTokens(0.5, vocabulary=9, seed=1).pose(iter([batch]), TRAINING)
    for tower, label in enumerate(posed.label.chunk(2, dim=1)):
        hidden = posed.tokens[tower] == 9
        assert not (hidden & ~batch.mask[tower]).any()
        assert torch.equal(label != IGNORED, hidden)
        assert torch.equal(label[hidden], batch.tokens[tower][hidden].long())
        assert torch.equal(posed.tokens[tower][~hidden], batch.tokens[tower][~hidden])
        assert 0.4 < float(hidden.sum() / batch.mask[tower].sum()) < 0.6


def test_what_is_hidden_follows_from_seed_and_number_alone() -> None:
    batch = batch_of(24)
    first = [posed.label for posed in HiddenTokens(0.5, 9, seed=1).pose(iter([batch] * 3), TRAINING)]
    (later,) = HiddenTokens(0.5, 9, seed=1).pose(iter([batch]), TRAINING, start=2)
    (other,) = HiddenTokens(0.5, 9, seed=2).pose(iter([batch]), TRAINING, start=2)
    assert torch.equal(first[2], later.label)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(later.label, other.label)


def test_the_loss_is_the_mean_over_hidden_places_however_rows_are_cut(
    pretrained: Experiment, toy_shards: Shards, tmp_path: Path
) -> None:
    batch, gradients = batch_of(20), []
    for rows in (16, 5):
        run = trainer(pretraining(pretrained), toy_shards, tmp_path)
        run.model.eval()
        run.progress.micro_batch = rows
        (posed,) = run.objective.pose(iter([batch]), TRAINING)
        loss = run._accumulate(posed)
        gradients.append(run.model.tokens.weight.grad)
        logits = run.model(posed.tokens, posed.mask)
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), posed.label.flatten())
        torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(*gradients)


def trainer(experiment: Experiment, shards: Shards, folder: Path) -> Trainer:
    assert experiment.mask
    objective = HiddenTokens(experiment.mask, shards.task.vocabulary, experiment.seed)
    return Trainer(experiment, shards, CPU, Checkpoints(folder, ""), objective=objective)


@pytest.mark.parametrize("towers", [1, 2])
def test_it_learns_what_is_hidden(pretrained: Experiment, tmp_path: Path, towers: int) -> None:
    """Sequences of one repeated token: its neighbours tell a hidden one."""
    examples = toy_examples(rows=32, towers=towers)
    constant = {split: [one_token(batch) for batch in batches] for split, batches in examples.items()}
    task = Task("toy", classes=2, vocabulary=9, max_length=24, towers=towers)  # type: ignore[arg-type]
    shards = write_shards(tmp_path / "data", task, constant, expected=None, provenance={})
    many = replace(pretrained, pretrain=replace(SETTINGS, steps=60, evaluate_every=60, learning_rate=2e-2))
    run = trainer(pretraining(many), shards, tmp_path)
    assert run.run() is None
    assert run.progress.best["dev_accuracy"] > 0.5


def one_token(batch: Any) -> Any:
    """The batch with the first token of each sequence in all its places."""
    columns = {}
    for name in batch.schema.names:
        column = batch.column(name)
        same = [[row[0]] * len(row) for row in column.to_pylist()] if name != "label" else column
        columns[name] = pa.array(same, column.type)
    return pa.RecordBatch.from_pydict(columns, schema=batch.schema)


def test_a_run_starts_from_encoder_and_embeddings(pretrained: Experiment, toy_shards: Shards, tmp_path: Path) -> None:
    store = tmp_path / "store"
    metrics = train_stored(pretrained, toy_shards.folder, tmp_path / "run", store=store, **HOW)
    start = metrics["pretraining"]
    first = store / start["key"]
    said = read_json(first / "metrics.json")
    assert said["test_accuracy"] is None
    assert (start["steps"], start["weights"]) == (8, said["files"]["model.safetensors"])
    assert start["train_seconds"] == said["train_seconds"]
    model = Labels(first).build(toy_shards.task, pretrained)
    weights = read_weights(first)
    same = {name for name, weight in model.state_dict().items() if torch.equal(weight, weights.get(name, weight + 1))}
    assert same == {name for name in model.state_dict() if not name.startswith("head.")}
    scratch = train_run(replace(pretrained, pretrain=None), toy_shards.folder, tmp_path / "scratch", **HOW)
    assert scratch["pretraining"] is None
    assert scratch["test_loss"] != metrics["test_loss"]
    # A folder that is named gives the same run.
    again = train_stored(
        pretrained, toy_shards.folder, tmp_path / "again", pretrained=first, store=tmp_path / "other", **HOW
    )
    assert (again["test_loss"], again["key"]) == (metrics["test_loss"], metrics["key"])


def test_a_change_of_training_keeps_the_pretraining(pretrained: Experiment) -> None:
    changed = replace(pretrained, train=replace(pretrained.train, steps=99, learning_rate=1.0, flops=1e9))
    assert pretraining(changed) == pretraining(pretrained)


def test_another_pretraining_is_refused(pretrained: Experiment, toy_shards: Shards, tmp_path: Path) -> None:
    train_run(pretraining(pretrained), toy_shards.folder, tmp_path / "first", **HOW)
    other = replace(pretrained, seed=2)
    with pytest.raises(LraError, match="first is not the pretraining of these settings and data; omit --pretrained"):
        train_run(other, toy_shards.folder, tmp_path / "run", start=tmp_path / "first", **HOW)
    with pytest.raises(LraError, match="first holds a pretraining, which predicts no labels"):
        read_run(tmp_path / "first")


def test_a_damaged_start_is_said(pretrained: Experiment, toy_shards: Shards, tmp_path: Path) -> None:
    train_run(pretraining(pretrained), toy_shards.folder, tmp_path / "first", **HOW)
    sizes = replace(pretrained.model, layers=2)
    with pytest.raises(LraError, match="cannot be read"):
        load_encoder(build_model(toy_shards.task, sizes, pretrained.attention), tmp_path / "first")


def test_a_failed_pretraining_fails_its_run(pretrained: Experiment, toy_shards: Shards, tmp_path: Path) -> None:
    wild = replace(pretrained, pretrain=replace(SETTINGS, learning_rate=1e30))
    metrics = train_stored(wild, toy_shards.folder, tmp_path / "run", store=tmp_path / "store", **HOW)
    assert metrics["status"] == "diverged"
    assert metrics["reason"].startswith("in pretraining: the ")
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("attention", ["softmax", "skeinformer"])
def test_stopped_and_resumed_to_the_bit(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attention: str
) -> None:
    experiment = replace(toy_experiment(attention, steps=8), pretrain=SETTINGS)
    whole = train_stored(experiment, toy_shards.folder, tmp_path / "whole", store=tmp_path / "one", **HOW)
    step = Trainer.step
    stops = iter([3, 6, 2])  # twice in the pretraining, once in the run
    at = next(stops)

    def stopping(self: Trainer, batch: Batch) -> None:
        nonlocal at
        step(self, batch)
        if self.progress.step == at:
            at = next(stops, -1)
            raise Interrupted

    monkeypatch.setattr(Trainer, "step", stopping)
    for _ in range(3):
        with pytest.raises(Interrupted):
            train_stored(experiment, toy_shards.folder, tmp_path / "cut", store=tmp_path / "two", **HOW)
    cut = train_stored(experiment, toy_shards.folder, tmp_path / "cut", store=tmp_path / "two", **HOW)
    assert cut["files"]["model.safetensors"] == whole["files"]["model.safetensors"]
    assert cut["files"]["predictions.parquet"] == whole["files"]["predictions.parquet"]
    assert cut["pretraining"]["weights"] == whole["pretraining"]["weights"]


def test_the_batch_that_a_graph_is_made_with_has_the_form_of_all_others(
    pretrained: Experiment, toy_shards: Shards, tmp_path: Path
) -> None:
    run = trainer(pretraining(pretrained), toy_shards, tmp_path)
    empty = run._empty_batch(4, 24)
    assert empty.label.shape == (4, 24)
    assert run._accumulate(empty) > 0


def test_weights_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(LraError, match=r"model.safetensors cannot be read .*; train this run again"):
        read_weights(tmp_path)
