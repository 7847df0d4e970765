from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from tests.conftest import toy_examples

from lra import paths
from lra.config.mapping import as_mapping
from lra.config.settings import AttentionSettings, Experiment
from lra.data.shards import Shards, write_shards
from lra.errors import LraError
from lra.files import sealed
from lra.training.run import score_run, train_run
from lra.training.trainer import Trainer

Make = Callable[..., Experiment]

# Another method, in a file of its own, that fails in the way its option says.
METHOD = """
import torch
from lra.attention.vmean import VMean

class Odd(VMean):
    def __init__(self, *, how="", **common):
        super().__init__(**common)
        self.how = how
        if how == "build":
            raise RuntimeError("cannot be built")
        if how == "huge":
            raise MemoryError("Unable to allocate 12.0 TiB")

    def attend(self, query, key, value, mask, draws):
        if self.how == "crash":
            raise IndexError("out of range\\nsecond line")
        if self.how == "gpu":
            raise torch.AcceleratorError(
                "CUDA error: no kernel image is available for execution on the device\\nsecond line"
            )
        if self.how == "memory":
            raise torch.OutOfMemoryError("too much")
        if self.how == "nan":
            return super().attend(query, key, value, mask, draws) * float("nan")
        return super().attend(query, key, value, mask, draws)
"""


def test_a_finished_run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = train_run(toy_experiment(), toy_shards.folder, out, code="abc", threads=1)
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert (metrics["status"], metrics["code"], metrics["seed"], metrics["steps"]) == ("ok", "abc", 1, 12)
    assert metrics["ended_by"] == "steps" and metrics["train_flops"] > 0
    history = pd.read_csv(out / "history.csv")
    assert list(history["step"]) == [4, 8, 12]
    predictions = pq.read_table(out / "predictions.parquet").to_pandas()
    assert (predictions["label"] == predictions["prediction"]).mean() == metrics["test_accuracy"]
    assert len(predictions) == metrics["test_rows"] == 40
    assert "tokens.weight" in load_file(out / "model.safetensors")
    assert {path.name for path in out.iterdir()} == {
        "metrics.json",
        "history.csv",
        "predictions.parquet",
        "model.safetensors",
    }


def test_its_weights_score_the_same_again(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    metrics = train_run(toy_experiment("linformer"), toy_shards.folder, tmp_path / "run", code="", threads=1)
    _, [score] = score_run(tmp_path / "run", toy_shards.folder, "test")
    assert (score.accuracy, score.loss) == (metrics["test_accuracy"], metrics["test_loss"])


def test_other_draws_of_the_random_numbers_of_evaluation(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    train_run(toy_experiment("skeinformer"), toy_shards.folder, tmp_path / "run", code="", threads=1)
    _, scores = score_run(tmp_path / "run", toy_shards.folder, "test", draws=3)
    assert len({score.loss for score in scores}) == 4
    assert [score.loss for score in score_run(tmp_path / "run", toy_shards.folder, "test", draws=3)[1]] == [
        score.loss for score in scores
    ]


def test_exact_attention_draws_nothing_in_evaluation(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    train_run(toy_experiment("softmax"), toy_shards.folder, tmp_path / "run", code="", threads=1)
    assert len(score_run(tmp_path / "run", toy_shards.folder, "test", draws=3)[1]) == 1


def test_a_runs_data_are_known_by_their_content(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the parts of the run's path, which say nothing once the run is copied elsewhere."""
    metrics = train_run(toy_experiment("vmean"), toy_shards.folder, tmp_path / "kept", code="", threads=1)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_shards.folder, paths.shards("small", "toy"))
    write_shards(paths.shards("paper", "toy"), toy_shards.task, toy_examples(seed=7), expected=None, provenance={})
    assert score_run(Path("kept"), None, "test")[1][0].accuracy == metrics["test_accuracy"]
    shutil.rmtree(paths.shards("small", "toy"))
    with pytest.raises(LraError, match=r"data/\*/toy is not the data that kept was trained on"):
        score_run(Path("kept"), None, "test")


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ("crash", "failed", "IndexError: out of range"),
        ("build", "failed", "RuntimeError: cannot be built"),
        ("huge", "oom", "MemoryError: Unable to allocate 12.0 TiB"),
        ("memory", "oom", "a single example does not fit in memory"),
        ("nan", "diverged", "the training loss was not finite at step 1"),
    ],
)
def test_a_failure_is_a_row(
    toy_shards: Shards, tmp_path: Path, how: str, status: str, reason: str, toy_experiment: Make
) -> None:
    method = tmp_path / "odd.py"
    method.write_text(METHOD)
    experiment = toy_experiment()
    attention = type(experiment.attention)("odd", 8, {"how": how}, f"{method}:Odd")
    experiment = Experiment(**vars(experiment) | {"attention": attention})
    metrics = train_run(experiment, toy_shards.folder, tmp_path / "run", code="", threads=1)
    assert (metrics["status"], metrics["reason"], metrics["test_accuracy"]) == (status, reason, None)
    assert {"steps", "parameters", "majority_accuracy", "dev_accuracy"} <= set(metrics)
    assert len(pq.read_table(tmp_path / "run" / "predictions.parquet")) == 0
    with pytest.raises(LraError, match=f"has no trained weights: the run ended as {status}"):
        score_run(tmp_path / "run", toy_shards.folder, "test")


def test_a_package_that_is_not_installed_is_no_row(toy_shards: Shards, tmp_path: Path, toy_experiment: Make) -> None:
    """Else installing it would change nothing."""
    (method := tmp_path / "odd.py").write_text("import nosuch\n" + METHOD)
    attention = AttentionSettings("odd", 8, module=f"{method}:Odd")
    experiment = dataclasses.replace(toy_experiment(), attention=attention)
    with pytest.raises(
        LraError, match=r"odd.py cannot be imported: .* No module named 'nosuch'; install it and run the"
    ):
        train_run(experiment, toy_shards.folder, tmp_path / "run", code="", threads=1)
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_damaged_data_is_no_row(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    toy_shards.files("dev")[0].unlink()
    with pytest.raises(LraError, match="is missing"):
        train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), LraError("a shard is damaged")])
