"""Recorded inputs, draws, outputs and gradients of the paper's released attention modules (``tests/golden/*.npz``).

``<attention>__<case>.npz`` holds float32 arrays q, k, v, mask, gout (upstream gradient), rows (stored positions), out,
gq, gk, gv at those rows, the random choices by name, and meta (JSON). Measured against float64 references the records
are good to 2e-6 (nystrom: 5e-6).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lra.attention import Attention

FOLDER = Path(__file__).parent.parent / "golden"
COMMON = {"q", "k", "v", "mask", "gout", "rows", "out", "gq", "gk", "gv", "gq_once", "gk_once", "gv_once", "meta"}


@dataclass(frozen=True)
class Record:
    """One golden file: its arrays as tensors, and what ``meta`` says."""

    name: str
    arrays: dict[str, Tensor]
    meta: dict[str, Any]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(batch, heads, length, head_dim)"""
        return tuple(self.arrays["v"].shape)  # type: ignore[return-value]

    @property
    def mask(self) -> Tensor:
        return self.arrays["mask"].bool()

    @property
    def draws(self) -> dict[str, Tensor]:
        """All arrays that only this method has: its recorded random choices and parameters."""
        return {
            name: array.long() if not array.is_floating_point() else array
            for name, array in self.arrays.items()
            if name not in COMMON
        }


def cases(attention: str) -> list[str]:
    """The recorded cases of one attention, e.g. ``["a", "b", "c"]``."""
    return sorted(path.stem.split("__")[1] for path in FOLDER.glob(f"{attention}__*.npz"))


def load(attention: str, case: str) -> Record:
    with np.load(FOLDER / f"{attention}__{case}.npz", allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    meta = json.loads(str(arrays.pop("meta")))
    return Record(f"{attention}__{case}", {name: torch.from_numpy(array) for name, array in arrays.items()}, meta)


def assert_equal(attention: Attention, record: Record, draws: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Run ``attention`` on the record's inputs; its output and gradients must be the recorded ones."""
    arrays = record.arrays
    inputs = {name: arrays.get(name, torch.zeros_like(arrays["v"])).clone().requires_grad_() for name in "qkv"}
    output = attention(*inputs.values(), record.mask, draws)
    output.backward(arrays["gout"])
    rows = arrays["rows"].long()
    real = record.mask[:, None, rows, None].expand_as(arrays["out"])
    assert_close(output.detach()[:, :, rows][real], arrays["out"][real], tolerance, f"{record.name} output")
    for name, tensor in inputs.items():
        expected = arrays.get(f"g{name}_once", arrays.get(f"g{name}"))
        if expected is not None:
            gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            assert_close(gradient[:, :, rows], expected.float(), tolerance, f"{record.name} gradient of {name}")


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    difference = (actual - expected).abs().max().item()
    assert difference <= tolerance, f"{what}: off by {difference:.2e}, more than {tolerance:.0e}"
