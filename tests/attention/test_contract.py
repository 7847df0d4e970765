"""Every registered method keeps the contract; and the checks notice each way to break it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from lra.attention import build, names
from lra.attention.checking import CHECKS, Check, inputs, maker, masks, violations
from lra.attention.contract import Attention, Draws
from lra.attention.vmean import VMean, mean_value


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", names())
def test_method(name: str, check: Check) -> None:
    check(maker(name))


class Breaking(VMean):
    """V-Mean with one fault."""

    def __init__(self, *, fault: str = "", **common: Any) -> None:
        super().__init__(**common)
        self.fault = fault
        self.kept = torch.randn(self.max_length, 1)  # no parameter and no buffer

    def draw(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, generator: Generator | None = None
    ) -> Draws:
        return {"noise": torch.rand(1, generator=generator)} if self.fault == "determinism" else {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        output = mean_value(value, mask).expand_as(value)
        match self.fault:
            case "shape":
                return output.transpose(1, 2)
            case "arguments":
                mask[:, 0] = True
                return output
            case "finite":
                return output * query.exp().exp()
            case "neighbours":
                return output + value.mean()
            case "padding":
                return value.mean(2, keepdim=True).expand_as(value)
            case "determinism":
                return output + draws["noise"]
            case "half_precision":
                return output + (value.dtype == torch.bfloat16)
            case "state":
                return output + self.kept[0]
            case _:
                return output

    def multiply_adds(self, length: int) -> int:
        return length**2 if self.fault == "cost" else length


@pytest.mark.parametrize(
    "fault",
    ["shape", "arguments", "finite", "neighbours", "padding", "determinism", "half_precision", "state", "cost"],
)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lra.attention import registry

    monkeypatch.setitem(registry.METHODS, "breaking", registry.Method(f"{__name__}:Breaking"))
    monkeypatch.setattr(registry, "load", lambda path: Breaking)
    failed = {check.__name__ for check in CHECKS if _fails(check, fault)}
    assert f"check_{fault}" in failed
    assert all(failure is None for _, failure in violations(maker("breaking")))


def test_an_inexact_method_that_says_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VMean, "exact", True)
    failures = [failure for _, failure in violations(maker("vmean")) if failure]
    assert len(failures) == 1 and "off by" in failures[0]


def _fails(check: Check, fault: str) -> bool:
    try:
        check(maker("breaking", fault=fault))
    except Exception:
        return True
    return False


def test_a_sequence_longer_than_promised() -> None:
    attention: Attention = maker("vmean")(4)
    tensors = [torch.zeros(1, 2, 5, 8)] * 3
    with pytest.raises(ValueError, match="a sequence of 5 tokens, but max_length is 4"):
        attention(*tensors, torch.ones(1, 5, dtype=torch.bool))


class AllPositions(VMean):
    """As many outputs as it has positions, whatever the length."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        return super().attend(query, key, value, mask, draws) + torch.zeros(self.max_length, 1)


def test_a_sequence_shorter_than_the_longest() -> None:
    def make(length: int) -> Attention:
        return AllPositions(heads=2, head_dim=8, max_length=length, features=4)

    (_, failure), *others = violations(make)
    assert failure is not None and failure.startswith("at length 1 of at most 257 it is (3, 2, 257, 8), not (3, 2, 1")
    assert not others


class Frozen(VMean):
    """Nothing of it learns: its output carries no gradient."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, draws: Draws) -> Tensor:
        return super().attend(query, key, value, mask, draws).detach()


def test_without_a_gradient_its_outputs_are_checked_still() -> None:
    def make(length: int) -> Attention:
        return Frozen(heads=2, head_dim=8, max_length=length, features=4)

    assert all(failure is None for _, failure in violations(make))


@pytest.mark.parametrize("name", ["heads", "head_dim", "max_length", "features"])
def test_a_size_of_nothing(name: str) -> None:
    sizes = {"heads": 2, "head_dim": 8, "max_length": 4, "features": 4} | {name: 0}
    with pytest.raises(ValueError, match=f"^{name} must be at least 1, not 0$"):
        VMean(**sizes)


RANDOM = [name for name in names() if build(name, heads=1, head_dim=1, max_length=1).random]


@pytest.mark.parametrize("name", RANDOM)
def test_numbers_for_evaluation_come_from_the_seed_of_the_module(name: str) -> None:
    """Another seed and another layer draw otherwise; the same seed and loaded weights draw the same."""
    arguments = [*inputs(700), masks(700)["prefix"]]

    def layers(seed: int) -> list[Attention]:
        torch.manual_seed(seed)
        return [build(name, heads=2, head_dim=8, max_length=700, features=16).eval() for _ in range(2)]

    first, second = layers(1)
    again, _ = layers(1)
    other, _ = layers(2)
    output = first(*arguments)
    assert torch.equal(output, again(*arguments))
    assert not torch.equal(output, second(*arguments)) and not torch.equal(output, other(*arguments))
    other.load_state_dict(first.state_dict())
    assert torch.equal(output, other(*arguments))


def test_numbers_for_evaluation_survive_a_conversion_to_half_precision() -> None:
    """Rounded to bfloat16, pilots of 4096 tokens would fall on multiples of 16, and some numbers on 1."""
    attention = build("skeinformer", heads=2, head_dim=8, max_length=4096, features=64).eval()
    before = attention.fixed_noise("pilots")
    assert before.min() >= 0 and before.max() < 1 and before.dtype == torch.float32
    for convert in (attention.bfloat16, attention.half, attention.double):
        assert torch.equal(convert().fixed_noise("pilots"), before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_another_default_type(dtype: torch.dtype) -> None:
    """Random numbers stay float32 where a program sets another default, fresh and fixed ones."""
    torch.set_default_dtype(dtype)
    try:
        attention = build("skeinformer", heads=2, head_dim=8, max_length=64, features=16)
        for module in (attention.train(), attention.eval()):
            assert module.noise("pilots", 3, None).dtype == module.fixed_noise("pilots").dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_mean_in_double_precision() -> None:
    value = torch.randn(1, 1, 7, 2, dtype=torch.float64)
    mean = mean_value(value, torch.ones(1, 7, dtype=torch.bool))
    torch.testing.assert_close(mean, value.mean(2, keepdim=True), rtol=1e-14, atol=1e-14)
