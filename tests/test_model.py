from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm, linear, scaled_dot_product_attention

from lra.attention.dropout import Dropout
from lra.attention.vmean import VMean
from lra.config.settings import AttentionSettings, ModelSettings
from lra.model import Model, build_model, padded_length, rotate, trims
from lra.tasks.contract import Task

SMALL = ModelSettings(layers=2, embedding=16, hidden=24, heads=2, head_dim=4)


class Whole(VMean):
    """Wants every sequence at full length."""

    fixed_length = True


def model(attention: str = "softmax_nodropout", task: Task | None = None, sizes: ModelSettings = SMALL) -> Model:
    torch.manual_seed(0)
    module = f"{__file__}:Whole" if attention == "whole" else None
    settings = AttentionSettings(attention, features=8, module=module)
    task = task or Task("toy", classes=3, vocabulary=9, max_length=20)
    return build_model(task, sizes, settings).eval()


def inputs(rows: int = 4, length: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 9, (rows, length), generator=generator)
    mask = torch.arange(length) < torch.tensor([length, length - 7, 3, 1])[:rows, None]
    return tokens, mask


def test_it_is_a_pre_norm_encoder() -> None:
    """One layer of exact attention, written out."""
    built = model()
    tokens, mask = inputs()
    x = built.tokens(tokens) + built.positions.weight[:20]
    for layer in built.layers:
        y = layer_norm(x, (16,), layer.attention_norm.weight, layer.attention_norm.bias)
        parts = [
            linear(y, part.weight, part.bias).unflatten(-1, (2, 4)).transpose(1, 2)
            for part in (layer.attention.query, layer.attention.key, layer.attention.value)
        ]
        attended = scaled_dot_product_attention(*parts, attn_mask=mask[:, None, None, :]).transpose(1, 2).flatten(2)
        x = x + layer.attention.output(attended)
        x = x + layer.mlp(layer.mlp_norm(x))
    x = built.norm(x)
    mean = torch.stack([row[real].mean(0) for row, real in zip(x, mask, strict=True)])
    torch.testing.assert_close(built([tokens], [mask]), built.head(mean))


@pytest.mark.parametrize("attention", ["softmax", "skeinformer", "reformer"])
def test_neither_neighbours_nor_padding_matter(attention: str) -> None:
    built = model(attention)
    tokens, mask = inputs()
    together = built([tokens], [mask])
    for row, length in enumerate(mask.sum(-1).tolist()):
        alone = built([tokens[row : row + 1, :length]], [mask[row : row + 1, :length]])
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


def test_two_towers_share_their_encoder() -> None:
    built = model(task=Task("pairs", classes=2, vocabulary=9, max_length=20, towers=2))
    tokens, mask = inputs()
    other, other_mask = tokens.flip(0), mask.flip(0)
    x, y = built.encode(tokens, mask), built.encode(other, other_mask)
    wanted = built.head(torch.cat([x, y, x * y, x - y], -1))
    torch.testing.assert_close(built([tokens, other], [mask, other_mask]), wanted)


def test_two_towers_of_different_lengths() -> None:
    """Each tower of a batch may be padded to its own longest sequence."""
    built = model(task=Task("pairs", classes=2, vocabulary=9, max_length=20, towers=2))
    tokens, mask = inputs()
    short, short_mask = inputs(length=12)
    padded = [torch.nn.functional.pad(tensor, (0, 8)) for tensor in (short, short_mask)]
    wanted = built([tokens, padded[0]], [mask, padded[1]])
    torch.testing.assert_close(built([tokens, short], [mask, short_mask]), wanted)
    wanted = built([padded[0], tokens], [padded[1], mask])
    torch.testing.assert_close(built([short, tokens], [short_mask, mask]), wanted)


def test_a_method_whose_queries_are_keys_has_no_key_projection() -> None:
    assert all(layer.attention.key is None for layer in model("reformer").layers)
    assert all(isinstance(layer.attention.key, nn.Linear) for layer in model("softmax").layers)


@pytest.mark.parametrize(("longest", "padded"), [(1, 1), (1024, 1024), (2000, 2048), (4000, 4096)])
def test_padded_length(longest: int, padded: int) -> None:
    assert padded_length(Task("toy", 2, 9, longest)) == padded


@pytest.mark.parametrize(
    ("attention", "pad", "trimmed"),
    [("vmean", "length", False), ("vmean", "batch", True), ("vmean", "bucket", True), ("whole", "batch", False)],
)
def test_padding_is_saved_where_settings_and_attention_allow_it(attention: str, pad: str, trimmed: bool) -> None:
    built = model(attention)
    assert trims(built, pad) == trimmed


@pytest.mark.parametrize("name", ["softmax_nodropout", "informer", "skeinformer"])
def test_it_compiles_for_batches_of_several_sizes(name: str) -> None:
    """As the last batch of a split has another, and with an attention's random choices as without compiling.

    Dropout is left out: where it is compiled it is torch's own, since that of this package does not compile.
    """
    torch._dynamo.reset()
    built = model(name).train()
    for layer in built.modules():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    forward = torch.compile(built, backend="aot_eager")
    tokens, mask = inputs()
    for rows in (4, 3):
        torch.manual_seed(2)
        expected = built([tokens[:rows]], [mask[:rows]])
        torch.manual_seed(2)
        torch.testing.assert_close(forward([tokens[:rows]], [mask[:rows]]), expected)


def test_rotary_positions_are_turns_of_the_complex_plane() -> None:
    x = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    angle = torch.arange(7.0)[:, None] * 10000.0 ** (-torch.arange(4.0) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(()), angle)
    torch.testing.assert_close(rotate(x), torch.cat([turned.real, turned.imag], -1), atol=1e-6, rtol=1e-6)
    assert rotate(x.bfloat16()).dtype == torch.bfloat16


def test_with_rotary_positions_products_depend_on_the_distance_only() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8)
    products = rotate(query.expand(-1, -1, 9, -1)) @ rotate(key.expand(-1, -1, 9, -1)).mT  # (1, 1, 9, 9)
    torch.testing.assert_close(products[..., :-1, :-1], products[..., 1:, 1:], atol=1e-5, rtol=1e-5)
    assert products[0, 0, 0].std() > 0.01


COMPARES_NOTHING = ["vmean", "fnet", "s4d", "synthesizer"]


@pytest.mark.parametrize("attention", ["softmax_nodropout", "reformer", *COMPARES_NOTHING])
def test_every_method_that_compares_gets_rotary_positions_instead_of_learned_ones(attention: str) -> None:
    """Without any positions no method could tell an order; with V-Mean, which compares nothing, rotary ones cannot."""
    built = model(attention, sizes=dataclasses.replace(SMALL, positions="rotary"))
    tokens, mask = torch.tensor([[1, 2, 3, 4]]), torch.ones(1, 4, dtype=torch.bool)
    assert (built.positions is None) == (attention not in COMPARES_NOTHING)
    assert not torch.allclose(built([tokens], [mask]), built([tokens.flip(1)], [mask]), atol=1e-6)


def test_rotary_queries_and_keys_reach_the_attention() -> None:
    built = model(sizes=dataclasses.replace(SMALL, positions="rotary"))
    part = next(iter(built.layers)).attention
    x = torch.randn(2, 5, 16)
    query, key, value = part.project(x)
    torch.testing.assert_close(query, rotate(part.split(part.query(x))))
    torch.testing.assert_close(key, rotate(part.split(part.key(x))))
    torch.testing.assert_close(value, part.split(part.value(x)))
