from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from lra.cli.main import main
from lra.config.settings import ApproximateSettings, AttentionSettings, Experiment, ModelSettings
from lra.cost.approximation_error import (
    Inputs,
    Texts,
    approximate,
    projections,
    random_model,
    relative_error,
    spectral_norm,
    standard_error,
    stretch,
    trained_model,
)
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.tasks.contract import Task
from lra.training.run import train_run
from results.builder import reseal

Make = Callable[..., Experiment]
SIZES = ModelSettings(layers=2, embedding=16, hidden=16, heads=2, head_dim=8)


@pytest.fixture
def run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> Path:
    """A finished run with exact attention."""
    experiment = toy_experiment("softmax", steps=4)
    train_run(replace(experiment, model=SIZES), toy_shards.folder, tmp_path / "run", code="", threads=1)
    return tmp_path / "run"


def settings(attention: str = "skeinformer", **changes: object) -> ApproximateSettings:
    chosen = {"model": SIZES, "trials": 3, "lengths": (32, 64), "features": (4, 16)} | changes
    return ApproximateSettings(AttentionSettings(attention), **chosen)  # type: ignore[arg-type]


def random_inputs(*shape: int, uses_key: bool = True) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    return Inputs(*(2 * torch.randn(shape, generator=generator) for _ in range(3)), uses_key=uses_key)


def dense(inputs: Inputs) -> Tensor:
    """Softmax attention written out, float64."""
    query, key, value = (tensor.double() for tensor in (inputs.query, inputs.key, inputs.value))
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (3, 2, 100, 16), (1, 1)])
def test_spectral_norm_is_the_largest_singular_value(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.linalg.svdvals(matrix.double())[..., 0]
    torch.testing.assert_close(spectral_norm(matrix), wanted, rtol=1e-12, atol=0)


def test_spectral_norm_of_odd_matrices() -> None:
    assert spectral_norm(torch.zeros(5, 3)) == 0
    column, row = torch.arange(1.0, 5.0)[:, None], torch.tensor([[3.0, 4.0]])
    assert float(spectral_norm(column @ row)) == pytest.approx(5 * math.sqrt(30), rel=1e-12)  # rank one
    assert float(spectral_norm(1e-30 * column)) == pytest.approx(1e-30 * math.sqrt(30), rel=1e-6)


@pytest.mark.parametrize("length", [16, 50])
def test_error_of_the_mean_against_a_dense_svd(length: int) -> None:
    inputs = random_inputs(2, 2, length, 8)
    exact = dense(inputs)
    difference = inputs.value.double().mean(2, keepdim=True) - exact
    wanted = torch.linalg.svdvals(difference)[..., 0] / torch.linalg.svdvals(exact)[..., 0]
    found = relative_error(AttentionSettings("vmean"), inputs, seed=0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0)


def test_error_of_a_random_method_against_a_dense_svd() -> None:
    """The unreduced sketch B S S^T V, with the very S that the seed gives."""
    inputs, seed = random_inputs(1, 2, 24, 8), 5
    uniform = torch.rand(1, 24, 6, generator=torch.Generator().manual_seed(seed))[0].double()
    sketch = torch.special.ndtri(uniform) / math.sqrt(6)
    exact = dense(inputs)
    weights = (inputs.query.double() @ inputs.key.double().mT / math.sqrt(8)).softmax(-1)
    difference = weights @ sketch @ sketch.T @ inputs.value.double() - exact
    wanted = torch.linalg.svdvals(difference)[..., 0] / torch.linalg.svdvals(exact)[..., 0]
    found = relative_error(AttentionSettings("linformer_jlt", features=6), inputs, seed)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)


def test_exact_methods_have_no_error() -> None:
    inputs = random_inputs(1, 2, 20, 8)
    dropping = AttentionSettings("softmax", options={"dropout": 0.5})  # which evaluation leaves out
    assert relative_error(dropping, inputs, seed=0).max() < 1e-6
    assert relative_error(AttentionSettings("skeinformer", features=64), inputs, seed=0).max() < 1e-5


def test_what_is_no_approximation_is_left_out() -> None:
    """Nystromformer's untrained convolution is added to its approximation, and would be most of the error."""
    inputs = random_inputs(1, 2, 20, 8)
    assert relative_error(AttentionSettings("nystrom", features=64), inputs, seed=0).max() < 1e-5
    asked = AttentionSettings("nystrom", features=64, options={"conv_kernel": 3})
    assert relative_error(asked, inputs, seed=0).min() > 1e-2


def test_queries_for_keys() -> None:
    inputs = random_inputs(1, 2, 20, 8, uses_key=False)
    assert inputs.key is inputs.query
    torch.testing.assert_close(inputs.exact.double(), dense(inputs), rtol=1e-4, atol=1e-5)


