"""The training loop: AdamW, OneCycle, evaluation on dev, early stop, and the test with the best weights.

    lra train --attention skeinformer --task listops --seed 1

A run can be stopped at any moment and goes on from its last checkpoint with the very numbers it would have had.
"""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from tqdm.auto import tqdm

from lra.config.settings import Experiment
from lra.data.batches import Batch, Batches
from lra.data.prefetch import prefetch
from lra.data.shards import Shards
from lra.model import build_model, padded_length, trims
from lra.tasks.contract import Split
from lra.training.checkpoint import Checkpoints
from lra.training.evaluation import Score, score
from lra.training.optim import autocast, is_out_of_memory, make_optimizer, random_state, restore_random_state

CPU_TOKENS = 1 << 16
"""Tokens that pass through the model at once on a CPU, where running out of memory cannot be caught."""

BUCKET_BATCHES = 32
"""Batches that share their rows out by length where ``pad`` is ``bucket``."""


class Interrupted(Exception):
    """A signal asked the run to stop; its checkpoint is saved."""


class Failed(Exception):
    """The run cannot give a result; ``status`` is ``diverged`` or ``oom``."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass
class Progress:
    """How far a run is: what a checkpoint holds besides model, optimiser and random states."""

    step: int = 0
    seconds: float = 0.0
    """Time in training steps, evaluation left out."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One row an evaluation."""
    micro_batch: int = 0

    @property
    def best(self) -> dict[str, float]:
        """The evaluation with the highest dev accuracy, the lower loss deciding among equals."""
        return max(self.history, key=lambda row: (row["dev_accuracy"], -row["dev_loss"]))

    def stale(self) -> int:
        """Evaluations since the lowest dev loss."""
        losses = [row["dev_loss"] for row in self.history]
        return len(losses) - 1 - losses.index(min(losses)) if losses else 0


