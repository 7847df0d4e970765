"""A published number is one that a run of committed code measured, and an edited one is refused."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from tests.workflow.arena import configuration

from lra.cli.main import main
from lra.errors import LraError
from lra.files import read_json, sealed, sha256
from lra.sharing import publications
from lra.sharing.checkout import clean_commit
from lra.sharing.publications import read_publication, read_reference
from lra.training.run_folder import run_key

RUNS = Path("results/runs/mini/listops/vmean")
ONE = Path("reference/mini/listops/vmean/seed-1.json")
COMMIT = "a" * 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arena with two seeds of a cell."""
    folder = tmp_path_factory.mktemp("arena")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("config.yaml").write_text(yaml.safe_dump(configuration(seeds=[1, 2])))
        assert main(["prepare", "listops", "--workers", "1"]) == 0
        for seed in ("1", "2"):
            train = ["train", "--attention", "vmean", "--task", "listops", "--threads", "1", "--seed", seed]
            assert main([*train, "--out", str(RUNS / f"seed-{seed}")]) == 0
    return folder


@pytest.fixture
def arena(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, whose checkout counts as clean."""
    folder = Path(shutil.copytree(made, tmp_path / "arena"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(publications, "clean_commit", lambda: COMMIT)
    return folder


@pytest.fixture
def published(arena: Path) -> Path:
    """The publication of the first seed, somewhere else than in reference/."""
    assert main(["publish", str(RUNS / "seed-1"), "--by", "A. Name"]) == 0
    return Path(shutil.move("reference", "theirs")) / ONE.relative_to("reference")


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a file as someone would who knows how it is sealed."""
    content = read_json(path)
    change(content)
    metrics = content.get("metrics", content)
    metrics["key"] = run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    if metrics is not content:
        content["metrics"] = sealed(metrics)
    path.write_text(json.dumps(sealed(content)))


def test_what_is_published(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(RUNS / "seed-1"), str(RUNS / "seed-2"), "--by", "A. Name"]) == 0
    assert capsys.readouterr().out.split() == [str(ONE), str(ONE.with_name("seed-2.json"))]
    content, metrics = read_json(ONE), read_json(RUNS / "seed-1/metrics.json")
    assert content["metrics"] == metrics
    assert content["provenance"]["commit"] == COMMIT and content["provenance"]["by"] == "A. Name"
    assert content["provenance"]["merged"] is False
    assert len(content["correct"]) == 4 * -(-8 // 3), "60 test rows are 8 bytes"
    first, second = read_reference()
    assert first.answers().mean() == pytest.approx(metrics["test_accuracy"])
    assert len(first.answers()) == 60 and not np.array_equal(first.metrics["seed"], second.metrics["seed"])
    assert main(["publish", str(RUNS / "seed-1"), "--by", "A. Name"]) == 1
    assert "exists already; delete it first to replace it." in capsys.readouterr().err


def without_weights(run: Path) -> None:
    (run / "model.safetensors").unlink()


def failed(content: dict[str, Any]) -> None:
    content |= {"status": "oom"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_weights, "has no weights; publish the run on the machine that has them"),
        (lambda run: (run / "history.csv").write_text("x"), "is damaged or another run's"),
        (lambda run: resealed(run / "metrics.json", failed), "ended as oom; only runs with results are published"),
        (lambda run: resealed(run / "metrics.json", lambda c: c.update(max_steps=3)), "was cut short at 3 steps"),
        (lambda run: resealed(run / "metrics.json", lambda c: c.update(code="x")), "was trained by other code"),
        (lambda run: resealed(run / "metrics.json", lambda c: c.update(data="x")), "was trained on other examples"),
        (lambda run: resealed(run / "metrics.json", lambda c: c.pop("compile_seconds")), "no 'compile_seconds'"),
        (lambda run: resealed(run / "metrics.json", lambda c: c["machine"].pop("torch")), "its machine has no 'torch'"),
        (
            lambda run: resealed(run / "metrics.json", lambda c: c["settings"]["train"].update(steps=5)),
            "train.steps is 5, not 4",
        ),
    ],
)
def test_what_is_not_published(
    arena: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], why: str
) -> None:
    change(RUNS / "seed-1")
    assert main(["publish", str(RUNS / "seed-1"), "--by", "A. Name"]) == 1
    assert why in capsys.readouterr().err
    assert not list(Path().glob("reference/**/*.json"))


def test_the_commit_is_that_of_a_clean_checkout(tmp_path: Path) -> None:
    """A run of code that no commit has could be repeated by nobody."""
    with pytest.raises(LraError, match="is not a Git checkout"):
        clean_commit(tmp_path)
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "a.py").touch()
    with pytest.raises(LraError, match="is not a Git checkout"):
        clean_commit(tmp_path)
    subprocess.run(["git", "add", "a.py"], cwd=tmp_path, check=True)
    subprocess.run(["git", *identity, "commit", "-qm", "x"], cwd=tmp_path, check=True)
    assert len(clean_commit(tmp_path)) == 40
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference/seed-1.json").touch()
    assert len(clean_commit(tmp_path)) == 40
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("x = 1\n")
        with pytest.raises(LraError, match=rf"has uncommitted changes \(.* {name}\)"):
            clean_commit(tmp_path)
        subprocess.run(["git", "checkout", "-q", "."], cwd=tmp_path, check=True)


