"""A model with its optimiser, and one step of its training on random examples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lra.config.settings import AttentionSettings, ModelSettings, Precision, TrainSettings
from lra.cost.probes import allocated_peak, milliseconds, size
from lra.model import build_model, padded_length
from lra.tasks.description import Task
from lra.training.optim import autocast, make_optimizer

Examples = tuple[list[Tensor], list[Tensor], Tensor]
"""Token ids and mask, each (batch, length) for each tower, and labels (batch,)."""


class Step:
    """The model of an attention for a task, its optimiser, and random examples of the task."""

    def __init__(
        self, task: Task, model: ModelSettings, attention: AttentionSettings, precision: Precision, device: torch.device
    ) -> None:
        self.task, self.device, self.length = task, device, padded_length(task)
        # Only the precision, the padding and the optimiser's constants of these settings are used.
        self.train = TrainSettings(1, 1e-4, warmup=1, steps=1, evaluate_every=1, precision=precision, pad="bucket")
        torch.manual_seed(0)
        self.model = build_model(task, model, attention).to(device)
        self.optimizer, _ = make_optimizer(self.model, self.train, steps=1)
        self._make_optimizer_state()

    def _make_optimizer_state(self) -> None:
        """Update by zero: this allocates the optimiser's state before any step is measured."""
        for parameter in self.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def examples(self, batch: int, length: int | None = None, real: int | None = None) -> Examples:
        """Random examples.

        Args:
            batch: number of examples.
            length: positions of each, padding included; None for the task's full length.
            real: real tokens of each, at its beginning; None for all positions.
        """
        length = length or self.length
        shape = (batch, length)
        tokens = [torch.randint(self.task.vocabulary, shape, device=self.device) for _ in range(self.task.towers)]
        mask = [(torch.arange(length, device=self.device) < (real or length)).repeat(batch, 1) for _ in tokens]
        return tokens, mask, torch.randint(self.task.classes, (batch,), device=self.device)

    def gradients(self, examples: Examples) -> None:
        """Compute the gradients: a forward and a backward pass."""
        tokens, mask, label = examples
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.train, self.device):
            loss = cross_entropy(self.model(tokens, mask), label)
        loss.backward()

    def run(self, examples: Examples) -> None:
        """Take one optimiser step: gradients and update."""
        self.gradients(examples)
        self.optimizer.step()

    @torch.no_grad()
    def infer(self, examples: Examples) -> None:
        """Run a forward pass in evaluation mode, without gradients."""
        self.model.eval()
        with autocast(self.train, self.device):
            self.model(*examples[:2])
        self.model.train()

    def time(self, examples: Examples) -> tuple[float, float]:
        """Milliseconds of one optimiser step, and of its update alone."""
        gradients = milliseconds(lambda: self.gradients(examples), self.device)
        update = milliseconds(self.optimizer.step, self.device)
        return gradients + update, update

    def fixed_memory(self) -> int:
        """Bytes of weights, buffers and the optimiser's state."""
        states = [value for state in self.optimizer.state.values() for value in state.values()]
        return size([*self.model.parameters(), *self.model.buffers(), *states])

    def peak(self, batch: int) -> int:
        """Most bytes held at any moment of a step of ``batch`` examples, fixed memory included."""
        self.optimizer.zero_grad(set_to_none=True)
        return self.fixed_memory() + allocated_peak(lambda: self.run(self.examples(batch)), self.device)
