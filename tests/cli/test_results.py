from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lra.cli.main import main
from lra.cli.results import measure_files, metrics_files, sweep_files
from lra.config.arena import load
from lra.files import sealed
from lra.results.captions import FIGURES
from results.builder import write_measure, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def arena(tmp_path, monkeypatch):
    """A folder with the project's config.yaml for two attentions, a finished run of each, and a run of a third."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config |= {"tasks": ["text"], "attentions": ["softmax", "vmean"], "seeds": [1, 2]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for attention in ("softmax", "vmean", "linformer"):
        write_run(tmp_path / "results/runs/mini", "text", attention, 1, 0.6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_options_they_take_what_is_finished_and_configured(arena):
    write_measure(arena / "results/measures", "text", "vmean", 7.0)
    for command in ("collect", "tables", "plots", "report"):
        assert main([command]) == 0
    lines = (arena / "results/table.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in lines[1:]] == [["mini", "text", "softmax"], ["mini", "text", "vmean"]]
    assert ",7," in lines[2]
    assert (arena / "results/tables/accuracy.tex").is_file()
    assert {path.name for path in (arena / "results/plots").iterdir()} == {
        f"{figure}.{kind}" for figure in FIGURES for kind in ("png", "svg")
    }
    assert (arena / "results/report.html").read_text().count("<svg") == len(FIGURES)


def test_the_sweep_is_drawn_of_its_finished_runs(arena, capsys):
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["scales"]["mini"]["sweep"]["attention"] = "vmean"
    Path("config.yaml").write_text(yaml.safe_dump(config))
    assert main(["plots", "sweep"]) == 1
    assert "no finished run in results/sweep/mini; run `snakemake --cores all sweep` first." in capsys.readouterr().err
    paths = sweep_files(load(Path("config.yaml")))
    assert len(paths) == 12
    assert paths[0] == Path("results/sweep/mini/batch-8_rate-0.005/seed-1/metrics.json")
    run = write_run(arena / "elsewhere", "text", "vmean", 1, 0.6)
    metrics = json.loads(run.read_text())
    metrics["settings"]["train"]["learning_rate"] = 0.005
    shutil.copytree(run.parent, paths[0].parent)
    paths[0].write_text(json.dumps(sealed(metrics)))
    assert main(["plots", "sweep"]) == 0
    assert sorted(path.name for path in (arena / "results/plots").iterdir()) == ["sweep.png", "sweep.svg"]


def test_paths_are_where_training_and_measuring_put_them(arena):
    configured = load(Path("config.yaml"))
    assert metrics_files(configured)[0] == Path("results/runs/mini/text/softmax/seed-1/metrics.json")
    assert len(metrics_files(configured)) == 4
    assert measure_files(configured)[1] == Path("results/measures/text/vmean/measure.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plots", "loss_second"], "unknown figure 'loss_second'. Did you mean 'loss_seconds'?"),
        (["tables", "--table", "nowhere.csv"], "nowhere.csv is not there; make it with `lra collect`."),
        (["collect", "--metrics", "nowhere.json", "--measures", "--scale", "x"], "nowhere.json is not there"),
        (["report", "--figures", "nowhere.svg"], "nowhere.svg is missing or is not SVG"),
    ],
)
def test_mistakes_are_one_sentence(arena, capsys, arguments, words):
    main(["collect"])
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert words in error
    assert error.count("\n") == 1


def test_nothing_finished_is_said(arena, capsys):
    shutil.rmtree("results")
    assert main(["collect"]) == 1
    assert "there is no finished run in results/runs/mini" in capsys.readouterr().err


def test_results_need_no_torch(arena):
    """The environment of these commands has none."""
    code = (
        "import sys; from lra.cli.main import main\n"
        "codes = [main([command]) for command in ('collect', 'tables', 'plots', 'report')]\n"
        "sys.exit(any(codes) or 'torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=arena, env=environment)
