"""Operators that torch's exporter to ONNX does not know, for the methods that use them.

    torch.onnx.export(model, arguments, dynamo=True, custom_translation_table=translations())

This needs the packages onnx and onnxscript.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The table of translations; its functions make nodes of ONNX.

    Raises:
        ModuleNotFoundError: onnxscript is not installed.
    """
    from onnxscript import opset18

    onnx: Any = opset18  # its types do not know that lists become constants
    integer = 7  # TensorProto.INT64

    def search_sorted(
        boundaries: Any, values: Any, out_int32: bool = False, right: bool = False, side: str | None = None
    ) -> Any:
        """The number of boundaries (..., n) below each value (..., m), or not above it: (..., m)."""
        compare = onnx.LessOrEqual if right or side == "right" else onnx.Less
        passed = compare(onnx.Unsqueeze(boundaries, [-2]), onnx.Unsqueeze(values, [-1]))
        return onnx.ReduceSum(onnx.Cast(passed, to=integer), [-1], keepdims=0)

    def sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """Sorted values and their places. TopK puts the first of two equal values first, so it is stable."""
        count = onnx.Slice(onnx.Shape(values), [dim], [dim + 1 or 2**31], [0])
        return onnx.TopK(values, count, axis=dim, largest=int(descending), sorted=1)

    aten = torch.ops.aten
    return {aten.searchsorted.Tensor: search_sorted, aten.sort.stable: sort}
