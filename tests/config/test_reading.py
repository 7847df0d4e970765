"""Files of settings that cannot be read, and which of several a mistake comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lra.config.arena import arena, load, scales
from lra.config.reading import merged, origin, read_config, read_layers, retyped
from lra.errors import LraError


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "mine.yaml is empty; "),
        (b"# nothing\n", "mine.yaml is empty; "),
        (b"softmax\n", "mine.yaml holds str 'softmax', not settings such as `scale: mini`."),
        (
            b"scale: mini\n\ttasks: []\n",
            "mine.yaml cannot be read: line 2, column 1: there is a tab; indent with spaces.",
        ),
        (b"a:\n  b: 1\n c: 2\n", "mine.yaml cannot be read: line 3, column 2: expected <block end>, but found"),
        (b"a: 'x\n", "mine.yaml cannot be read: line 2, column 1: found unexpected end of stream. Look at the ind"),
        (b"a: 1\na: 2\n", "mine.yaml cannot be read: line 2, column 1: this block has the key 'a' again; keep one."),
        (b"a: 1\n# caf\xe9\n", "mine.yaml cannot be read: line 2, column 6 is not UTF-8; save the file as UTF-8."),
        (b"a: \x01\n", "mine.yaml cannot be read: unacceptable character"),
        (b"[" * 5000, "mine.yaml cannot be read: maximum recursion depth"),
        (b"? {a: 1}\n: 2\n", "mine.yaml cannot be read: line 1, column 3: found unhashable key. Look"),
    ],
    ids=str,
)
def test_a_file_that_cannot_be_read(
    content: bytes, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake names no line, and takes the last of two keys."""
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_bytes(content)
    with pytest.raises(LraError) as caught:
        read_config(Path("mine.yaml"))
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_byte_order_mark(tmp_path: Path) -> None:
    with pytest.raises(LraError, match=r"cannot be read: Is a directory\.$"):
        read_config(tmp_path)
    (tmp_path / "mine.yaml").write_bytes(b"\xef\xbb\xbfscale: mini\n")
    assert read_config(tmp_path / "mine.yaml") == {"scale": "mini"}


def test_numbers_of_a_command_line() -> None:
    """Snakemake's --config gives lists and mappings of texts."""
    given = {"seeds": ["1", "2"], "scale": "1", "attentions": [{"nystrom": {"features": "8"}}, "vmean"], "n": 3}
    typed = {"seeds": [1, 2], "scale": "1", "attentions": [{"nystrom": {"features": 8}}, "vmean"], "n": 3}
    assert retyped(given) == typed


@pytest.mark.parametrize(
    ("problem", "file"),
    [
        ("scales.mini.model.heads: 0 is less than 1", "a.yaml"),
        ("scales.mini.model.layers: 0 is less than 1", "b.yaml"),
        ("scales.mini.model: unknown key 'head'. Did you mean 'heads'?", "a.yaml"),
        ("attentions.vmean: unknown key 'x'.", "a.yaml"),
        ("seeds.1: 'x' is not a whole number.", "--config"),
        ("the file: 'scale' is missing.", "a.yaml"),
        ("the file: unknown key 'sead'.", "b.yaml"),
    ],
)
def test_the_file_that_a_mistake_comes_from(problem: str, file: str) -> None:
    """The last one that says something of it, not always config.yaml."""
    first = {"scales": {"mini": {"model": {"heads": 0, "head": 1}}}, "seeds": [1], "attentions": ["vmean"]}
    second = {"scales": {"mini": {"model": {"layers": 0}}}, "sead": 3}
    assert origin(problem, {"a.yaml": first, "b.yaml": second, "--config": {"seeds": [1, "x"]}}) == file


def test_a_mistake_of_one_file_names_it() -> None:
    with pytest.raises(LraError, match=r"^mine.yaml: the file: 'tasks' is missing\. The tasks to run"):
        arena({"scale": "mini"}, files={"mine.yaml": {"scale": "mini"}})
    with pytest.raises(LraError, match=r"^config.yaml: the file"):
        arena({"scale": "mini"})


def test_files_and_single_settings_override_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `--configfile` and `--config` of Snakemake: block by block; single settings last, wherever they stand."""
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("scale: mini\nmeasure: {features: 256, memory_gib: 16}\nseeds: [1]\n")
    Path("mine.yaml").write_text("measure: {features: 32}\nseeds: [1, 2]\n")
    layers = read_layers(["seeds=[3]", "config.yaml", "mine.yaml", "measure.memory_gib=2"])
    assert list(layers) == ["config.yaml", "mine.yaml", "seeds=[3]", "measure.memory_gib=2"]
    whole = merged(layers.values())
    assert whole == {"scale": "mini", "measure": {"features": 32, "memory_gib": 2}, "seeds": [3]}
    assert layers["config.yaml"]["measure"] == {"features": 256, "memory_gib": 16}
    assert merged(read_layers(["scale=paper"]).values())["scale"] == "paper"
    Path("a=b.yaml").write_text("scale: modern\n")
    assert read_layers(["a=b.yaml"]) == {"a=b.yaml": {"scale": "modern"}}
    with pytest.raises(LraError, match=r"^--config seeds=\[1: the value is not YAML; quote it as in 'seeds=\[1, 2\]'"):
        read_layers(["seeds=[1"])


def test_a_mistake_in_a_single_setting_is_named() -> None:
    with pytest.raises(LraError, match=r"^scale=minni: scale: 'minni'"):
        load("scale=minni")
    assert load("scale=paper").scale == "paper"
    assert {one.scale for one in scales("scale=paper")} >= {"mini", "paper", "modern"}
