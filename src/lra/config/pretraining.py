"""The pretraining that a run starts from, as a run of its own."""

from __future__ import annotations

from dataclasses import asdict, replace

from lra.config.settings import Experiment


def pretraining(experiment: Experiment) -> Experiment:
    """What is trained, on hidden tokens, before an experiment that has ``pretrain``.

    Nothing of the experiment's own training that the pretraining does not share is in it, so that a change of the one
    leaves the other as it is.
    """
    assert experiment.pretrain is not None
    own = asdict(experiment.pretrain)
    mask = own.pop("mask")
    train = replace(experiment.train, **own, patience_steps=own["steps"], seconds=None, flops=None)
    return replace(experiment, train=train, mask=mask, pretrain=None)
