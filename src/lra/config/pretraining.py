"""The pretraining that a run starts from, as a run of its own."""

from __future__ import annotations

from dataclasses import asdict, replace

from lra.config.settings import Experiment


def pretraining(experiment: Experiment) -> Experiment:
    """The run that predicts hidden tokens, from which an experiment with ``pretrain`` starts.

    It holds only settings that affect it: a change of the experiment's number of steps, for example, repeats no
    pretraining.
    """
    assert experiment.pretrain is not None
    own = asdict(experiment.pretrain)
    mask = own.pop("mask")
    train = replace(experiment.train, **own, patience_steps=own["steps"], seconds=None, flops=None)
    return replace(experiment, train=train, mask=mask, pretrain=None)
