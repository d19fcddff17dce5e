"""A folder of ``save_pretrained`` works wherever the name of shipped weights does."""

import hashlib
import json
import re
import sys
from inspect import signature
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import emorl as package
import tiny
from emorl.errors import DataError
from emorl.evaluation.report.run import read_run
from emorl.explore import build as explore
from emorl.module import SlotModule
from emorl.pretrained import load_module, load_pretrained
from emorl.saved import SETTINGS
from emorl.stored import read_checkpoint, read_weights
from test_cli import QUIET, error_of

NAME = "slot_attention/tetrominoes"
pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Shipped weights as a folder."""
    folder = tmp_path_factory.mktemp("saved") / "mine"
    load_pretrained(NAME).save_pretrained(folder)
    return folder


@pytest.fixture
def trained(tmp_path):
    """A checkpoint whose settings differ from the defaults, and the folder that it is saved to."""
    checkpoint = tiny.saved(tiny.module(image_size=20, test_means=True, refinement_steps=2), tmp_path / "a.ckpt")
    load_pretrained(checkpoint).save_pretrained(tmp_path / "folder")
    return checkpoint, tmp_path / "folder"


@pytest.fixture
def unnamed(tmp_path, monkeypatch):
    """The name of a module that can be imported, and configurations of its class in the working directory."""
    (tmp_path / "unnamed.py").write_text("from emorl.model import SmallDecoder\n\n\nclass D(SmallDecoder):\n    pass\n")
    (tmp_path / "unnamed.yaml").write_text("class_path: unnamed.D\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "unnamed"
    sys.modules.pop("unnamed", None)


def rewritten(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config["about"]["model"])
    (folder / "config.json").write_text(json.dumps(config))


def test_it_is_what_was_saved(folder):
    ours, theirs = read_weights(folder), read_weights(NAME)
    assert ours.card == theirs.card
    assert {name: value for name, value in ours.model.items() if name != "network"} == {
        name: value for name, value in theirs.model.items() if name != "network"
    }
    assert all(torch.equal(ours.state[name], value) for name, value in theirs.state.items())


@pytest.mark.parametrize(
    "load", [load_pretrained, load_module, package.from_pretrained, lambda name: read_run(str(name))]
)
def test_every_function_takes_it_without_the_hub(load, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    ours, theirs = load(folder), load(NAME)
    if isinstance(ours, torch.nn.Module):
        assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())
    else:
        assert ours == theirs
        assert ours.history


def test_a_new_run_has_the_settings_of_its_weights(folder, shards, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.chdir(tmp_path)
    found = []
    for name in (NAME, folder):
        with pytest.raises(SystemExit):
            emorl("fit", f"--pretrained={name}", f"--data.root={shards}", "--print_config")
        found.append(yaml.safe_load(capsys.readouterr().out)["model"])
    assert found[0] == found[1]


@pytest.mark.parametrize("command", ["test", "predict"])
def test_commands_give_the_results_of_the_checkpoint_that_was_saved(command, trained, shards, tmp_path, emorl):
    for number, path in enumerate(trained):
        emorl(
            command, f"--pretrained={path}", f"--data.root={shards}", f"--output_dir={tmp_path / str(number)}", *QUIET
        )
    files = [
        sorted(path.relative_to(tmp_path / str(number)) for path in (tmp_path / str(number)).rglob("*.*"))
        for number in (0, 1)
    ]
    assert files[0] == files[1]
    if command == "test":
        first, second = ((tmp_path / f"{number}/metrics.json").read_text() for number in (0, 1))
        assert first == second
        assert json.loads(first).keys() == {"I=0", "I=1"}


def test_training_starts_from_it(trained, shards, tmp_path, monkeypatch, emorl):
    monkeypatch.chdir(tmp_path)
    options = ("--trainer.max_steps=1", "--model.optimizer.init_args.lr=0", "--data.batch_size=2")
    emorl("fit", f"--pretrained={trained[1]}", f"--data.root={shards}", *options, *QUIET)
    (path,) = tmp_path.glob("*/**/*.ckpt")
    first, last = (torch.load(each, weights_only=True) for each in (trained[0], path))
    assert last["hyper_parameters"]["refinement_steps"] == 2
    for name, _ in tiny.module().named_parameters():
        assert torch.equal(last["state_dict"][name], first["state_dict"][name]), name


def test_the_explorer_and_export_take_it(folder, tmp_path, monkeypatch, emorl, capsys):
    monkeypatch.setattr(explore, "cached", lambda key, _: Path(key))
    assert explore._bundle(str(folder), None, ()) == explore._bundle(NAME, None, ())
    asked = []
    monkeypatch.setattr("emorl.export_command.export_model", lambda model, *_: asked.append(model.card) or [])
    with pytest.raises(SystemExit) as ended:
        emorl("export", folder, tmp_path / "out.onnx")
    assert ended.value.code in (0, None)
    assert asked == [load_pretrained(NAME).card]


def test_a_class_of_another_package_is_not_imported(folder, trained, monkeypatch, emorl, shards, capsys):
    (trained[1] / "config.json").write_text((trained[1] / "config.json").read_text())
    rewritten(trained[1], lambda model: model.update(optimizer={"class_path": "nowhere.Lion"}))
    assert "optimizer" not in read_weights(trained[1]).model
    load_module(trained[1])
    config = json.loads((trained[1] / "config.json").read_text())
    config["model"]["network"]["class_path"] = "subprocess.Popen"
    (trained[1] / "config.json").write_text(json.dumps(config))
    line = error_of(emorl, capsys, "test", f"--pretrained={trained[1]}", f"--data.root={shards}")
    assert "expected classes of emorl.model, got subprocess.Popen; if you trust it" in line
    assert "--classes subprocess.Popen of a command" in line


def with_decoder(value):
    return lambda network: network["init_args"].update(decoder=value)


@pytest.mark.parametrize(
    "change",
    [
        with_decoder("unnamed.D"),
        with_decoder(["unnamed.D"]),
        with_decoder("{class_path: unnamed.D}"),
        with_decoder("unnamed.yaml"),
        with_decoder({"position": "unnamed.D"}),
        with_decoder({"init_args": {"position": "unnamed.D"}}),
        lambda network: network["init_args"].update({"decoder.class_path": "unnamed.D"}),
        lambda network: network.update({"init_args.decoder": "unnamed.D"}),
        lambda network: network.update(dict_kwargs={"decoder": "unnamed.D"}),
        lambda network: network.update(init_args="{decoder: unnamed.D}"),
        lambda network: network.pop("class_path"),
    ],
)
def test_a_class_that_a_network_names_otherwise_is_not_imported(change, trained, unnamed):
    config = json.loads((trained[1] / "config.json").read_text())
    change(config["model"]["network"])
    (trained[1] / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"expected classes of emorl.model, got [^\n]*; if you trust it"):
        load_module(trained[1])
    assert unnamed not in sys.modules


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optimizer", "unnamed.D"),
        ("optimizer", {"class_path": "torch.optim.Adam", "init_args.lr": "unnamed.D"}),
        ("scheduler", {"class_path": "emorl.optim.Warmup", "init_args": {"decay": "unnamed.D"}}),
        ("scheduler", {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "unnamed.D"}}),
    ],
)
def test_a_class_that_a_setting_names_otherwise_is_not_imported(name, value, trained, unnamed):
    rewritten(trained[1], lambda model: model.update({name: value}))
    assert name not in read_weights(trained[1]).model
    load_module(trained[1])
    assert unnamed not in sys.modules


@pytest.mark.parametrize("name", ["optimizer", "network.init_args.decoder"])
def test_the_model_in_a_configuration_has_no_other_settings(name, trained, unnamed):
    config = json.loads((trained[1] / "config.json").read_text())
    config["model"][name] = "unnamed.D"
    (trained[1] / "config.json").write_text(json.dumps(config))
    load_module(trained[1])
    assert unnamed not in sys.modules


def test_settings_of_data_are_taken(trained):
    init_args = {"max_lr": 0.1, "total_steps": 10, "anneal_strategy": "linear"}
    scheduler = {"class_path": "torch.optim.lr_scheduler.OneCycleLR", "init_args": init_args}
    rewritten(trained[1], lambda model: model.update(scheduler=scheduler))
    assert read_weights(trained[1]).model["scheduler"] == scheduler


def test_a_folder_of_something_else_is_refused(tmp_path, shards, emorl, capsys):
    (tmp_path / "empty").mkdir()
    for option in ("--pretrained", "--ckpt_path"):
        line = error_of(emorl, capsys, "test", f"{option}={tmp_path / 'empty'}", f"--data.root={shards}")
        assert "got a folder" in line
    (tmp_path / "empty/config.json").write_text("[" * 100_000)
    assert "expected a config.json of emorl" in error_of(
        emorl, capsys, "test", f"--pretrained={tmp_path / 'empty'}", f"--data.root={shards}"
    )


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_folder_in_the_place_of_a_file_is_one_line(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"{name}: expected a file, or none, got a folder; move it away"):
        load_pretrained(NAME).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("content", ["{}", "[]", '{"model_type": "bert"}'])
def test_a_configuration_of_something_else_is_not_written_over(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(
        DataError, match=r"expected config\.json of a model of emorl, or none, got another config\.json; "
    ):
        load_pretrained(NAME).save_pretrained(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == [content]


@pytest.mark.parametrize("name", ["folder", NAME])
def test_a_run_does_not_resume_from_it(name, folder, shards, emorl, capsys):
    given = folder if name == "folder" else name
    line = error_of(emorl, capsys, "test", f"--ckpt_path={given}", f"--data.root={shards}")
    assert "as --pretrained" in line


def test_the_settings_of_a_card_are_those_of_the_module():
    assert {*SETTINGS, "network", "image_size", "crop"} == signature(SlotModule).parameters.keys()


@pytest.mark.parametrize(
    "setting",
    [{"refinement_steps": "x"}, {"test_draws": 0}, {"optimizer": {"class_path": "emorl.optim.Lion"}}],
)
def test_settings_that_do_not_fit_are_one_line(setting, trained, shards, emorl, capsys):
    rewritten(trained[1], lambda model: model.update(setting, later=1))
    with pytest.raises(SystemExit) as ended:
        emorl("test", f"--pretrained={trained[1]}", f"--data.root={shards}")
    line = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert "error: " in line


@pytest.mark.parametrize("load", [load_pretrained, load_module, package.from_pretrained])
@pytest.mark.parametrize("value", [None, 3, ["tetrominoes"]])
def test_what_is_neither_text_nor_a_path_is_told(load, value):
    with pytest.raises(
        TypeError, match=r"^Expected the name of shipped weights, or the path of [^\n]*, got [^\n]*\. Names are"
    ):
        load(value)


@pytest.fixture
def namesake(tmp_path, monkeypatch):
    """A folder with the name of shipped weights, in the working directory, whose card says so."""
    monkeypatch.chdir(tmp_path)
    model = load_pretrained("tetrominoes")
    model.card = {"trained_on": "mine"}
    model.save_pretrained("tetrominoes")
    return "tetrominoes"


@pytest.mark.parametrize("load", [load_pretrained, package.from_pretrained, read_weights])
def test_a_path_is_a_folder_and_a_name_the_shipped_weights_with_a_warning(load, namesake, recwarn):
    assert load(Path(namesake)).card == load(f"./{namesake}").card == {"trained_on": "mine"}
    assert not recwarn
    with pytest.warns(UserWarning, match=r"^tetrominoes is the name of shipped .*give \./tetrominoes$") as record:
        shipped = load(namesake)
    assert [warning.filename for warning in record] == [__file__]
    assert shipped.card["weights"] == namesake


def test_shipped_weights_are_saved_without_the_warning(namesake, recwarn):
    model = load_pretrained("slot_attention/tetrominoes")
    Path("slot_attention/tetrominoes").mkdir(parents=True)
    Path("slot_attention/tetrominoes/config.json").write_text("{}")
    model.save_pretrained("again")
    assert not recwarn


@pytest.mark.parametrize("load", [load_pretrained, load_module, package.from_pretrained])
@pytest.mark.parametrize("name", ["tetrominoes", "iodine/tetrominoes", "user/repo"])
def test_a_path_is_neither_a_name_nor_a_repository(load, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("emorl.pretrained._hub", lambda: pytest.fail("asks the hub"))
    with pytest.raises(DataError, match=f"^{name}: expected a (checkpoint|folder)"):
        load(Path(name))


def reweighted(folder, change):
    """Change the weights of a folder, with their checksum."""
    state = load_file(folder / "model.safetensors")
    name = next(name for name, value in state.items() if value.is_floating_point() and value.any())
    save_file(state | {name: change(state[name])}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("load", [load_pretrained, load_module, package.from_pretrained])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_loaded(load, value, trained):
    folder = trained[1]
    reweighted(folder, lambda weight: torch.full_like(weight, value))
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}: expected finite numbers, got a NaN"):
        load(folder)


@pytest.mark.parametrize("load", [load_pretrained, load_module, package.from_pretrained])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_weights_that_are_no_floats_are_not_loaded(load, dtype, trained):
    folder = trained[1]
    reweighted(folder, lambda weight: weight.to(dtype))
    with pytest.raises(DataError, match=rf"^{re.escape(str(folder))}: expected .* of type torch.float32, got {dtype};"):
        load(folder)


def card_of(checkpoint, folder):
    """Return the section Training of the model card of a checkpoint, and the metadata in its folder."""
    load_pretrained(checkpoint).save_pretrained(folder)
    text = (folder / "README.md").read_text()
    return text.partition("## Training\n\n")[2].partition("\n")[0], load_pretrained(folder).card


def test_the_card_of_a_training_names_its_data_and_the_weights_that_it_started_from(
    shards, tmp_path, monkeypatch, emorl
):
    monkeypatch.chdir(tmp_path)
    options = (f"--data.root={shards}", "--data.batch_size=2", "--trainer.logger=false", *QUIET)

    def fit(where, *more):
        emorl("fit", *options, f"--trainer.default_root_dir={where}", "--trainer.max_steps=1", *more)
        return tmp_path / where / "checkpoints/last.ckpt"

    own = tiny.saved(tiny.module(image_size=20), tmp_path / "own.ckpt")
    unknown = "Started from weights whose training is not recorded. "
    data = "tetrominoes, standard"
    first = fit("a", f"--pretrained={own}")
    assert card_of(first, tmp_path / "card_a")[0] == f"0 steps. Then 1 steps on {data}."
    second = fit("b", f"--pretrained={tmp_path / 'card_a'}")
    text, card = card_of(second, tmp_path / "card_b")
    assert text == f"0 steps. Then 1 steps on {data}. Then 1 steps on {data}."
    assert card["started_from"]["trained_on"] == data
    resumed = ("--trainer.max_steps=2", f"--ckpt_path={second}")
    emorl("fit", *options, "--trainer.default_root_dir=b", *resumed)
    assert card_of(second, tmp_path / "card_c")[0] == f"0 steps. Then 1 steps on {data}. Then 2 steps on {data}."
    shipped = fit("d", "--pretrained=tetrominoes", "--model.image_size=35")
    text, card = card_of(shipped, tmp_path / "card_d")
    assert text == f"Started from the weights `tetrominoes` of emorl, which were changed. Then 1 steps on {data}."
    assert (card["trained_on"], card["started_from"]) == (data, {"base_weights": "tetrominoes"})
    content = torch.load(first, weights_only=True)
    content["training"]["started_from"] = {}
    torch.save(content, tmp_path / "other.ckpt")
    assert card_of(tmp_path / "other.ckpt", tmp_path / "card_e")[0] == f"{unknown}Then 1 steps on {data}."


def test_a_module_remembers_the_weights_that_it_was_loaded_from(trained):
    assert load_module("tetrominoes").started_from == {"base_weights": "tetrominoes"}
    for module in (load_module(trained[0]), SlotModule.load_from_checkpoint(trained[0])):
        assert module.started_from == {"total_steps": 0}
    assert tiny.module().started_from is None


def test_the_explorer_names_a_model_that_it_cannot_export_as_it_was_given(tmp_path, emorl, capsys):
    load_pretrained("iodine/tetrominoes").save_pretrained(tmp_path / "mine")
    with pytest.raises(SystemExit):
        emorl("explore", tmp_path / "mine", "--out", tmp_path / "page")
    line = capsys.readouterr().err
    assert f"error: {tmp_path / 'mine'}: expected a model of plain tensor operations" in line
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize("load", [load_pretrained, load_module, package.from_pretrained, read_weights])
def test_an_empty_name_is_not_the_working_directory(load):
    with pytest.raises(DataError, match="name: expected a path, got empty text"):
        load("")
    with pytest.raises(DataError, match=r"^'': expected a checkpoint"):  # as of a configuration
        read_checkpoint("")
