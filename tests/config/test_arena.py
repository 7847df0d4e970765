from __future__ import annotations

import copy
import dataclasses
import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lra.config.arena import Sweep, arena, load, scales
from lra.config.mapping import as_mapping, from_mapping
from lra.config.settings import Experiment
from lra.errors import LraError

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())

Change = Callable[[dict[str, Any]], object]


def test_the_default_configuration_is_the_whole_arena_at_mini_scale() -> None:
    chosen = arena(CONFIG)
    assert chosen.scale == "mini"
    assert len(chosen.tasks) == 5 and len(chosen.attentions) == 16


@pytest.mark.parametrize("scale", ["mini", "paper", "modern"])
def test_all_scales_resolve(scale: str) -> None:
    chosen = arena(CONFIG | {"scale": scale})
    for task in chosen.tasks:
        for attention in chosen.attentions:
            experiment = chosen.experiment(attention, task, seed=3)
            stored = json.loads(json.dumps(as_mapping(experiment)))
            assert from_mapping(Experiment, stored, "stored") == experiment


def test_what_a_task_reads_is_where_it_was_downloaded_or_extracted() -> None:
    mini, paper = (arena(CONFIG | {"scale": scale}) for scale in ("mini", "paper"))
    assert mini.source("listops") is None
    assert mini.source("text") == Path("data/sources/vader")
    assert paper.source("listops") == Path("data/extracted/lra_release")
    assert paper.source("text") == Path("data/sources/imdb")