def test_projections_are_what_the_attentions_see(toy_shards: Shards) -> None:
    torch.manual_seed(0)
    model = random_model(SIZES, toy_shards, 32)
    seen: list[tuple[Tensor, ...]] = []
    for layer in model.layers:
        layer.attention.attention.register_forward_hook(lambda module, given, output: seen.append(given))  # type: ignore
    tokens = torch.from_numpy(Texts(toy_shards).joined(32, [0]).astype(np.int64))
    found = projections(model, tokens)
    seen.clear()
    model.encode(tokens[None], torch.ones(1, 32, dtype=torch.bool))
    assert len(seen) == 2
    for number, part in enumerate(found):
        assert part.shape == (2, 2, 32, 8)  # (layers, heads, length, head_dim)
        torch.testing.assert_close(part, torch.cat([given[number] for given in seen]))


def test_rotary_models_have_no_positions_to_stretch(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    experiment = toy_experiment("softmax")
    rotary = replace(experiment, model=replace(experiment.model, positions="rotary"))
    folder = tmp_path / "rotary"
    train_run(rotary, toy_shards.folder, folder, code="abc", threads=1)
    model = trained_model(folder, toy_shards, length=64)
    query, key, _ = projections(model, torch.ones(64, dtype=torch.long))
    scores = (query @ key.mT)[0]  # one token everywhere: scores depend on the distance alone
    torch.testing.assert_close(scores[:, 1:, 1:], scores[:, :-1, :-1], atol=1e-4, rtol=1e-4)


def test_stretch() -> None:
    table = torch.stack([torch.arange(5.0), torch.arange(5.0) ** 2], -1)  # (positions, embedding)
    assert torch.equal(stretch(table, 3), table[:3])
    assert torch.equal(stretch(table, 5), table)
    longer = stretch(table, 9)
    torch.testing.assert_close(longer[:, 0], torch.arange(9.0) / 2)  # a straight line stays one
    torch.testing.assert_close(longer[::2], table)  # and so do the points in between


def test_trained_weights_are_those_of_the_run(run: Path, toy_shards: Shards) -> None:
    stored = load_file(run / "model.safetensors")
    same, longer = (trained_model(run, toy_shards, length).state_dict() for length in (32, 64))
    assert same.keys() == longer.keys() == stored.keys()
    for name, weight in stored.items():
        assert torch.equal(same[name], weight)
        assert name == "positions.weight" or torch.equal(longer[name], weight)
    torch.testing.assert_close(longer["positions.weight"][[0, -1]], stored["positions.weight"][[0, -1]])


def test_joined_texts(toy_shards: Shards) -> None:
    texts = Texts(toy_shards)
    joined = texts.joined(100, [3, 1])
    assert len(joined) == 100
    assert np.array_equal(joined, texts.joined(100, [3, 1]))
    assert np.array_equal(joined[:40], texts.joined(40, [3, 1]))
    assert not np.array_equal(joined, texts.joined(100, [3, 2]))
    # It begins with whole texts of the split, each once.
    starts = np.concatenate([[0], texts.ends[:-1]])
    rows = [bytes(texts.tokens[start:end]) for start, end in zip(starts, texts.ends, strict=True)]
    rest, used = bytes(joined), 0
    while fitting := [row for row in rows if rest.startswith(row)]:
        rest, used = rest.removeprefix(max(fitting, key=len)), used + 1
    assert used >= 3
    assert any(row.startswith(rest) for row in rows)


def test_short_texts_are_repeated(toy_shards: Shards) -> None:
    texts = Texts(toy_shards)
    joined, total = texts.joined(3000, [0]), len(texts.tokens)
    assert total < 3000
    assert np.array_equal(joined[total:], joined[: 3000 - total])


def test_rows_and_csv(run: Path, toy_shards: Shards, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    rows = approximate(settings(), toy_shards.folder, run, out, threads=1)
    cells = [(row.weights, row.length, row.features) for row in rows]
    assert cells == [(w, n, d) for w in ("trained", "random") for n in (32, 64) for d in (4, 16)]
    assert all(row.mean and row.standard_error and row.reason == "" and row.trials == 3 for row in rows)
    with out.open() as stream:
        read = list(csv.DictReader(stream))
    assert [float(row["mean"]) for row in read] == [row.mean for row in rows]
    assert rows == approximate(settings(), toy_shards.folder, run, out, threads=1)
    other = approximate(settings(seed=1), toy_shards.folder, run, out, threads=1)
    assert all(a.mean != b.mean for a, b in zip(rows, other, strict=True))


def test_a_larger_budget_helps(toy_shards: Shards, tmp_path: Path) -> None:
    chosen = settings(lengths=(64,), features=(2, 8, 64), trials=4)
    small, middle, whole = approximate(chosen, toy_shards.folder, None, tmp_path / "out.csv", threads=1)
    assert small.mean and middle.mean and whole.mean
    assert small.mean > middle.mean > 100 * whole.mean


def test_mean_and_error_are_over_independent_trials(toy_shards: Shards, tmp_path: Path) -> None:
    """The first trials of many are those of few; a trial's value is the mean over layers and heads."""
    chosen = settings(lengths=(32,), features=(4,))
    values = []
    for trials in (1, 2, 3):
        (row,) = approximate(replace(chosen, trials=trials), toy_shards.folder, None, tmp_path / "out.csv", threads=1)
        assert row.mean
        values.append(row.mean * trials - sum(values))
    assert len(set(values)) == 3
    assert row.standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))


