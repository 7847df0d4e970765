from __future__ import annotations

from pathlib import Path

import pytest

from lra.errors import LraError
from lra.results.plots.reading import read_table
from lra.sealing import write_sealed_csv


def test_a_table(tmp_path: Path) -> None:
    write_sealed_csv(tmp_path / "a.csv", ["length", "mean"], [[32, 0.5], [64, None]])
    table = read_table(tmp_path / "a.csv", ("mean",), "lra approximate")
    assert table["length"].tolist() == [32, 64]
    assert table["mean"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "is not there; write it with `lra approximate`."),
        (b"", r"cannot be read \(No columns to parse from file\); write it again with `lra approximate`."),
        (b"a\n1,2\n1,2,3\n", r"cannot be read \(.*\); write it again with `lra approximate`."),
        (b"\xff\xfe", r"cannot be read \(.*\); write it again with `lra approximate`."),
        (b"length\n32\n", "has no column 'mean'; write it again with `lra approximate`."),
        (b"length,mean\n32,0.5\n", "was edited; delete it, and write it again with `lra approximate`."),
    ],
)
def test_something_else_is_one_sentence(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LraError, match=f"^{path} {sentence}") as error:
        read_table(path, ("length", "mean"), "lra approximate")
    assert "\n" not in str(error.value)