MISTAKES: dict[str, tuple[Change, str]] = {
    "a typo": (lambda c: c.update(sead=3), r"unknown key 'sead'. Did you mean 'seeds'\? Known: scale, tasks"),
    "a scale": (
        lambda c: c.update(scale="minni"),
        r"scale: 'minni' is not one of mini, paper, modern. Did you mean 'm",
    ),
    "a task": (
        lambda c: c["tasks"].append("listop"),
        r"tasks: 'listop' has no settings under scales.mini.tasks. Did you mean 'listops'\?",
    ),
    "a task twice": (lambda c: c["tasks"].append("text"), "tasks: an entry is listed twice"),
    "no task": (lambda c: c.update(tasks=[]), "tasks: nothing is listed"),
    "an attention": (lambda c: c["attentions"].append("skinformer"), r"unknown attention 'skinformer'. Did you"),
    "an attention's key": (lambda c: c["attentions"].append({"vmean": {"option": {}}}), r"vmean: unknown key 'option'"),
    "a negative seed": (lambda c: c.update(seeds=[-1]), "seeds.0: -1 is less than 0, the least allowed"),
    "a seed that is a text": (lambda c: c.update(seeds=["1"]), "seeds.0: '1' is not a whole number"),
    "a missing key": (lambda c: c.pop("scale"), "the file: 'scale' is missing"),
    "a negative rate": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["train"].update(learning_rate=-1.0),
        "scales.mini.tasks.text.train.learning_rate: -1.0 must be more than 0",
    ),
    "a dropout above 1": (
        lambda c: c["scales"]["mini"]["model"].update(dropout=1.5),
        "scales.mini.model.dropout: 1.5 is more than 1, the most allowed",
    ),
    "steps that are a text": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["train"].update(steps="many"),
        "text.train.steps: 'many' is not a whole number",
    ),
    "a data setting": (
        lambda c: c["scales"]["mini"]["tasks"]["listops"]["data"].update(bracket=True),
        r"listops.data: unknown key 'bracket'. Did you mean 'brackets'\?",
    ),
    "a source of another task": (
        lambda c: c["scales"]["mini"]["tasks"]["listops"]["data"].update(source="imdb"),
        "listops.data.source: 'imdb' is not one of generate, lra_release, listops",
    ),
    "a path that is not there": (
        lambda c: c["sources"].update(vader=[{"path": "nowhere/vader.tar.gz"}]),
        "sources.vader: the path 'nowhere/vader.tar.gz' is not there",
    ),
    "a path of nothing": (
        lambda c: c["sources"].update(vader=[{"path": ""}]),
        "sources.vader.0.path: '' should be non",
    ),
    "rows of another kind": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["data"].update(expected_rows=3),
        "text.data.expected_rows: 3 is not a block of settings",
    ),
    "a misspelt split": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["data"].update(expected_rows={"train": 1, "dev": 1, "tset": 1}),
        r"text.data.expected_rows: unknown key 'tset'. Did you mean 'test'\?",
    ),
    "a checksum": (lambda c: c["sources"]["vader"][0].update(sha256="abc"), "sources.vader.0.sha256: 'abc'"),
    "warmup after the end": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["train"].update(warmup=5000),
        "text.train.warmup: 5000 must be less than steps",
    ),
    "patience of old": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["train"].update(patience=12),
        "text.train: patience counts steps now; write `patience_steps: N`, N being 12 times `evaluate_every`.",
    ),
    "pairs of an odd number": (
        lambda c: c["scales"]["mini"]["model"].update(positions="rotary", head_dim=7),
        "scales.mini: the model of listops has a `head_dim` of 7; rotary positions turn pairs, so make it even.",
    ),
    "a block for a list": (
        lambda c: c.update(attentions={"softmax": None, "nystrom": {"features": 8}}),
        r"attentions: this is a list now; write `attentions: \[softmax, {nystrom: {features: 8}}\]` instead",
    ),
    "a name for a list": (lambda c: c.update(attentions="softmax"), r"'softmax' is not a list; write \[softmax\]."),
    "a number for an attention": (lambda c: c.update(attentions=[3]), "attentions.0: 3 is neither a name nor a name"),
    "settings that are not indented": (
        lambda c: c.update(attentions=[{"bigbird": None, "features": 3}]),
        "attentions.0: an item holds one name, not bigbird and features; indent settings below their name",
    ),
    "an attention twice": (lambda c: c["attentions"].append("vmean"), "attentions: 'vmean' is listed twice; keep one"),
    "an attention's name": (
        lambda c: c["attentions"].append({"Mine": {}}),
        "Mine: 'Mine' has the wrong form. A name starts",
    ),
    "settings that are a number": (
        lambda c: c["attentions"].append({"vmean": 3}),
        r"attentions.vmean: 3 is not a block of settings \(module, method, features, options, pretrain\) or empty",
    ),
    "a block that is a list": (
        lambda c: c.update(measure=[3]),
        r"measure: \[3\] is not a block of settings \(features, batch, re",
    ),
    "a date for a text": (
        lambda c: c["scales"]["mini"]["sweep"].update(task=datetime.date(2026, 1, 1)),
        "sweep.task: unknown task '2026-01-01'",
    ),
    "a file that holds itself": (lambda c: c.update(measure=c), "the file holds what JSON cannot express: Circular"),
    "a tree that cannot be": (
        lambda c: c["scales"]["mini"]["tasks"]["listops"]["data"]["generator"].update(min_length=500),
        "listops generator: no length lies between min_length 500 and max_length 128",
    ),
    "an operator of one": (
        lambda c: c["scales"]["mini"]["tasks"]["listops"]["data"]["generator"].update(max_children=1),
        "data.generator.max_children: 1 is less than 2",
    ),
    "a curve of one paddle": (
        lambda c: c["scales"]["mini"]["tasks"]["pathfinder"]["data"]["generator"].update(contour_length=1),
        "data.generator.contour_length: 1 is less than 2",
    ),
    "a likelihood of one": (
        lambda c: c["scales"]["mini"]["tasks"]["listops"]["data"]["generator"].update(digit_probability=1),
        "data.generator.digit_probability: 1 must be less than 1",
    ),
    "a swept attention": (
        lambda c: c["scales"]["mini"]["sweep"].update(attention="skinformer"),
        r"scales.mini.sweep.attention: unknown attention 'skinformer'. Did you mean 'skeinformer'\?",
    ),
    "a swept task": (
        lambda c: c["scales"]["mini"]["sweep"].update(task="texts"),
        r"scales.mini.sweep.task: unknown task 'texts'. Did you mean 'text'\?",
    ),
    "no rate to sweep": (
        lambda c: c["scales"]["mini"]["sweep"].update(learning_rate=[]),
        "scales.mini.sweep.learning_rate: nothing is listed",
    ),
    "a swept batch of nothing": (
        lambda c: c["scales"]["mini"]["sweep"].update(batch=[16, 0]),
        "scales.mini.sweep.batch.1: 0 is less than 1, the least allowed",
    ),
    "a scale's options of an unknown attention": (
        lambda c: c["scales"]["mini"]["options"].update(bigbrid={}),
        r"scales.mini.options: unknown attention 'bigbrid'. Did you mean 'bigbird'\?",
    ),
    "a scale's unknown option": (
        lambda c: c["scales"]["mini"]["options"]["bigbird"].update(block=8),
        "scales.mini.options.bigbird: unknown key 'block'.",
    ),
    "a method under its own name": (
        lambda c: c["attentions"].append({"luna": {"method": "softmax"}}),
        "attentions.luna.method: this name has a class already; rename the row, or leave `method` out",
    ),
    "an unknown method under another name": (
        lambda c: c["attentions"].append({"mine": {"method": "skeinfromer"}}),
        r"attentions: unknown attention 'skeinfromer'. Did you mean 'skeinformer'\?",
    ),
    "nothing said about a pretraining": (
        lambda c: (c.update(pretrain=True), c["scales"]["mini"]["tasks"]["text"].pop("pretrain")),
        "scales.mini.tasks.text.pretrain is missing, and pretraining is asked for; add the block",
    ),
    "a pretraining that only warms up": (
        lambda c: (c.update(pretrain=True), c["scales"]["mini"]["tasks"]["text"]["pretrain"].update(warmup=132)),
        "scales.mini.tasks.text.pretrain.warmup: 132 must be less than steps, which is 132",
    ),
    "all tokens hidden": (
        lambda c: c["scales"]["mini"]["tasks"]["text"]["pretrain"].update(mask=1.0),
        "scales.mini.tasks.text.pretrain.mask: 1.0 must be less than 1",
    ),
    "no number of examples": (
        lambda c: c["scales"]["mini"]["tasks"]["pathfinder"]["data"].update(rows=None),
        "scales.mini.tasks.pathfinder.data.rows: `source: generate` needs `rows: {train: ..., dev: ..., test: ...}`.",
    ),
    "a batch of more than all": (
        lambda c: c["scales"]["mini"]["tasks"]["image"]["train"].update(batch=1198),
        "scales.mini.tasks.image.train.batch: 1198 is more than the 1197 training rows.",
    ),
    "splits of another file": (
        lambda c: c["scales"]["mini"]["tasks"]["pathfinder"]["data"].update(split="lra"),
        "pathfinder.data.split: `lra` follows the order of `source: pathfinder_tfds`; use it, or `seeded`.",
    ),
    "no settings for a task": (lambda c: c["scales"]["mini"]["tasks"].pop("text"), "'text' has no settings"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake: str) -> None:
    change, sentence = MISTAKES[mistake]
    config = copy.deepcopy(CONFIG)
    change(config)
    with pytest.raises(LraError, match=sentence) as error:
        arena(config)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("config.yaml: ")