def test_trials_differ_in_their_random_choices(
    run: Path, toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the text and the weights are the same."""
    monkeypatch.setattr(Texts, "joined", lambda self, length, seed: self.tokens[:length])
    chosen = settings(lengths=(32,), features=(4,))
    trained, _ = approximate(chosen, toy_shards.folder, run, tmp_path / "out.csv", threads=1)
    assert trained.standard_error and trained.standard_error > 1e-6


def test_the_seed_decides_initial_weights() -> None:
    inputs, linformer = random_inputs(1, 2, 20, 8), AttentionSettings("linformer", features=4)
    first, again, other = (relative_error(linformer, inputs, seed) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_initial_weights_are_not_those_of_the_model(
    toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random model and Linformer's projection start from different seeds, in every trial."""
    seeds: list[int] = []
    seed_all = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda seed: seeds.append(seed) or seed_all(seed))
    wanted = settings("linformer", lengths=(32,), features=(4,))
    approximate(wanted, toy_shards.folder, None, tmp_path / "out.csv", threads=1)
    assert len(seeds) == len(set(seeds)) == 2 * wanted.trials


def test_a_mean_has_no_budget(toy_shards: Shards, tmp_path: Path) -> None:
    rows = approximate(settings("vmean", lengths=(32,)), toy_shards.folder, None, tmp_path / "out.csv", threads=1)
    assert rows[0].mean == rows[1].mean


def test_standard_error() -> None:
    assert standard_error([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt(7 / 3))
    assert standard_error([1.0]) is None


def test_a_method_that_fails_is_a_row(toy_shards: Shards, tmp_path: Path) -> None:
    chosen = replace(settings(lengths=(32,)), attention=AttentionSettings("bigbird", options={"block_size": 0}))
    rows = approximate(chosen, toy_shards.folder, None, tmp_path / "out.csv", threads=1)
    assert [(row.mean, row.standard_error) for row in rows] == [(None, None)] * 2
    assert all(row.reason.startswith("ValueError: block_size must be at least 1") for row in rows)
    chosen = replace(chosen, attention=AttentionSettings("mine", module="nowhere.py:Mine"))
    rows = approximate(chosen, toy_shards.folder, None, tmp_path / "out.csv", threads=1)
    assert [row.mean for row in rows] == [None] * 2 and "nowhere.py cannot be imported" in rows[0].reason


def test_a_run_that_failed_is_a_row(run: Path, toy_shards: Shards, tmp_path: Path) -> None:
    reseal(run / "metrics.json", status="oom", reason="too much")
    rows = approximate(settings(lengths=(32,)), toy_shards.folder, run, tmp_path / "out.csv", threads=1)
    trained, random = rows[:2], rows[2:]
    assert all(row.mean is None and "ended as oom: too much" in row.reason for row in trained)
    assert all(row.mean and row.weights == "random" for row in random)


def test_the_run_must_fit(run: Path, toy_shards: Shards, toy_experiment: Make, tmp_path: Path) -> None:
    train_run(toy_experiment("vmean", steps=4), toy_shards.folder, tmp_path / "vmean", code="", threads=1)
    with pytest.raises(LraError, match="was trained with vmean; give a --run with exact attention"):
        trained_model(tmp_path / "vmean", toy_shards, 32)
    reseal(run / "metrics.json", data="other")
    with pytest.raises(LraError, match="was trained on other data"):
        trained_model(run, toy_shards, 32)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("metrics.json", "is not the metrics.json of a run"), ("model.safetensors", "is damaged or another run's")],
)
def test_a_damaged_run_is_one_sentence(name: str, sentence: str, run: Path, toy_shards: Shards, tmp_path: Path) -> None:
    (run / name).write_bytes(b"{}")
    with pytest.raises(LraError, match=rf"^{run / name} {sentence}.*; train this run again\.$"):
        approximate(settings(lengths=(32,)), toy_shards.folder, run, tmp_path / "out.csv", threads=1)
    assert not (tmp_path / "out.csv").exists()


def test_pairs_are_refused(toy_shards: Shards, tmp_path: Path) -> None:
    from conftest import toy_examples

    task = Task("pairs", classes=2, vocabulary=9, max_length=24, towers=2)
    pairs = write_shards(tmp_path / "pairs", task, toy_examples(towers=2), expected=None, provenance={})
    with pytest.raises(LraError, match="has pairs of sequences"):
        Texts(pairs)


def test_command_and_plot(run: Path, toy_shards: Shards, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for name in ("vmean", "nystrom"):
        tables.append(str(tmp_path / f"{name}.csv"))
        given = ["--settings", json.dumps(asdict(settings(name, lengths=(32,)))), "--run", str(run)]
        places = ["--data", str(toy_shards.folder), "--out", tables[-1], "--threads", "1"]
        assert main(["approximate", "--attention", name, *given, *places]) == 0
    assert "nystrom random n=32 d=16: 0." in capsys.readouterr().out
    assert main(["plot-approximation", *tables, "--out", str(tmp_path / "plot")]) == 0
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "trained weights, n = 32" in (tmp_path / "plot.svg").read_text()