def test_surroundings_that_fail_are_no_row(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, problem: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the run would never be tried again."""

    def fail(self: Trainer) -> None:
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", fail)
        with pytest.raises(type(problem)):
            train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)["status"] == "ok"


def test_data_of_another_task(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    experiment = Experiment(**vars(toy_experiment()) | {"task": "text"})
    with pytest.raises(LraError, match="holds the task 'toy', not 'text'"):
        train_run(experiment, toy_shards.folder, tmp_path / "run", code="", threads=1)


def test_scoring_with_other_data_is_refused(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    task = toy_shards.task
    write_shards(tmp_path / "other", task, toy_examples(seed=5), expected=None, provenance={})
    with pytest.raises(LraError, match=r"is not the data that .* was trained on"):
        score_run(tmp_path / "run", tmp_path / "other", "test")
    # Data are what they hold, not what package, source and date the manifest speaks of.
    write_shards(tmp_path / "same", task, toy_examples(), expected=None, provenance={"version": "of another machine"})
    assert (tmp_path / "same/manifest.json").read_bytes() != (toy_shards.folder / "manifest.json").read_bytes()
    metrics, [score] = score_run(tmp_path / "run", tmp_path / "same", "test")
    assert score.accuracy == metrics["test_accuracy"]


def test_a_run_that_is_cut_short_says_so(toy_experiment: Make, toy_shards: Shards, tmp_path: Path) -> None:
    """Else five steps are averaged with runs of the full schedule."""
    keys = set()
    for max_steps, said, steps in ((4, 4, 4), (12, None, 12), (None, None, 12)):
        out = tmp_path / str(max_steps)
        metrics = train_run(toy_experiment(), toy_shards.folder, out, code="", threads=1, max_steps=max_steps)
        assert (metrics["max_steps"], metrics["steps"]) == (said, steps)
        keys.add(metrics["key"])
    assert len(keys) == 2, "a limit that does not cut is none"


@pytest.mark.parametrize("name", ["history.csv", "predictions.parquet", "model.safetensors"])
def test_a_file_of_another_run(toy_experiment: Make, toy_shards: Shards, tmp_path: Path, name: str) -> None:
    """Without checksums, another run's weights were scored as this one's."""
    for seed in (1, 2):
        train_run(toy_experiment(seed=seed), toy_shards.folder, tmp_path / str(seed), code="", threads=1)
    (tmp_path / "1" / name).write_bytes((tmp_path / "2" / name).read_bytes())
    with pytest.raises(LraError, match=rf"1/{name} is damaged or another run's: .*; train this run again"):
        score_run(tmp_path / "1", toy_shards.folder, "test")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda m: m["machine"].update(threads=10**9), "machine.threads is 1000000000"),
        (lambda m: m["machine"].update(threads="all"), "machine.threads is 'all'"),
        (lambda m: m["settings"]["model"].update(layers=10**9), "describes a larger model than its weights"),
        (lambda m: m["settings"]["model"].update(hidden=2**40), "describes a larger model than its weights"),
        (lambda m: m["settings"]["model"].update(heads=0), "heads: 0 is less than 1"),
        (lambda m: m["settings"]["attention"].update(features=2**40), "describes a larger model than its weights"),
        (
            lambda m: m["settings"]["attention"].update(options={"blocks": 1e300}),
            "describes a larger model than its weights",
        ),
        (lambda m: m["settings"]["attention"].update(options=[1]), "is not a block of settings"),
    ],
)
def test_a_folder_from_elsewhere_may_not_ask_for_everything(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, change: Callable[..., None], sentence: str
) -> None:
    """Sizes are believed only as far as the weights beside them are as large."""
    metrics = train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    change(metrics)
    (tmp_path / "run/metrics.json").write_text(json.dumps(sealed(metrics)))
    with pytest.raises(LraError, match=sentence):
        score_run(tmp_path / "run", toy_shards.folder, "test")


@pytest.mark.parametrize("key", ["module", "name"])
def test_code_that_a_folder_names_is_run_for_those_who_trust_it(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path, key: str
) -> None:
    """A folder from elsewhere could else run anything."""
    method, ran = tmp_path / "mine.py", tmp_path / "ran"
    method.write_text(
        f"from pathlib import Path\nfrom lra.attention.softmax import Softmax\nPath({str(ran)!r}).touch()\n"
    )
    metrics = train_run(toy_experiment(), toy_shards.folder, tmp_path / "run", code="", threads=1)
    metrics["settings"]["attention"][key] = f"{method}:Softmax"
    (tmp_path / "run/metrics.json").write_text(json.dumps(sealed(metrics)))
    with pytest.raises(LraError, match=r"names '.*mine.py:Softmax', which is not in the registry .* `--trust`"):
        score_run(tmp_path / "run", toy_shards.folder, "test")
    assert not ran.exists()
    _, [score] = score_run(tmp_path / "run", toy_shards.folder, "test", trust=True)
    assert ran.exists() and score.accuracy == metrics["test_accuracy"]


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT", "SIGKILL"])
def test_a_stopped_process_goes_on(toy_experiment: Make, toy_shards: Shards, tmp_path: Path, signal_name: str) -> None:
    """The command itself, stopped by a signal in the middle and run again, gives an undisturbed run's numbers."""
    import signal

    experiment = toy_experiment(steps=150, evaluate_every=10, patience_steps=200)
    expected = train_run(experiment, toy_shards.folder, tmp_path / "whole", code="x", threads=1)
    settings = json.dumps(as_mapping(experiment, leave_out="seed"))
    out = tmp_path / "stopped"
    command = [sys.executable, "-m", "lra", "train", "--settings", settings, "--seed", "1", "--threads", "1"]
    command += ["--data", str(toy_shards.folder), "--out", str(out), "--checkpoint-seconds", "0", "--code", "x"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path)
    while not list(tmp_path.glob("results/store/*/checkpoint/latest.pt")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(getattr(signal, signal_name))
    code = process.wait(timeout=60)
    assert not (out / "metrics.json").exists()
    assert code == (-9 if signal_name == "SIGKILL" else 75)
    assert subprocess.run(command, capture_output=True, check=False, cwd=tmp_path).returncode == 0
    metrics = json.loads((out / "metrics.json").read_text())
    for name in ("test_accuracy", "test_loss", "dev_loss", "steps", "best_step"):
        assert metrics[name] == expected[name]
    timeless = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (out, tmp_path / "whole")]
    pd.testing.assert_frame_equal(*timeless)
    assert not list(tmp_path.rglob("checkpoint"))


def test_a_fault_of_the_gpu_fails_the_job_and_keeps_the_checkpoint(
    toy_experiment: Make, toy_shards: Shards, tmp_path: Path
) -> None:
    """It was a finished row `failed`, with exit code 0, which no retry would have tried again."""
    (method := tmp_path / "odd.py").write_text(METHOD)
    attention = AttentionSettings("odd", 8, {"how": "gpu"}, f"{method}:Odd")
    experiment = dataclasses.replace(toy_experiment(), attention=attention)
    settings = json.dumps(as_mapping(experiment, leave_out="seed"))
    out = tmp_path / "run"
    (out / "checkpoint").mkdir(parents=True)
    (out / "checkpoint" / "latest.pt").write_bytes(b"of the attempt before")
    command = [sys.executable, "-m", "lra", "train", "--settings", settings, "--seed", "1", "--threads", "1"]
    done = subprocess.run(
        [*command, "--data", str(toy_shards.folder), "--out", str(out)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert sentence.startswith("Error: the GPU failed (CUDA error: no kernel image is available for execution on")
    assert sentence.endswith("or set CUDA_VISIBLE_DEVICES= to use the CPU.")
    assert [path.name for path in out.iterdir()] == ["checkpoint"]
    assert (out / "checkpoint" / "latest.pt").exists()
