"""The training loop: AdamW, a schedule, evaluation on dev, early stop, and the test with the best weights.

    lra train --attention skeinformer --task listops --seed 1

A run can be stopped at any moment and resumes from its last checkpoint. The result is bit-identical to that of an
undisturbed run, on a CPU and on GPUs of one model; docs/scaling.md says what was verified on which card.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from lra.config.settings import Experiment
from lra.data.batches import Batch
from lra.data.prefetch import ready
from lra.data.shards import Shards
from lra.model import padded_length, trims
from lra.tasks.contract import Split
from lra.training.budget import bounds_of
from lra.training.checkpoint import Checkpoints
from lra.training.clock import Clock
from lra.training.compiling import Forward, compiled, compiles, empty_batch, warm_up_lengths
from lra.training.evaluation import Score, batches_of, evaluate, evaluation_rows, rows_at_once
from lra.training.fallbacks import halve_rows, retried
from lra.training.objective import TRAINING, Labels
from lra.training.optim import autocast, make_optimizer, random_state, restore_random_state
from lra.training.progress import Failed, Interrupted, Progress, refuse_divergence
from lra.training.signals import on_signals

T = TypeVar("T")

LEAST_SCALE = 2.0**-24
"""The smallest loss scale of fp16. Gradients that overflow even here are not finite."""


class Trainer:
    """One run of an experiment.

    Args:
        experiment: settings and seed.
        shards: the prepared task.
        device: where the model is trained.
        checkpoints: the run resumes from these after an interruption.
        checkpoint_seconds: time between checkpoints.
        max_steps: end after so many steps; the learning rates stay those of the full schedule.
        objective: what the model learns; the task's labels by default.
    """

    def __init__(
        self,
        experiment: Experiment,
        shards: Shards,
        device: torch.device,
        checkpoints: Checkpoints,
        checkpoint_seconds: float = 300,
        max_steps: int | None = None,
        objective: Labels | None = None,
    ) -> None:
        torch.manual_seed(experiment.seed)
        self.objective = objective or Labels()
        self.experiment, self.settings, self.shards, self.device = experiment, experiment.train, shards, device
        self.checkpoints, self.checkpoint_seconds = checkpoints, checkpoint_seconds
        self.model = self.objective.build(shards.task, experiment).to(device)
        self.forward: Forward = self.model
        self.bounds = bounds_of(self.settings, self.model, shards.task, max_steps)
        self.optimizer, self.schedule = make_optimizer(self.model, self.settings, self.bounds.schedule_steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.settings.precision == "fp16")
        rows = rows_at_once(shards.task, self.settings, device)
        self.progress = Progress(
            micro_batch=rows,
            evaluation_batch=evaluation_rows(rows, device),
            compiled=compiles(self.settings, device),
        )
        self.clock = Clock(device, self.progress.times)
        self.best_weights: dict[str, Tensor] = {}
        # On the device, so that no step waits for the host: the sum of the losses since the last evaluation, and the
        # first step whose loss was not finite (-1: there is none).
        self.loss_sum = torch.zeros((), device=device)
        self.bad_step = torch.full((), -1, device=device)
        self.stop = False

    def run(self) -> Score | None:
        """Train to the end or the early stop, then score the test split with the best weights; None if pretraining.

        Raises:
            Interrupted: SIGTERM or SIGINT came; the next run resumes from here.
            Failed: the loss diverged, or a single example does not fit in memory.
        """
        self._resume()
        with on_signals(self._ask_to_stop):
            try:
                self.compile()
                self._train()
                self.model.load_state_dict(self.best_weights)
                return self.evaluate("test") if self.objective.tested else None
            except Interrupted:
                self.save()
                raise

    def _train(self) -> None:
        progress, every = self.progress, self.settings.evaluate_every
        batches = batches_of(self.model, self.shards, "train", self.settings.batch, self.settings)
        done = progress.step + progress.skipped
        stream = self.objective.pose(batches.shuffled(self.experiment.seed, start=done), TRAINING, start=done)
        saved = time.monotonic()
        self.clock.start()
        # The bar is for terminals only; a log file has one line for each evaluation.
        bar = tqdm(total=self.bounds.last_step, initial=progress.step, unit="step", disable=None)
        with bar, ready(stream, self.device) as ahead:
            while True:
                progress.ended_by = self.bounds.reached(progress.step, self.clock)
                due = progress.step % every == 0 or progress.ended_by
                if due and progress.step and (not progress.history or progress.history[-1]["step"] < progress.step):
                    self._evaluate_dev()
                    bar.set_postfix(dev=f"{progress.history[-1]['dev_accuracy']:.3f}")
                if not progress.ended_by and progress.stale_steps() >= self.bounds.patience:
                    progress.ended_by = "patience"
                if progress.ended_by:
                    self.clock.read()
                    return
                with self.clock.time("data"):
                    batch = next(ahead)
                with self.clock.time("train"):
                    self.step(batch)
                bar.update(progress.step - bar.n)
                if time.monotonic() - saved > self.checkpoint_seconds:
                    self.save()
                    saved = time.monotonic()

    def step(self, batch: Batch) -> None:
        """Take one optimiser step; the loss scaler of fp16 may skip the update."""
        loss = self._retried(lambda: self._accumulate(batch.to(self.device)), then=self.compile)
        self.bad_step = torch.where((self.bad_step < 0) & ~loss.isfinite(), self.progress.step + 1, self.bad_step)
        if self._update():
            self.schedule.step()
            self.loss_sum += loss
            self.progress.step += 1
            return
        self.progress.skipped += 1
        self._check_step()
        if self.scaler.get_scale() < LEAST_SCALE:
            raise Failed("diverged", f"the gradients of step {self.progress.step + 1} are not finite at any loss scale")

    def _update(self) -> bool:
        """Update the weights; False if the loss scaler skipped the update, because gradients overflowed.

        Only fp16 has a loss scaler, which makes the program wait for the device.
        """
        before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return self.scaler.get_scale() >= before

    def _retried(self, work: Callable[[], T], then: Callable[[], None] = lambda: None) -> T:
        """Do the work as :func:`lra.training.fallbacks.retried`; call ``then`` after reducing the rows at once."""
        return retried(work, self.progress, self.device, lambda: self._take_fewer_rows(then), self._run_uncompiled)

    def _take_fewer_rows(self, then: Callable[[], None]) -> None:
        halve_rows(self.progress, self.device, training=self.model.training)
        if self.model.training:
            self.optimizer.zero_grad(set_to_none=True)
        then()

    def _run_uncompiled(self) -> None:
        self.forward, self.progress.compiled = self.model, False

    def compile(self) -> None:
        """Compile the model, if its settings ask for it, with batches of each shape: :mod:`lra.training.compiling`."""
        if self.progress.compiled:
            with self.clock.time("compile"):
                self._retried(self._warm_up)
            self.model.train()  # an evaluation's batch may have failed

    def _warm_up(self) -> None:
        if not self.progress.compiled:
            return
        rows, length = self.progress.micro_batch, padded_length(self.shards.task)
        rows_vary, lengths_vary = self.settings.batch % rows > 0, trims(self.model, self.settings.pad)
        self.forward = compiled(self.model, rows_vary=rows_vary, lengths_vary=lengths_vary)
        self.clock.watch_compiler()
        random = random_state(self.device)
        for warm_up_length in warm_up_lengths(length, lengths_vary):
            self.model.eval()
            with torch.no_grad(), autocast(self.settings, self.device):
                batch = self._empty_batch(self.progress.evaluation_batch, warm_up_length)
                self.forward(batch.tokens, batch.mask)
            self.model.train()
            self._accumulate(self._empty_batch(rows, warm_up_length))
        self.optimizer.zero_grad(set_to_none=True)
        restore_random_state(random, self.device)

    def _empty_batch(self, rows: int, length: int) -> Batch:
        batch = empty_batch(self.shards.task.towers, rows, length)
        return next(self.objective.pose(iter([batch]), TRAINING)).to(self.device)

    def _accumulate(self, batch: Batch) -> Tensor:
        """Compute the gradients of the batch's mean loss, one micro-batch at a time; returns that loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total, asked = torch.zeros((), device=self.device), self.objective.asked(batch)
        for piece in map(self._unless_stopped, batch.split(self.progress.micro_batch)):
            with autocast(self.settings, self.device):
                loss = self.objective.loss(self.forward(piece.tokens, piece.mask), piece.label) / asked
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _check_step(self) -> None:
        """Raise Failed if the loss of a step was not finite."""
        if (bad := int(self.bad_step)) >= 0:
            raise Failed("diverged", f"the training loss was not finite at step {bad}")

    def _evaluate_dev(self) -> None:
        progress = self.progress
        self._check_step()
        self.clock.read()
        since = progress.history[-1]["step"] if progress.history else 0
        train_loss = float(self.loss_sum) / (progress.step - since)
        score = self.evaluate("dev")
        refuse_divergence(progress.step, train_loss, score.loss, self.objective.classes(self.shards.task))
        progress.record(float(self.schedule.get_last_lr()[0]), train_loss, score.loss, score.accuracy)
        self.loss_sum.zero_()
        if progress.best["step"] == progress.step:
            weights = self.model.state_dict()
            # In main memory, so that they survive a fault of the device.
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}

    def evaluate(self, split: Split) -> Score:
        """Score every row of a split."""
        with self.clock.time("evaluation"):
            score = self._retried(
                lambda: evaluate(
                    self.model,
                    self.shards,
                    split,
                    self.settings,
                    self.device,
                    rows=self.progress.evaluation_batch,
                    forward=self.forward,
                    each=self._unless_stopped,
                    objective=self.objective,
                ),
                then=self.compile,
            )
        self.model.train()
        return score

    def _unless_stopped(self, batch: Batch) -> Batch:
        if self.stop:
            raise Interrupted
        return batch

    def save(self) -> None:
        """Write a checkpoint of everything that decides how the run continues."""
        self.clock.read()
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
        self.clock.times = self.progress.times
        self.model.load_state_dict(state["model"])
        self.best_weights = state["best_weights"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.loss_sum = state["loss_sum"].to(self.device)
        self.bad_step = state["bad_step"].to(self.device)
        restore_random_state(state["random"], self.device)
        print(f"going on from step {self.progress.step}", flush=True)

    def _ask_to_stop(self) -> None:
        self.stop = True
