from __future__ import annotations

from pathlib import Path

import pytest

from lra import fingerprint as module
from lra.errors import LraError
from lra.fingerprint import fingerprint

SOURCE = '''"""A method."""

from lra.attention.vmean import VMean  # the base


class Mine(VMean):
    """Mine."""

    size = 3
    """How large."""

    def attend(self):
        """Attend."""
        return self.size
'''


@pytest.fixture
def method(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def taken(root: Path | str) -> str:
    for cache in (module._reachable, module._imports, module._tree, module._code):
        cache.cache_clear()
    return fingerprint(str(root))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# the base", "# another comment"),
        ('"""A method."""', '"""Another text."""'),
        ('"""Mine."""', ""),
        ('"""How large."""', '"""How small."""'),
        ('        """Attend."""\n', ""),
        ("size = 3", "size  =  (3)"),
    ],
)
def test_what_changes_nothing(method: Path, old: str, new: str) -> None:
    before = taken(method)
    assert old in SOURCE
    method.write_text(SOURCE.replace(old, new))
    assert taken(method) == before


@pytest.mark.parametrize(("old", "new"), [("size = 3", "size = 4"), ("return self.size", "return -self.size")])
def test_what_changes_the_result(method: Path, old: str, new: str) -> None:
    before = taken(method)
    method.write_text(SOURCE.replace(old, new))
    assert taken(method) != before


def test_imports_of_the_package_count() -> None:
    training = module._reachable("lra.training.trainer")
    assert {"lra.training.trainer", "lra.model", "lra.data.batches", "lra.attention.contract"} <= set(training)
    assert not any(name.startswith("lra.results") or name == "lra.cli.main" for name in training)
    assert "lra.attention.vmean" in module._reachable("lra.attention.informer")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, code in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code)


BESIDE = {
    "mine.py": "import kernels.fast\nfrom helper import scale\nimport json\n",
    "helper.py": "def scale(x): return x",
    "kernels/__init__.py": "from . import slow",
    "kernels/slow.py": "from json import dumps\nN = 1",
    "kernels/fast.py": "from .slow import N\nfrom kernels.deep.er import M",
    "kernels/deep/er.py": "M = 1",
    "other.py": "x = 1",
}


@pytest.mark.parametrize("changed", BESIDE)
def test_files_beside_a_file_count_where_it_imports_them(changed: str, tmp_path: Path) -> None:
    write(tmp_path, BESIDE)
    before = taken(tmp_path / "mine.py")
    (tmp_path / changed).write_text(BESIDE[changed] + "\nchanged = True\n")
    assert (taken(tmp_path / "mine.py") != before) == (changed != "other.py")


def test_a_folder_may_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here", BESIDE)
    write(tmp_path / "there", BESIDE)
    monkeypatch.chdir(tmp_path / "there")
    assert taken(tmp_path / "here" / "mine.py") == taken("mine.py")


PACKAGED = {
    "of_mine/__init__.py": "raise AssertionError('nothing is run')",
    "of_mine/attention.py": "import of_mine.kernels\nfrom . import helper\nfrom ._cc import nothing\nimport beside\n",
    "of_mine/kernels.py": "N = 1",
    "of_mine/helper.py": "N = 1",
    "of_mine/other.py": "N = 1",
    "beside.py": "N = 1",
}


@pytest.mark.parametrize("changed", PACKAGED)
def test_modules_of_its_own_package_count_where_a_module_imports_them(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, PACKAGED)
    monkeypatch.syspath_prepend(tmp_path)
    before = taken("of_mine.attention")
    (tmp_path / changed).write_text(PACKAGED[changed] + "\nchanged = True\n")
    counted = changed in ("of_mine/__init__.py", "of_mine/attention.py", "of_mine/kernels.py", "of_mine/helper.py")
    assert (taken("of_mine.attention") != before) == counted


def test_methods_are_independent_of_each_other() -> None:
    """No method but those that share a family reaches another's file, and none the table of methods."""
    from lra.attention import METHODS

    shared = {
        f"lra.attention{part}"
        for part in (
            "",
            ".contract",
            ".dropout",
            ".exact",
            ".fused",
            ".gather",
            ".kernels",
            ".launching",
            ".linear",
            ".local",
            ".vmean",
        )
    }
    for method in METHODS.values():
        name = method.path.partition(":")[0]
        reached = {other for other in module._reachable(name) if other.startswith("lra.attention")}
        assert reached - shared == {name} - shared, name


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(LraError, match=r"the file 'nowhere.py' is not there"):
        fingerprint("nowhere.py")
    with pytest.raises(LraError, match=r"no Python module 'no.such.module'"):
        fingerprint("no.such.module")


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef f(:\n")
    with pytest.raises(LraError, match=rf"{path}, line 2"):
        fingerprint(str(path))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "binary.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LraError, match=rf"^{path} is not a Python file: .* can't decode byte 0xff"):
        fingerprint(str(path))


def test_an_empty_name_is_no_package() -> None:
    assert module._installed("") == []


def test_a_file_that_no_parser_takes_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A null byte: an older Python has a ValueError for it."""

    def parse(*arguments: object) -> None:
        raise ValueError("source code string cannot contain null bytes")

    path = tmp_path / "odd.py"
    path.write_text("x = 1")
    monkeypatch.setattr(module.ast, "parse", parse)
    with pytest.raises(LraError, match=rf"^{path} is not a Python file: source code string cannot contain null bytes"):
        fingerprint(str(path))


def test_a_file_that_the_parser_finds_too_deep(method: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How deep that is depends on the stack, and so on who calls."""

    def parse(*arguments: object) -> None:
        raise RecursionError

    monkeypatch.setattr(module.ast, "parse", parse)
    with pytest.raises(LraError, match=r"mine\.py nests too deeply"):
        fingerprint(str(method))
