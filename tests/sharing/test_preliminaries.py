"""A published run says how its learning rate was chosen and what it started from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra.cli.main import main
from lra.files import read_json, sealed
from lra.sharing import publications
from lra.sharing.publications import read_reference
from lra.training.run_folder import run_key
from sharing.tuned_arena import ROW, RUN, TRIES, make_arena

ONE = Path(f"reference/mini/listops/{ROW}/seed-1.json")
PUBLISH = ["publish", str(RUN), "--by", "A. Name"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_arena(tmp_path_factory.mktemp("arena"))


@pytest.fixture
def arena(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, whose checkout counts as clean."""
    folder = Path(shutil.copytree(made, tmp_path / "arena"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(publications, "clean_commit", lambda: "a" * 40)
    return folder


@pytest.fixture
def theirs(arena: Path) -> Path:
    """The publication, somewhere else than in reference/."""
    assert main(PUBLISH) == 0
    return Path(shutil.move("reference", "theirs")) / ONE.relative_to("reference")


def test_what_is_published(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(PUBLISH) == 0
    tuning, choice = read_json(ONE)["tuning"], read_json(TRIES / "choice.json")
    assert (tuning["seed"], tuning["steps"], tuning["train_seconds"]) == (9, 2, choice["train_seconds"])
    for one, tried in zip(tuning["tries"], choice["tries"], strict=True):
        assert one == {name: tried[name] for name in one} and one["learning_rate"] in (1e-3, 1e-2)
    assert main(["reference"]) == 0
    page = Path("docs/reference.md").read_text()
    assert "), pretrained: 2 steps, tuned: 2 rates | 1 |" in page
    assert " s, pretraining 0 s, tuning 0 s | generate" in page
    (published,) = read_reference()
    assert published.tuning and published.tuning.protocol() == (9, 2, [1e-3, 1e-2])


def without_choice() -> None:
    (TRIES / "choice.json").unlink()


def choice_of_other_code() -> None:
    record = read_json(TRIES / "choice.json")
    record["tries"][0]["key"] = "0" * 16
    (TRIES / "choice.json").write_text(json.dumps(sealed(record)))


def more_rates() -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["tune"]["learning_rate"].append(1.0)
    Path("config.yaml").write_text(yaml.safe_dump(config))


def no_tuning() -> None:
    config = yaml.safe_load(Path("config.yaml").read_text())
    del config["scales"]["mini"]["tune"]
    rate = read_json(RUN / "metrics.json")["settings"]["train"]["learning_rate"]
    config["scales"]["mini"]["tasks"]["listops"]["train"]["learning_rate"] = rate
    Path("config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_choice, f"{TRIES / 'choice.json'} is missing, although the scale mini has `tune`"),
        (choice_of_other_code, "from 2 tries that are not the 2 of `tune` at the scale mini"),
        (more_rates, "from 2 tries that are not the 3 of `tune`"),
    ],
)
def test_a_choice_that_does_not_fit_is_not_published(
    arena: Path, capsys: pytest.CaptureFixture[str], change: Callable[[], None], why: str
) -> None:
    change()
    assert main(PUBLISH) == 1
    assert why in capsys.readouterr().err and not ONE.exists()


def test_tries_and_pretrainings_are_not_published(arena: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(TRIES / "rate-0.001"), "--by", "A. Name"]) == 1
    assert "rate-0.001 is a try of tuning" in capsys.readouterr().err
    key = read_json(RUN / "metrics.json")["pretraining"]["key"]
    assert main(["publish", f"results/store/{key}", "--by", "A. Name"]) == 1
    assert "a pretraining has no row in a table; publish the run that starts from it" in capsys.readouterr().err


def give_tuning(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["tuning"].update(changes)


def give_pretraining(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["metrics"]["pretraining"].update(changes)


def other_try(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["tuning"]["tries"][0].update(changes)


def exchange_results(content: dict[str, Any]) -> None:
    first, second = content["tuning"]["tries"]
    first["learning_rate"], second["learning_rate"] = second["learning_rate"], first["learning_rate"]
    best = content["metrics"]["settings"]["train"]["learning_rate"]
    for one in (first, second):
        one["dev_accuracy"] = 0.9 if one["learning_rate"] == best else 0.1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content.update(tuning=None), "from 0 tries that are not the 2 of `tune`"),
        (give_tuning(seed=8), "that are not the 2 of `tune`"),
        (give_tuning(steps=3), "that are not the 2 of `tune`"),
        (exchange_results, "that are not the 2 of `tune`"),
        (give_tuning(train_seconds=1e6), "the seconds of its tries have another sum"),
        (give_tuning(tries=[]), "tuning.tries"),
        (other_try(dev_accuracy=2.0), "dev_accuracy"),
        (other_try(status="x"), "status"),
        (other_try(learning_rate=0.5, dev_accuracy=1.0), "its learning rate is not the best of its tries"),
        (give_pretraining(key="0" * 16), "it did not start from the pretraining of its settings, code and data"),
        (lambda content: content["metrics"].update(pretraining=None), "it did not start from the pretraining"),
        (give_pretraining(steps=-1), "pretraining.steps"),
        (give_pretraining(more=1), "more"),
    ],
)
def test_what_is_not_accepted(
    theirs: Path, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], why: str
) -> None:
    resealed(theirs, change)
    assert main(["accept", "theirs"]) == 1
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1, error
    assert not ONE.exists()


def resealed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit a file as someone would who knows how it is sealed."""
    content = read_json(path)
    change(content)
    metrics = content["metrics"]
    metrics["key"] = run_key({name: metrics[name] for name in ("settings", "max_steps", "code", "data")})
    content["metrics"] = sealed(metrics)
    path.write_text(json.dumps(sealed(content)))


def test_an_arena_that_does_not_tune_takes_no_tuned_run(theirs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accept", "theirs"]) == 0
    shutil.rmtree("reference")
    no_tuning()
    assert main(["accept", "theirs"]) == 1
    assert "from 2 tries that are not the 0 of `tune`" in capsys.readouterr().err