def test_a_publication_of_someone_else(arena: Path, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accept", "theirs"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{ONE}: no weights given"
    assert read_json(ONE) == read_json(published)


def test_weights_are_scored_again(arena: Path, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = published.with_suffix(".safetensors")
    shutil.copy(RUNS / "seed-1/model.safetensors", weights)
    # Answers that the weights do not give, sealed as if they had been measured.
    honest = published.read_text()
    answers = read_publication(published).answers()[::-1]
    resealed(published, lambda c: c.update(correct=base64.b64encode(np.packbits(answers).tobytes()).decode()))
    assert main(["accept", "theirs"]) == 1
    assert "of the test examples." in capsys.readouterr().err and not ONE.exists()
    published.write_text(honest)
    assert main(["accept", "theirs"]) == 0
    assert "weights agree on 100.00% of the test examples" in capsys.readouterr().out
    ONE.unlink()
    shutil.copy(RUNS / "seed-2/model.safetensors", weights)
    assert main(["accept", "theirs"]) == 1
    assert "model.safetensors is damaged or another run's" in capsys.readouterr().err


def give(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(changes)


def give_metrics(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["metrics"].update(changes)


def give_provenance(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["provenance"].update(changes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (give(more=1), "more"),
        (give(format=2), "format"),
        (give(scale="../x"), "scale"),
        (give(scale="paper"), "its settings are those of the scale mini, not paper"),
        (give(correct="!"), "its answers do not match its accuracy"),
        (give(correct=base64.b64encode(b"\xff" * 8).decode()), "its answers do not match its accuracy"),
        (give(correct=base64.b64encode(b"\x00" * 7).decode()), "its answers do not match its accuracy"),
        (give(history=["step"]), "its history does not match its checksum"),
        (give_metrics(test_accuracy=0.99), "its answers do not match its accuracy"),
        (give_metrics(test_accuracy=99.0), "test_rows or test_accuracy is out of range"),
        (give_metrics(train_seconds=float("inf")), "holds what JSON cannot express|not a finite number"),
        (give_metrics(task="image"), "task, attention or seed differ from those in its settings"),
        (give_metrics(status="oom"), "only runs with results are published"),
        (give_provenance(dirty=True), "dirty"),
        (give_provenance(commit="main"), "commit"),
        (give_provenance(by=""), "by"),
    ],
)
def test_what_is_not_accepted(
    arena: Path,
    published: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[dict[str, Any]], object],
    why: str,
) -> None:
    resealed(published, change)
    assert main(["accept", "theirs"]) == 1
    error = capsys.readouterr().err
    assert any(part in error for part in why.split("|")), error
    assert error.count("\n") == 1 and not ONE.exists()


def test_an_edit_by_hand(arena: Path, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published.write_text(published.read_text().replace("A. Name", "B. Name"))
    assert main(["accept", "theirs"]) == 1
    assert "was edited: its checksum differs" in capsys.readouterr().err
    (arena / "empty").mkdir()
    assert main(["accept", "empty"]) == 1
    assert "empty holds no publication" in capsys.readouterr().err


def test_seeds_of_a_cell_share_settings_code_and_data(
    arena: Path, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mean over runs of other code would be a mean of nothing."""
    resealed(published, give_metrics(code="x"))
    assert main(["publish", str(RUNS / "seed-2"), "--by", "A. Name"]) == 0
    assert main(["accept", "theirs"]) == 1
    assert "would differ from reference/mini/listops/vmean/seed-2.json in settings, code or data" in (
        capsys.readouterr().err
    )
    shutil.copy(published, ONE)
    with pytest.raises(LraError, match="and cannot be averaged"):
        read_reference()
    shutil.move(ONE, ONE.with_name("seed-3.json"))
    with pytest.raises(LraError, match=r"belongs at reference/mini/listops/vmean/seed-1\.json"):
        read_reference()


def test_the_page_of_an_arena(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(RUNS / "seed-1"), str(RUNS / "seed-2"), "--by", "A | <b>Name"]) == 0
    assert main(["reference"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "docs/reference.md: 2 published runs"
    page = Path("docs/reference.md").read_text()
    accuracies = [read_json(RUNS / f"seed-{seed}/metrics.json")["test_accuracy"] for seed in (1, 2)]
    assert "## ListOps, scale mini" in page and f"| V-Mean |  | {100 * np.mean(accuracies):.2f} (" in page
    assert f"| mini/listops/vmean/seed-1 | {100 * accuracies[0]:.2f} | A \\| &lt;b>Name | aaaaaaaaaa |" in page
    assert page.count("| not run |") == 16 * 6, "no run of this scale stands in the cells of the paper and of Path-X"
    assert sha256(RUNS / "seed-1/metrics.json")
