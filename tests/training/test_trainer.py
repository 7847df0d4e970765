from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from conftest import toy_examples
from lra.config.settings import Experiment
from lra.data.batches import Batch
from lra.data.prefetch import prefetch
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.tasks.contract import Split, Task
from lra.training import evaluation as scoring
from lra.training import trainer as training
from lra.training.budget import step_flops
from lra.training.checkpoint import Checkpoints
from lra.training.evaluation import Score, batches_of, evaluation_rows, rows_at_once
from lra.training.progress import Failed, Interrupted, Progress
from lra.training.trainer import Trainer

Make = Callable[..., Experiment]
CPU = torch.device("cpu")


def trainer(experiment: Experiment, shards: Shards, folder: Path, **options: float) -> Trainer:
    return Trainer(experiment, shards, CPU, Checkpoints(folder, "test"), **options)  # type: ignore[arg-type]


def without_time(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def same_scores(a: Score, b: Score) -> bool:
    return a.loss == b.loss and (a.prediction == b.prediction).all()


def test_it_learns(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment("vmean", steps=120, learning_rate=1e-2, evaluate_every=20), toy_shards, tmp_path)
    score = run.run()
    assert score.accuracy > toy_shards.majority("test") + 0.2
    assert len(score.prediction) == toy_shards.rows("test")
    assert [row["step"] for row in run.progress.history] == [20, 40, 60, 80, 100, 120]


def test_the_test_is_scored_with_the_best_weights(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(learning_rate=0.1, steps=24), toy_shards, tmp_path)
    run.run()
    best = run.progress.best
    dev = run.evaluate("dev")
    assert (dev.accuracy, dev.loss) == (best["dev_accuracy"], best["dev_loss"])


def test_best_and_stale() -> None:
    rows = [(0.5, 0.7), (0.6, 0.5), (0.6, 0.4), (0.6, 0.6), (0.55, 0.4)]
    progress = Progress(history=[{"step": i, "dev_accuracy": a, "dev_loss": x} for i, (a, x) in enumerate(rows)])
    assert progress.best["step"] == 2
    assert progress.stale_steps() == 2
    assert Progress().stale_steps() == 0


def test_early_stop(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(
        toy_experiment(learning_rate=1e-9, steps=400, evaluate_every=2, patience_steps=4), toy_shards, tmp_path
    )
    losses = iter([1.0, 0.9, 0.95, 0.9, 0.8])
    original = run.evaluate
    run.evaluate = lambda split: dataclasses.replace(original(split), loss=next(losses))  # type: ignore[method-assign]
    run._train()
    assert run.progress.step == 8  # the lowest loss at step 4, then two evaluations without a lower one


def test_patience_counts_steps(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    """Ten evaluations were a hundredth of a long run with many of them."""
    settings = {"learning_rate": 1e-9, "steps": 60, "evaluate_every": 2}
    for given, ends in ((None, 22), (5, 8)):
        run = trainer(toy_experiment(**settings, patience_steps=given), toy_shards, tmp_path)
        score, losses = run.evaluate("dev"), itertools.count(1.0)

        def worse(split: Split, score: Score = score, losses: Iterator[float] = losses) -> Score:
            return dataclasses.replace(score, loss=next(losses))

        run.evaluate = worse  # type: ignore[method-assign]
        run._train()
        assert (run.progress.step, run.progress.ended_by) == (ends, "patience")


def test_a_bound_in_seconds_counts_them_through_an_interruption(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    """Every step is made to last 1000 seconds more; the run ends at the first that reaches the bound, and evaluates."""
    experiment = toy_experiment(steps=40, evaluate_every=4, seconds=5500)

    def slow(folder: str, stop_at: int = 0) -> Trainer:
        run = trainer(experiment, toy_shards, tmp_path / folder)
        step = run.step

        def slower(batch: Batch) -> None:
            step(batch)
            run.progress.times["train"] += 1000
            run.stop = run.progress.step == stop_at

        run.step = slower  # type: ignore[method-assign]
        return run

    whole = slow("whole")
    expected = whole.run()
    assert (whole.progress.step, whole.progress.ended_by) == (6, "seconds")
    assert [row["step"] for row in whole.progress.history] == [4, 6]

    with pytest.raises(Interrupted):
        slow("stopped", stop_at=4).run()
    second = slow("stopped")
    assert same_scores(second.run(), expected)
    assert without_time(second.progress.history) == without_time(whole.progress.history)


def test_a_bound_in_flops_shortens_the_schedule_too(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    """Cut off in its middle, the learning rate would never fall."""
    one = step_flops(trainer(toy_experiment(), toy_shards, tmp_path).model, toy_shards.task, 16)
    bounded = trainer(toy_experiment(steps=40, flops=8.5 * one), toy_shards, tmp_path)
    score = bounded.run()
    shorter = trainer(toy_experiment(steps=8), toy_shards, tmp_path)
    assert same_scores(score, shorter.run())
    assert (bounded.progress.ended_by, shorter.progress.ended_by) == ("flops", "steps")
    assert without_time(bounded.progress.history) == without_time(shorter.progress.history)


def test_too_small_a_bound_in_flops_is_a_mistake(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    with pytest.raises(LraError, match=r"train.flops: 1e\+03 allow 0 steps of .* FLOPs, and the warm-up alone has 2"):
        trainer(toy_experiment(flops=1e3), toy_shards, tmp_path)


def test_max_steps_keeps_the_schedule(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    short = trainer(toy_experiment(steps=100, evaluate_every=3), toy_shards, tmp_path, max_steps=3)
    short.run()
    whole = trainer(toy_experiment(steps=100, evaluate_every=3, patience_steps=3), toy_shards, tmp_path)
    whole.bounds = dataclasses.replace(whole.bounds, last_step=6)
    whole._train()
    assert without_time(short.progress.history) == without_time(whole.progress.history)[:1]


def test_the_same_seed_gives_the_same_numbers(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    scores, histories = [], []
    for seed in (1, 1, 2):
        run = trainer(toy_experiment(seed=seed), toy_shards, tmp_path)
        scores.append(run.run())
        histories.append(without_time(run.progress.history))
    assert histories[0] == histories[1] and same_scores(scores[0], scores[1])
    assert histories[0] != histories[2]


@pytest.mark.parametrize(
    ("attention", "precision"),
    [("softmax", "fp32"), ("vmean", "fp32"), ("linformer", "fp32"), ("skeinformer", "bf16"), ("softmax", "fp16")],
)
@pytest.mark.parametrize("stop_at", [1, 4, 5, 11, 12])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, attention: str, precision: str, stop_at: int
) -> None:
    experiment = toy_experiment(attention, precision=precision)
    whole = trainer(experiment, toy_shards, tmp_path / "whole")
    expected = whole.run()

    first = trainer(experiment, toy_shards, tmp_path / "stopped")
    stop_in_forward(first, stop_at)
    with pytest.raises(Interrupted):
        first.run()
    assert first.progress.step < experiment.train.steps or stop_at == experiment.train.steps
    second = trainer(experiment, toy_shards, tmp_path / "stopped")
    score = second.run()
    assert without_time(second.progress.history) == without_time(whole.progress.history)
    assert same_scores(score, expected)


@pytest.mark.parametrize("stop_at", [5, 20])
def test_prefetched_buckets_go_on_to_the_same_bits(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    """As on a GPU: what was made ahead is forgotten at the interruption and made again."""
    experiment = toy_experiment(pad="bucket", batch=8, steps=30)  # epochs of 12 batches
    monkeypatch.setattr(scoring, "BUCKET_BATCHES", 5)
    whole = trainer(experiment, toy_shards, tmp_path / "whole")
    expected = whole.run()

    monkeypatch.setattr(Batch, "pinned", lambda self: self)
    for module in (training, scoring):
        monkeypatch.setattr(module, "ready", lambda batches, device: contextlib.closing(prefetch(batches)))
    first = trainer(experiment, toy_shards, tmp_path / "stopped")
    stop_in_forward(first, stop_at)
    with pytest.raises(Interrupted):
        first.run()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    second = trainer(experiment, toy_shards, tmp_path / "stopped")
    assert same_scores(second.run(), expected)
    assert without_time(second.progress.history) == without_time(whole.progress.history)


def stop_in_forward(run: Trainer, calls: int) -> None:
    """Send this process a SIGTERM in the given call of the model while training."""
    forward, count = run.forward, 0

    def counted(tokens: tuple[Tensor, ...], mask: tuple[Tensor, ...]) -> Tensor:
        nonlocal count
        count += run.model.training
        if count == calls:
            os.kill(os.getpid(), signal.SIGTERM)
        return forward(tokens, mask)

    run.forward = counted  # type: ignore[assignment]


def test_a_stop_inside_an_accumulated_step_loses_only_that_step(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    experiment = toy_experiment(micro_batch=4)
    expected = trainer(experiment, toy_shards, tmp_path / "whole").run()
    first = trainer(experiment, toy_shards, tmp_path / "stopped")
    stop_in_forward(first, 10)  # the second of four micro-batches of step 3
    with pytest.raises(Interrupted):
        first.run()
    assert first.progress.step == 2
    assert same_scores(trainer(experiment, toy_shards, tmp_path / "stopped").run(), expected)


def test_checkpoints_are_written_in_time(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(), toy_shards, tmp_path / "checkpoint", checkpoint_seconds=0)
    run._train()
    assert (tmp_path / "checkpoint" / "latest.pt").exists() and (tmp_path / "checkpoint" / "previous.pt").exists()
    resumed = trainer(toy_experiment(), toy_shards, tmp_path / "checkpoint")
    resumed._resume()
    assert resumed.progress.step == 12


def test_a_damaged_checkpoint_gives_way_to_the_previous_one(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = trainer(toy_experiment(), toy_shards, tmp_path / "whole").run()
    trainer(toy_experiment(), toy_shards, tmp_path / "a", checkpoint_seconds=0)._train()
    latest = tmp_path / "a" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:-100])
    resumed = trainer(toy_experiment(), toy_shards, tmp_path / "a")
    assert same_scores(resumed.run(), expected)
    assert "latest.pt is damaged" in capsys.readouterr().err


def gradients(run: Trainer, batch: Batch) -> list[Tensor]:
    run._accumulate(batch)
    return [parameter.grad.clone() for parameter in run.model.parameters() if parameter.grad is not None]


def test_accumulation_gives_the_same_gradients(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    from lra.data.batches import Batches

    batch = next(Batches(toy_shards, "train", 16, 32).shuffled(0))
    both = []
    for micro_batch in (16, 5):
        experiment = toy_experiment(micro_batch=micro_batch)
        experiment = dataclasses.replace(experiment, model=dataclasses.replace(experiment.model, dropout=0.0))
        both.append(gradients(trainer(experiment, toy_shards, tmp_path), batch))
    assert len(both[0]) > 10
    for whole, pieces in zip(*both, strict=True):
        torch.testing.assert_close(whole, pieces, rtol=1e-5, atol=1e-7)


def test_running_out_of_memory_halves_the_micro_batch(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    expected = trainer(toy_experiment(micro_batch=4), toy_shards, tmp_path).run()
    run = trainer(toy_experiment(), toy_shards, tmp_path)
    refuse_more_than(run, 4)
    assert same_scores(run.run(), expected)
    assert run.progress.micro_batch == 4


def test_not_even_one_example_fits(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(), toy_shards, tmp_path)
    refuse_more_than(run, 0)
    with pytest.raises(Failed, match="a single example does not fit") as failure:
        run.run()
    assert failure.value.status == "oom"


def refuse_more_than(run: Trainer, rows: int) -> None:
    forward = run.forward

    def limited(tokens: tuple[Tensor, ...], mask: tuple[Tensor, ...]) -> Tensor:
        if len(tokens[0]) > rows:
            torch.rand(3)  # moves the random state, as a step that breaks half-way does
            raise torch.OutOfMemoryError("allocate memory")
        return forward(tokens, mask)

    run.forward = limited  # type: ignore[assignment]


def test_a_loss_that_is_not_finite_ends_the_run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(), toy_shards, tmp_path)
    forward, calls = run.forward, 0

    def broken(tokens: tuple[Tensor, ...], mask: tuple[Tensor, ...]) -> Tensor:
        nonlocal calls
        calls += 1
        return forward(tokens, mask) * (math.nan if calls == 3 else 1.0)

    run.forward = broken  # type: ignore[assignment]
    with pytest.raises(Failed, match="not finite at step 3") as failure:
        run.run()
    assert failure.value.status == "diverged"


def test_a_huge_loss_ends_the_run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(learning_rate=1e-9), toy_shards, tmp_path)
    last = run.model.head[-1]
    assert isinstance(last, nn.Linear)
    nn.init.constant_(last.weight, 0.0)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([100.0, 0.0]))
    with pytest.raises(Failed, match="ten times chance"):
        run.run()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains(toy_experiment: Make, toy_shards: Shards, tmp_path: Path, precision: str) -> None:
    score = trainer(toy_experiment(precision=precision), toy_shards, tmp_path).run()
    assert math.isfinite(score.loss)


def test_padding_to_the_batch_changes_nothing_in_evaluation(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    losses = [
        trainer(toy_experiment(pad=pad), toy_shards, tmp_path).evaluate("dev").loss
        for pad in ("length", "batch", "bucket")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[1] == losses[2]


def test_a_gpu_takes_the_batch_at_once(
    toy_experiment: Make, toy_shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU takes it in micro-batches of so many tokens; here a sequence has 32."""
    monkeypatch.setattr(scoring, "CPU_TOKENS", 32 * 7 + 5)
    settings = toy_experiment(batch=90).train
    assert rows_at_once(toy_shards.task, settings, CPU) == evaluation_rows(7, CPU) == 7
    assert rows_at_once(toy_shards.task, settings, torch.device("cuda")) == 90
    assert evaluation_rows(90, torch.device("cuda")) > 90
    settings = dataclasses.replace(settings, micro_batch=100)
    assert rows_at_once(toy_shards.task, settings, torch.device("cuda")) == 90


def test_another_error_than_of_memory_is_raised_and_forgets_what_it_drew(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    run = trainer(toy_experiment(), toy_shards, tmp_path)

    def broken(tokens: tuple[Tensor, ...], mask: tuple[Tensor, ...]) -> Tensor:
        torch.rand(3)
        raise RuntimeError("shapes do not match")

    run.forward = broken  # type: ignore[assignment]
    micro_batch, random = run.progress.micro_batch, torch.get_rng_state()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run.step(next(batches_of(run.model, toy_shards, "train", 16, run.settings).in_order()))
    assert (run.progress.step, run.progress.micro_batch) == (0, micro_batch)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_dev_loss_that_is_not_finite_ends_the_run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment(), toy_shards, tmp_path)
    forward = run.forward
    run.forward = lambda tokens, mask: forward(tokens, mask) * (1 if run.model.training else math.nan)  # type: ignore
    with pytest.raises(Failed, match="the dev loss was not finite at step 4") as failure:
        run.run()
    assert failure.value.status == "diverged" and run.progress.history == []


@pytest.mark.parametrize("pad", ["batch", "bucket"])
def test_two_towers_are_trained_at_lengths_of_their_own(pad: str, toy_experiment: Make, tmp_path: Path) -> None:
    task = Task("toy", classes=2, vocabulary=9, max_length=200, towers=2)
    examples = toy_examples(length=200, towers=2)
    shards = write_shards(tmp_path / "data", task, examples, expected=None, provenance={})
    run = trainer(toy_experiment("vmean", pad=pad, batch=1), shards, tmp_path / "run")
    batches = itertools.islice(batches_of(run.model, shards, "train", 1, run.settings).shuffled(1), 12)
    assert any(first.shape != second.shape for first, second in (batch.tokens for batch in batches))
    assert 0 <= run.run().accuracy <= 1


def test_skipped_updates_neither_move_the_schedule_nor_count(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    """At a loss scale of 2^26 the first gradients overflow fp16: their updates are skipped, and the scale is halved."""
    seen: list[tuple[Tensor, bool]] = []

    def make(folder: str) -> Trainer:
        run = trainer(toy_experiment("vmean", precision="fp16", steps=20), toy_shards, tmp_path / folder)
        run.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**26)
        return run

    run = make("whole")
    step = run.step

    def watched(batch: Batch) -> None:
        before = run.progress.step, run.schedule.last_epoch, run.model.tokens.weight.detach().clone()
        step(batch)
        moved = not torch.equal(before[2], run.model.tokens.weight)
        assert (run.progress.step, run.schedule.last_epoch) == (before[0] + moved, before[1] + moved)
        seen.append((batch.tokens[0], moved))

    run.step = watched  # type: ignore[method-assign]
    score = run.run()
    skipped = sum(not moved for _, moved in seen)
    assert 0 < skipped == run.progress.measurements()["skipped_steps"]
    assert run.progress.measurements()["steps"] == 20 == len(seen) - skipped
    assert [row["step"] for row in run.progress.history] == [4, 8, 12, 16, 20]
    assert run.progress.history[-1]["learning_rate"] < 1e-5  # the schedule came to its end
    assert not any(torch.equal(one, other) for (one, _), (other, _) in itertools.pairwise(seen))  # nor a batch twice

    first = make("stopped")
    stop_in_forward(first, skipped + 3)
    with pytest.raises(Interrupted):
        first.run()
    assert same_scores(make("stopped").run(), score)


def test_gradients_that_overflow_at_every_scale_end_the_run(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    """Else no step would ever be made, and none be the last."""
    run = trainer(toy_experiment("vmean", precision="fp16"), toy_shards, tmp_path)
    run.model.tokens.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(Failed, match="step 1 are not finite at any loss scale") as failure:
        run.run()
    assert failure.value.status == "diverged" and run.progress.step == 0


def test_an_overflow_of_the_loss_ends_a_run_in_fp16(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    run = trainer(toy_experiment("vmean", precision="fp16"), toy_shards, tmp_path)
    forward = run.forward
    run.forward = lambda tokens, mask: forward(tokens, mask) * math.nan
    with pytest.raises(Failed, match="the training loss was not finite at step 1"):
        run.run()


def test_an_evaluation_gives_the_same_predictions_in_larger_batches(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    """As on a GPU."""
    run = trainer(toy_experiment("skeinformer", pad="batch"), toy_shards, tmp_path)
    small = run.evaluate("dev")
    run.progress.evaluation_batch = 64
    large = run.evaluate("dev")
    assert (small.prediction == large.prediction).all() and small.loss == pytest.approx(large.loss, rel=1e-6)


def test_times_are_told_apart_and_survive_an_interruption(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    first = trainer(toy_experiment("vmean"), toy_shards, tmp_path)
    stop_in_forward(first, 9)
    with pytest.raises(Interrupted):
        first.run()
    before = first.progress.measurements()
    second = trainer(toy_experiment("vmean"), toy_shards, tmp_path)
    second.run()
    after = second.progress.measurements()
    for part in ("train", "data", "evaluation"):
        assert 0 < before[f"{part}_seconds"] < after[f"{part}_seconds"]
    assert after["train_seconds"] == second.progress.history[-1]["seconds"]
    assert 0 < after["busy"] < 1 and after["compile_seconds"] == 0