def test_the_papers_sweep_is_its_figure_3() -> None:
    chosen = arena(CONFIG | {"scale": "paper"})
    assert chosen.sweep == Sweep("skeinformer", "text", (64, 128), (1e-3, 1e-4, 1e-5))
    assert next(iter(chosen.sweep.cells())) == "batch-64_rate-0.001"
    usual = chosen.experiment("skeinformer", "text", seed=1)
    swept = chosen.experiment("skeinformer", "text", seed=1, batch=64, learning_rate=1e-5)
    assert swept == dataclasses.replace(usual, train=dataclasses.replace(usual.train, batch=64, learning_rate=1e-5))


def test_only_what_is_run_is_swept() -> None:
    assert arena(CONFIG | {"tasks": ["listops"]}).sweep is None
    assert arena(CONFIG | {"attentions": ["softmax"]}).sweep is None
    without = copy.deepcopy(CONFIG)
    del without["scales"]["mini"]["sweep"]
    assert arena(without).sweep is None


def test_a_file_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(LraError, match="is not there; run this in the project's folder"):
        load(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("scale: [mini")
    with pytest.raises(LraError, match="cannot be read: line 1, column 13: expected"):
        load(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(LraError, match=r"config\.yaml is empty; "):
        load(tmp_path / "config.yaml")


def test_what_is_generated_has_as_many_rows_as_were_expected() -> None:
    config = copy.deepcopy(CONFIG) | {"scale": "paper", "tasks": ["listops"]}
    config["scales"]["paper"]["tasks"]["listops"]["data"]["source"] = "generate"
    assert arena(config).parts("listops") == {"train": 6, "dev": 1, "test": 1}


def test_a_scale_or_task_may_be_empty(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG)
    config["scales"]["modern"] = config["scales"]["paper"]["tasks"]["pathx"] = None
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert [chosen.scale for chosen in scales(tmp_path / "config.yaml")] == ["mini", "paper"]


def test_empty_values_are_as_none_at_all() -> None:
    """What YAML has for a key with nothing behind it ended in a traceback."""
    config = copy.deepcopy(CONFIG) | {"tasks": ["listops", "text"], "bench": None}
    mini = config["scales"]["mini"]
    mini["sweep"] = mini["tasks"]["image"] = mini["tasks"]["text"]["model"] = config["sources"]["imdb"] = None
    config["sources"]["vader"][0]["path"] = config["scales"]["paper"] = None
    chosen = arena(config)
    assert chosen.experiment("vmean", "text", seed=1).model.layers == 2
    assert chosen.sweep is None and not chosen.bench and "imdb" not in chosen.sources
    with pytest.raises(LraError, match="scales: 'paper', which `scale` asks for, is missing"):
        arena(config | {"scale": "paper"})
    with pytest.raises(LraError, match="tasks: 'image' has no settings"):
        arena(config | {"tasks": ["image"]})


def test_aliases_and_options(tmp_path: Path) -> None:
    config = CONFIG | {"attentions": [{"perfromer": {"features": 7, "options": {"released": True}}}, "softmax"]}
    chosen = arena(config)
    performer = chosen.attentions["performer"]
    assert (performer.features, performer.options) == (7, {"released": True})
    assert chosen.attentions["softmax"].options == {"dropout": 0.1}


def test_a_method_stands_in_the_table_with_and_without_pretraining() -> None:
    """Under a name of its own it keeps its class, and the options of registry and scale."""
    variant = {"bigbird_pretrained": {"method": "bigbird", "pretrain": True}}
    chosen = arena(CONFIG | {"attentions": ["bigbird", variant, {"skein_nopilot": None}]})
    plain, pretrained = (chosen.experiment(name, "text", 1) for name in ("bigbird", "bigbird_pretrained"))
    assert plain.pretrain is None
    assert pretrained.pretrain and pretrained.pretrain.mask == 0.15
    assert replace(pretrained.attention, name="bigbird") == plain.attention
    assert plain.attention.options == {"block_size": 8, "num_random_blocks": 1}
    everywhere = arena(CONFIG | {"pretrain": True, "attentions": ["vmean", {"softmax": {"pretrain": False}}]})
    assert everywhere.pretrained == {"vmean"}


def test_options_of_a_scale_are_for_its_training() -> None:
    """One's own come first; measurements, at true lengths, see these alone; a method that is not run is no mistake."""
    config = copy.deepcopy(CONFIG) | {"attentions": ["reformer", {"bigbird": {"options": {"block_size": 2}}}]}
    config["scales"]["mini"]["options"] = {
        "bigbird": {"block_size": 8, "num_random_blocks": 1},
        "reformer": {"chunk_length": 4},
        "performer": {"released": True},
    }
    chosen = arena(config)
    trained = {name: chosen.experiment(name, "text", 1).attention.options for name in chosen.attentions}
    assert trained == {"bigbird": {"block_size": 2, "num_random_blocks": 1}, "reformer": {"chunk_length": 4}}
    measured = {name: method.options for name, method in chosen.attentions.items()}
    assert measured == {"bigbird": {"block_size": 2}, "reformer": {}}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a class of the user's own in ``methods/mine.py``."""
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/mine.py").write_text(
        "import no_such_package\n\n\nclass Mine(no_such_package.Base):\n    pass\n"
    )
    return tmp_path


def own_attention(module: str, name: str = "mine") -> dict[str, Any]:
    return CONFIG | {"attentions": [{name: {"module": module, "features": 3, "options": {"released": True}}}]}


def test_an_own_attention_is_found_from_the_folder_of_the_file(own: Path) -> None:
    (own / "config.yaml").write_text(yaml.safe_dump(own_attention("methods/mine.py:Mine")))
    mine = load(own / "config.yaml").attentions["mine"]
    assert (mine.name, mine.features, mine.options) == ("mine", 3, {"released": True})
    assert mine.module == f"{own}/methods/mine.py:Mine"


def test_an_own_attention_may_be_one_of_the_registry_with_other_settings() -> None:
    mine = arena(own_attention("lra.attention.performer:Performer")).attentions["mine"]
    assert (mine.name, mine.module) == ("mine", "lra.attention.performer:Performer")


@pytest.mark.parametrize(
    ("module", "name", "sentence"),
    [
        ("methods/mine.py:Mien", "mine", r"mine.py defines no class 'Mien'. Did you mean 'Mine'\?"),
        ("methods/our.py:Mine", "mine", r"the file '.*our.py' is not there; correct its path"),
        ("no_such_package.mine:Mine", "mine", "there is no Python module 'no_such_package.mine'"),
        ("methods/mine.py:Mine", "performer", "'performer' already names a method of the registry"),
    ],
)
def test_an_own_attention_that_is_not_there(own: Path, module: str, name: str, sentence: str) -> None:
    with pytest.raises(LraError, match=rf"config.yaml: attentions.{name}.module: .*{sentence}") as error:
        arena(own_attention(module, name), own)
    assert "\n" not in str(error.value)


def test_a_broken_own_attention_names_file_and_line(own: Path) -> None:
    (own / "methods/broken.py").write_text("class Mine:\n    def f(:\n")
    with pytest.raises(LraError, match=r"attentions.mine.module: .*broken.py, line 2"):
        arena(own_attention("methods/broken.py:Mine"), own)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, entry_point: str) -> None:
    """A package of the user's own with one entry point."""
    (folder / "package_of_mine.py").write_text("class Mine:\n    pass\n")
    metadata = folder / "package_of_mine-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: package-of-mine\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[lra.attention]\n{entry_point} = package_of_mine:Mine\n")
    monkeypatch.syspath_prepend(str(folder))


