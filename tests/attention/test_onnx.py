"""Methods exported, and in ONNX Runtime: the same outputs at real tokens as in torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.export import Dim

from lra.attention import build
from lra.attention.exporting import translations

onnxruntime = pytest.importorskip("onnxruntime", reason="no ONNX Runtime is installed")
pytestmark = [pytest.mark.slow, pytest.mark.long]

ANY_LENGTH = ["softmax", "softmax_nodropout", "vmean", "bigbird", "linformer"]
ANY_LENGTH += ["skeinformer", "skein_uniform", "skein_nonorm", "skein_simplenorm", "skein_nopilot"]
ANY_LENGTH += ["local", "longformer", "sparse", "linear", "synthesizer", "luna", "skyformer", "cosformer"]
ANY_LENGTH += ["hierarchical", "retention"]
ONE_LENGTH = ["informer", "informer_mask"]
REFUSED = ["performer", "nystrom", "reformer", "linformer_jlt", "fnet", "s4d"]
SIZES = ({0: Dim.AUTO, 2: Dim.AUTO},) * 3 + ({0: Dim.AUTO, 1: Dim.AUTO},)


def arguments(length: int, batch: int = 2) -> list[Tensor]:
    """Query, key, value and a mask that leaves a third of the last example."""
    torch.manual_seed(length)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[-1, length // 3 :] = False
    return [*torch.randn(3, batch, 2, length, 8), mask]


@pytest.mark.parametrize("name", ANY_LENGTH + ONE_LENGTH)
def test_same_outputs(name: str, tmp_path: Path) -> None:
    attention = build(name, heads=2, head_dim=8, max_length=256, features=16).eval()
    anything = name in ANY_LENGTH
    program = torch.onnx.export(
        attention,
        tuple(arguments(200)),
        dynamo=True,
        verbose=False,
        dynamic_shapes=SIZES if anything else None,
        custom_translation_table=translations(),
    )
    assert program is not None
    program.save(tmp_path / "attention.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "attention.onnx", providers=["CPUExecutionProvider"])
    assert program.exported_program is not None
    exported = program.exported_program.module()
    for length, batch in ((200, 2), (130, 3)) if anything else ((200, 2),):
        given = arguments(length, batch)
        if name != "hierarchical":
            torch.testing.assert_close(exported(*given), attention(*given), atol=1e-5, rtol=1e-5)
        feed = {place.name: tensor.numpy() for place, tensor in zip(session.get_inputs(), given, strict=True)}
        (output,) = session.run(None, feed)
        real = given[3][:, None, :, None]
        found = torch.where(real, torch.from_numpy(output), 0)
        torch.testing.assert_close(found, torch.where(real, attention(*given), 0), atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_the_exporter_refuses_the_others(name: str) -> None:
    """So docs/attentions.md says; a method that passes here belongs into the lists above."""
    attention = build(name, heads=2, head_dim=8, max_length=256, features=16).eval()
    with pytest.raises(torch.onnx.errors.OnnxExporterError):
        torch.onnx.export(attention, tuple(arguments(200)), dynamo=True, custom_translation_table=translations())


class Search(torch.nn.Module):
    """Searches from either side, and a stable sort of equal values in either order."""

    def forward(self, boundaries: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        searched = [torch.searchsorted(boundaries, values, right=right) for right in (False, True)]
        sorts = [torch.sort(values, stable=True, dim=-1, descending=descending) for descending in (False, True)]
        return (*searched, *(tensor for sort in sorts for tensor in sort))


def test_translations_keep_sides_and_ties(tmp_path: Path) -> None:
    boundaries = torch.tensor([[1, 2, 2, 5], [0, 0, 3, 3]])
    values = torch.tensor([[2, 5, 0, 2, 6], [3, 0, 3, 1, 0]])
    program = torch.onnx.export(
        Search().eval(), (boundaries, values), dynamo=True, verbose=False, custom_translation_table=translations()
    )
    assert program is not None
    program.save(tmp_path / "search.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "search.onnx", providers=["CPUExecutionProvider"])
    names = [place.name for place in session.get_inputs()]
    found = session.run(None, dict(zip(names, (boundaries.numpy(), values.numpy()), strict=True)))
    wanted = Search()(boundaries, values)
    assert [one.tolist() for one in found] == [one.tolist() for one in wanted]
