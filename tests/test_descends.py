"""Whether a class descends from another, told without running its module."""

from __future__ import annotations

from pathlib import Path

import pytest

from lra.config.attentions import ATTENTION
from lra.fingerprint import descends


@pytest.mark.parametrize(
    ("code", "descended"),
    [
        ("class Mine: ...", False),
        ("class Mine(object): ...", False),
        ("import torch\nclass Mine(torch.nn.Module): ...", False),
        ("from torch import nn\nclass Mine(nn.Module): ...", False),
        ("from lra.attention import Attention\nclass Mine(Attention): ...", True),
        ("import lra.attention as a\nclass Mine(a.Attention): ...", True),
        ("from lra.attention.contract import Attention as A\nclass B(A): ...\nclass Mine(B): ...", True),
        ("from lra.attention.vmean import VMean\nclass Mine(VMean): ...", True),
        ("from lra.attention.vmean import VMean as Mine", True),
        ("class B: ...\nclass Mine(B): ...", False),
        ("from nowhere import B\nclass Mine(B): ...", None),
        ("class Mine(B): ...", None),
        ("from lra.attention import Attention\nfrom nowhere import B\nclass Mine(B, Attention): ...", True),
        ("import functools\n@functools.cache\nclass Mine: ...", None),
        ("class Mine(Mine): ...", None),
        ("class Mine(make()): ...", None),
    ],
)
def test_descends(code: str, descended: bool | None, tmp_path: Path) -> None:
    """Snakemake planned runs of classes that are no attentions, and each failed when its turn came."""
    file = tmp_path / "mine.py"
    file.write_text(code)
    assert descends(str(file), "Mine", ATTENTION) is descended


def test_a_module_that_is_not_there() -> None:
    assert descends("no_such_package.mine", "Mine", ATTENTION) is None