def test_an_installed_package_names_its_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "mine")
    assert arena(CONFIG | {"attentions": ["mine"]}).attentions["mine"].module == "package_of_mine:Mine"


def test_an_installed_package_that_takes_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point with the name of a method of the registry was ignored in silence."""
    install(tmp_path, monkeypatch, "vmean")
    with pytest.raises(
        LraError, match=r"attentions: 'vmean' is a method of lra and also the entry point of an installed package"
    ):
        arena(CONFIG)
    assert arena(CONFIG | {"attentions": ["softmax"]}).attentions["softmax"]


def test_a_class_that_is_no_attention(own: Path) -> None:
    (own / "methods/other.py").write_text("from torch import nn\n\n\nclass Mine(nn.Module):\n    pass\n")
    with pytest.raises(LraError, match=r"attentions.mine.module: 'Mine' of .*other.py is no subclass of lra.attention"):
        arena(own_attention("methods/other.py:Mine"), own)


TASK_OF_OWN = {"module": "tasks/mine.py:parity", "classes": 2, "vocabulary": 3, "max_length": 12}


@pytest.fixture
def own_task(tmp_path: Path) -> Path:
    """A folder with a function of the user's own in ``tasks/mine.py``, and a file that it could read."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/mine.py").write_text("import no_such_package\n\n\ndef parity(split):\n    yield [1], 0\n")
    (tmp_path / "tasks/texts.csv").write_text("text,label\n")
    return tmp_path


