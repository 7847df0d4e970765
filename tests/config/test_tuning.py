"""What is tried before a learning rate is chosen, as config.yaml says it."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra.config.arena import arena
from lra.errors import LraError

CONFIG = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())


def tuned(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    config["scales"]["mini"]["tune"] = {"learning_rate": [2e-3, 6e-3], "steps": 60, "seed": 1000} | changes
    return config


def test_tries_differ_from_a_run_in_rate_steps_and_seed() -> None:
    chosen = arena(tuned())
    tries, usual = chosen.tries("softmax", "image"), chosen.experiment("softmax", "image", seed=1)
    assert list(tries) == ["rate-0.002", "rate-0.006"]
    # The warm-up keeps its share of the steps: 40 of 200.
    train = dataclasses.replace(usual.train, learning_rate=2e-3, steps=60, warmup=12)
    assert tries["rate-0.002"] == dataclasses.replace(usual, seed=1000, train=train)


def test_a_bound_on_compute_is_for_the_final_runs() -> None:
    config = tuned()
    config["scales"]["mini"]["tasks"]["image"]["train"] |= {"flops": 1e9, "seconds": 5.0}
    train = arena(config).tries("softmax", "image")["rate-0.002"].train
    assert (train.flops, train.seconds) == (None, None)


def test_without_the_block_nothing_is_tried() -> None:
    for config in (CONFIG, tuned() | {"scale": "paper"}):
        chosen = arena(config)
        assert chosen.tune is None and chosen.tries("softmax", "text") == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 1}, "scales.mini.tune.seed: 1 is one of `seeds`, whose runs must not choose their own learning rate"),
        ({"steps": 130}, "scales.mini.tune.steps: 130 is more than the 120 steps of listops; give fewer"),
        ({"learning_rate": []}, "scales.mini.tune.learning_rate: nothing is listed"),
        ({"learning_rate": [1e-3, 1e-3]}, "scales.mini.tune.learning_rate: an entry is listed twice"),
        ({"rate": 1}, "scales.mini.tune: unknown key 'rate'"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LraError, match=sentence) as error:
        arena(tuned(**changes))
    assert "\n" not in str(error.value)
