from __future__ import annotations

import pytest
import torch

from lra.attention import build
from lra.config.settings import AttentionSettings, ModelSettings
from lra.cost.flops import attention_flops, count_flops
from lra.model import Model, build_model
from lra.tasks.contract import Task

LENGTH, EMBEDDING, HIDDEN, HEADS, HEAD_DIM, LAYERS, CLASSES, FEATURES = 128, 24, 40, 2, 8, 2, 3, 16
INNER = HEADS * HEAD_DIM


def model(attention: str, towers: int = 1) -> Model:
    sizes = ModelSettings(LAYERS, EMBEDDING, HIDDEN, HEADS, HEAD_DIM)
    task = Task("toy", CLASSES, vocabulary=9, max_length=LENGTH, towers=towers)
    return build_model(task, sizes, AttentionSettings(attention, FEATURES))


def inputs(batch: int, towers: int = 1) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    tokens = torch.zeros(batch, LENGTH, dtype=torch.long)
    return [tokens] * towers, [torch.ones_like(tokens, dtype=torch.bool)] * towers


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("attention", ["softmax", "linformer"])
def test_counted_flops_are_those_on_paper(attention: str, batch: int) -> None:
    """Per head 2 n^2 p multiply-adds for softmax, 4 n d p for Linformer; and the matrix products of the model."""
    counted = count_flops(model(attention), *inputs(batch))
    core = {"softmax": 2 * LENGTH**2 * HEAD_DIM, "linformer": 4 * LENGTH * FEATURES * HEAD_DIM}[attention]
    attentions = 2 * batch * LAYERS * HEADS * core
    layer = 4 * EMBEDDING * INNER + 2 * EMBEDDING * HIDDEN
    products = 2 * batch * (LAYERS * LENGTH * layer + EMBEDDING * HIDDEN + HIDDEN * CLASSES)
    assert counted == {
        "flops_forward": attentions + products,
        "flops_attention": attentions,
        "flops_formula": attentions,
    }


@pytest.mark.parametrize("attention", ["nystrom", "informer", "informer_mask"])
def test_a_budget_above_the_length_costs_nothing_more(attention: str) -> None:
    costs = [build(attention, heads=2, head_dim=8, max_length=64, features=d).multiply_adds(64) for d in (64, 65, 500)]
    assert len(set(costs)) == 1


def test_both_towers_count() -> None:
    one, two = count_flops(model("softmax"), *inputs(1)), count_flops(model("softmax", 2), *inputs(1, 2))
    assert two["flops_attention"] == 2 * one["flops_attention"]
    assert two["flops_formula"] == 2 * one["flops_formula"]


def test_flops_of_an_attention_alone_are_its_part_of_the_models() -> None:
    chosen = model("nystrom")
    attentions = [layer.attention.attention.train() for layer in chosen.layers]
    counted = sum(attention_flops(attention, LENGTH, torch.device("cpu")) for attention in attentions)
    assert counted == count_flops(chosen, *inputs(1))["flops_attention"]
    assert all(attention.training for attention in attentions)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept(training: bool) -> None:
    chosen = model("softmax").train(training)
    count_flops(chosen, *inputs(1))
    assert all(module.training is training for module in chosen.modules())