def with_task(name: str = "mine", train: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    trained = {"batch": 8, "learning_rate": 1e-3, "warmup": 1, "steps": 4, "evaluate_every": 2} | (train or {})
    config["scales"]["mini"]["tasks"][name] = {"data": TASK_OF_OWN | data, "train": trained}
    return config | {"tasks": list(dict.fromkeys(["text", name]))}


def test_an_own_task_is_found_from_the_folder_of_the_file(own_task: Path) -> None:
    (own_task / "config.yaml").write_text(yaml.safe_dump(with_task(source="tasks/texts.csv", options={"n": 3})))
    chosen = load(own_task / "config.yaml")
    place = {"module": f"{own_task}/tasks/mine.py:parity", "source": f"{own_task}/tasks/texts.csv"}
    assert chosen.data("mine") == {"name": "mine", **TASK_OF_OWN, **place, "options": {"n": 3}}
    assert chosen.own("mine") == place["module"] and chosen.own("text") is None
    assert chosen.source("mine") == Path(place["source"]) and chosen.artefact("mine") is None
    assert chosen.parts("mine") == {"train": 1, "dev": 1, "test": 1}
    assert chosen.experiment("softmax", "mine", seed=1).train.batch == 8


def test_an_own_task_may_know_its_rows_and_read_nothing(own_task: Path) -> None:
    chosen = arena(with_task(rows={"train": 20000, "dev": 10, "test": 10}), own_task)
    assert chosen.parts("mine") == {"train": 2, "dev": 1, "test": 1}
    assert chosen.source("mine") is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"module": "tasks/mine.py:partiy"}, "data.module: .* defines no function 'partiy'. Did you mean 'parity'"),
        ({"module": "tasks/our.py:parity"}, "data.module: the file '.*our.py' is not there; correct its path"),
        ({"module": "tasks/mine.py"}, "data.module: 'tasks/mine.py' has the wrong form. The function"),
        ({"source": "tasks/text.csv"}, "data.source: the path '.*text.csv' is not there; correct it"),
        ({"classes": 1}, "data.classes: 1 is less than 2"),
        ({"classes": 257}, "data.classes: 257 is more than 256"),
        ({"vocabulary": 70000}, "data.vocabulary: 70000 is more than 65536"),
        ({"max_length": 0}, "data.max_length: 0 is less than 1"),
        ({"towers": 3}, "data.towers: 3 is not one of 1, 2"),
        ({"clases": 2}, "data: unknown key 'clases'. Did you mean 'classes'"),
        ({"train": {"batch": 0}}, "train.batch: 0 is less than 1"),
        ({"train": {"warmup": 4}}, "train.warmup: 4 must be less than steps"),
        ({"name": "text"}, "data: 'text' is a task of the Arena; give your own task another name"),
        (
            {"name": "average"},
            "scales.mini.tasks: 'average' heads a column of the tables; give your task another name",
        ),
        ({"name": "My-task"}, "tasks.1: 'My-task' has the wrong form. A name starts with a small letter"),
        ({"name": "nodropout_text"}, "rule train_softmax_nodropout_text would be both for"),
        ({"name": "text_seed"}, "tasks: the rule train_.*_text_seed would be both for .* on text and"),
    ],
    ids=str,
)
def test_an_own_task_that_is_wrong(own_task: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(LraError, match=rf"^config.yaml: .*{sentence}") as error:
        arena(with_task(**changes), own_task)
    assert "\n" not in str(error.value)


def test_a_missing_setting_of_an_own_task_is_explained(own_task: Path) -> None:
    config = with_task()
    del config["scales"]["mini"]["tasks"]["mine"]["data"]["vocabulary"]
    with pytest.raises(LraError, match=r"tasks.mine.data: 'vocabulary' is missing. Number of token ids"):
        arena(config, own_task)
    config = with_task()
    config["scales"]["mini"]["tasks"]["listop"] = config["scales"]["mini"]["tasks"].pop("listops")
    with pytest.raises(LraError, match=r"data: 'listop' is no task of the Arena, .* Did you mean 'listops'"):
        arena(config, own_task)


def test_the_modern_scale_is_the_papers_data_with_other_settings() -> None:
    paper, modern = (arena(CONFIG | {"scale": scale}) for scale in ("paper", "modern"))
    for task in modern.tasks:
        assert modern.data(task) == paper.data(task)
        experiment = modern.experiment("skeinformer", task, seed=1)
        assert (experiment.model.positions, experiment.train.schedule) == ("rotary", "cosine")
        assert experiment.model.layers == 6 and experiment.train.weight_decay > 0