class Trainer:
    """One run of an experiment.

    Args:
        experiment: what is trained.
        shards: the prepared task.
        device: where.
        checkpoints: where the run goes on after an interruption.
        checkpoint_seconds: time between checkpoints.
        max_steps: end after so many steps, with the learning rates of the whole schedule.
    """

    def __init__(
        self,
        experiment: Experiment,
        shards: Shards,
        device: torch.device,
        checkpoints: Checkpoints,
        checkpoint_seconds: float = 300,
        max_steps: int | None = None,
    ) -> None:
        torch.manual_seed(experiment.seed)
        self.experiment, self.settings, self.shards, self.device = experiment, experiment.train, shards, device
        self.checkpoints, self.checkpoint_seconds = checkpoints, checkpoint_seconds
        self.last_step = min(self.settings.steps, max_steps or self.settings.steps)
        self.model = build_model(shards.task, experiment.model, experiment.attention).to(device)
        self.forward = torch.compile(self.model) if self.settings.compile else self.model
        self.optimizer, self.schedule = make_optimizer(self.model.parameters(), self.settings)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.settings.precision == "fp16")
        self.progress = Progress(micro_batch=self.settings.micro_batch or self._micro_batch())
        self.best_weights: dict[str, Tensor] = {}
        # Kept on the device, so that no step waits for the host: summed loss since the last evaluation, and the first
        # step whose loss was not finite (-1: none).
        self.loss_sum = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, device=device)
        self.stop = False

    def _micro_batch(self) -> int:
        if self.device.type != "cpu":
            return self.settings.batch
        tokens = padded_length(self.shards.task) * self.shards.task.towers
        return max(1, min(self.settings.batch, CPU_TOKENS // tokens))

    def _batches(self, split: Split, batch: int) -> Batches:
        length = padded_length(self.shards.task)
        window = BUCKET_BATCHES if self.settings.pad == "bucket" else 1
        return Batches(self.shards, split, batch, length, trim=trims(self.model, self.settings), window=window)

    def _ahead(self, batches: Generator[Batch, None, None]) -> contextlib.closing[Generator[Batch, None, None]]:
        """The same batches, for a GPU made in another thread; on a CPU a step takes 900 times as long as its batch."""
        return contextlib.closing(prefetch(batches) if self.device.type == "cuda" else batches)

    def run(self) -> Score:
        """Train to the end or the early stop, then score the test split with the best weights.

        Raises:
            Interrupted: by SIGTERM or SIGINT; the next run goes on from here.
            Failed: the loss diverged, or not even one example fits in memory.
        """
        self._resume()
        with self._stopped_by_signals():
            try:
                self._train()
                self.model.load_state_dict(self.best_weights)
                return self.evaluate("test")
            except Interrupted:
                self.save()
                raise

    def _train(self) -> None:
        progress, every = self.progress, self.settings.evaluate_every
        batches = self._batches("train", self.settings.batch).shuffled(self.experiment.seed, start=progress.step)
        saved = time.monotonic()
        # Numbers of a terminal's progress bar; a log file gets a line an evaluation.
        bar = tqdm(total=self.last_step, initial=progress.step, unit="step", disable=None)
        with bar, self._ahead(batches) as ahead:
            while True:
                due = progress.step % every == 0 or progress.step == self.last_step
                if due and progress.step and (not progress.history or progress.history[-1]["step"] < progress.step):
                    self._evaluate_dev()
                    bar.set_postfix(dev=f"{progress.history[-1]['dev_accuracy']:.3f}")
                if progress.step >= self.last_step or progress.stale() >= self.settings.patience:
                    return
                self._timed_step(next(ahead))
                bar.update()
                if time.monotonic() - saved > self.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()

    def _timed_step(self, batch: Batch) -> None:
        started = time.perf_counter()
        self.step(batch)
        if self.progress.step % self.settings.evaluate_every == 0 and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # before the clock is read, once an evaluation
        self.progress.seconds += time.perf_counter() - started

    def step(self, batch: Batch) -> None:
        """One optimiser step; where memory runs out the micro-batch is halved and the step made anew."""
        random = random_state(self.device)
        while True:
            try:
                loss = self._accumulate(batch.to(self.device))
                break
            except RuntimeError as problem:
                restore_random_state(random, self.device)
                if not is_out_of_memory(problem):
                    raise
                self._halve_micro_batch()
            except Interrupted:
                restore_random_state(random, self.device)
                raise
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        self.loss_sum += loss
        self.bad_step = torch.where((self.bad_step < 0) & ~loss.isfinite(), self.progress.step + 1, self.bad_step)
        self.progress.step += 1

    def _accumulate(self, batch: Batch) -> Tensor:
        """Gradients of the batch's mean loss, a micro-batch at a time; returns that loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for piece in map(self._unless_stopped, batch.split(self.progress.micro_batch)):
            with autocast(self.settings, self.device):
                loss = cross_entropy(self.forward(piece.tokens, piece.mask), piece.label, reduction="sum") / len(batch)
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _halve_micro_batch(self) -> None:
        if self.progress.micro_batch == 1:
            raise Failed("oom", "a single example does not fit in memory")
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.micro_batch = max(1, min(self.progress.micro_batch, self.settings.batch) // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"out of memory: micro-batch is now {self.progress.micro_batch}", flush=True)

    def _evaluate_dev(self) -> None:
        progress = self.progress
        if (bad := int(self.bad_step)) >= 0:
            raise Failed("diverged", f"the training loss was not finite at step {bad}")
        since = progress.history[-1]["step"] if progress.history else 0
        train_loss = float(self.loss_sum) / (progress.step - since)
        score = self.evaluate("dev")
        if not math.isfinite(score.loss):
            raise Failed("diverged", f"the dev loss was not finite at step {progress.step}")
        if train_loss > 10 * math.log(self.shards.task.classes):
            raise Failed(
                "diverged", f"the training loss was {train_loss:.1f} at step {progress.step}, ten times chance"
            )
        progress.history.append(
            {
                "step": progress.step,
                "seconds": progress.seconds,
                "learning_rate": float(self.schedule.get_last_lr()[0]),
                "train_loss": train_loss,
                "dev_loss": score.loss,
                "dev_accuracy": score.accuracy,
            }
        )
        self.loss_sum.zero_()
        if progress.best["step"] == progress.step:
            self.best_weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        print(
            f"step {progress.step}: train loss {train_loss:.4f}, dev loss {score.loss:.4f}, "
            f"dev accuracy {score.accuracy:.4f}, {progress.seconds:.1f} s",
            flush=True,
        )

    def evaluate(self, split: Split) -> Score:
        """Score every row of a split."""
        size = min(self.progress.micro_batch, self.settings.batch)
        self.model.eval()
        with self._ahead(self._batches(split, size).in_order()) as batches:
            result = score(self.forward, map(self._unless_stopped, batches), self.settings, self.device)
        self.model.train()
        return result

    def _unless_stopped(self, batch: Batch) -> Batch:
        if self.stop:
            raise Interrupted
        return batch

    def save(self) -> None:
        """Write a checkpoint of everything that decides how the run goes on."""
        self.checkpoints.save(
            {
                "progress": vars(self.progress),
                "model": self.model.state_dict(),
                "best_weights": self.best_weights,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self.scaler.state_dict(),
                "loss_sum": self.loss_sum,
                "bad_step": self.bad_step,
                "random": random_state(self.device),
            }
        )

    def _resume(self) -> None:
        state = self.checkpoints.load()
        if state is None:
            return
        self.progress = Progress(**state["progress"])
        self.model.load_state_dict(state["model"])
        self.best_weights = state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.loss_sum = state["loss_sum"].to(self.device)
        self.bad_step = state["bad_step"].to(self.device)
        restore_random_state(state["random"], self.device)
        print(f"going on from step {self.progress.step}", flush=True)

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        def ask_to_stop(number: int, frame: object) -> None:
            self.stop = True

        before = {number: signal.signal(number, ask_to_stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
