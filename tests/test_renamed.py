"""Former names in configurations, checkpoints, command lines and Python code: they keep working."""

import importlib
import json

import pytest
import torch

import emorl
import emorl.model as m
import tiny
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.model.build import build as built
from emorl.module import SlotModule
from emorl.renamed import current, current_words

FORMER = {
    "emorl.model.BalancedInitialisation": "BalancedInitialization",
    "emorl.model.Initialisation": "Initialization",
    "emorl.model.IodineInitialisation": "IodineInitialization",
    "emorl.model.ReleasedInitialisation": "ReferenceInitialization",
    "emorl.model.ReleasedDecoderInitialisation": "ReferenceDecoderInitialization",
    "emorl.viz.COLOURS": "COLORS",
    "emorl.viz.colourise": "colorize",
    "emorl.data.generate.tetrominoes.COLOURS": "COLORS",
    "emorl.data.generate.tetrominoes.NEW_COLOURS": "NEW_COLORS",
    "emorl.data.generate.multi_dsprites.COLOURS": "COLORS",
}
CONFIGURATION = """
model:
  network:
    class_path: EfficientMORL
    init_args:
      slot_dim: 8
      initialisation: {path}
"""
PATHS = (
    "BalancedInitialisation",
    "emorl.model.BalancedInitialisation",
    "emorl.model.initialisation.BalancedInitialisation",
    "{{class_path: BalancedInitialisation}}",
)


def balanced(network):
    """Tell whether a network began with `BalancedInitialization`, which sets the biases of rho."""
    return bool((network.prior.conditional.rho.bias == -2).all())


@pytest.mark.parametrize("path", FORMER)
def test_a_former_name_is_the_same_object(path):
    module, _, name = path.rpartition(".")
    assert getattr(importlib.import_module(module), name) is getattr(importlib.import_module(module), FORMER[path])


@pytest.mark.parametrize("module", ["emorl.model", "emorl.viz", "emorl.data.generate.tetrominoes"])
def test_a_name_that_never_was_is_none(module):
    with pytest.raises(AttributeError, match=f"module '{module}' has no attribute 'Nothing'"):
        _ = importlib.import_module(module).Nothing


@pytest.mark.parametrize("path", PATHS)
def test_a_configuration_with_former_names_builds(path, tmp_path, build, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text(CONFIGURATION.format(path=path.format()))
    assert balanced(build("fit", "-c", "old.yaml", "--trainer.logger=false").model.network)


@pytest.mark.parametrize(
    "option",
    [
        "--model.network.initialisation=BalancedInitialisation",
        "--model.network.init_args.initialisation=emorl.model.BalancedInitialisation",
        "--model.network.init_args.initialisation.class_path=BalancedInitialisation",
        '--model.network={"class_path": "EfficientMORL", "init_args": {"initialisation": "BalancedInitialisation"}}',
    ],
)
def test_a_command_line_with_former_names_builds(option, tmp_path, build, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert balanced(build("fit", option, "--trainer.logger=false").model.network)


def test_current_configurations_are_printed_with_current_names(tmp_path, emorl, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yaml").write_text(CONFIGURATION.format(path=PATHS[1]))
    with pytest.raises(SystemExit):
        emorl("fit", "-c", "old.yaml", "--print_config")
    printed = capsys.readouterr().out
    assert "initialization:" in printed
    assert "nitialisation" not in printed


def test_only_names_of_ours_are_replaced():
    for words in (["--output_dir", "BalancedInitialisation"], ["--x.class_path=mine.Initialisation"], ["new_colours"]):
        assert current_words(words) == words
    for value in ({"name": "BalancedInitialisation"}, {"class_path": "mine.BalancedInitialisation"}):
        assert current(value) == value


def former(value):
    """Return a description with the former names."""
    text = json.dumps(value).replace("nitialization", "nitialisation").replace("Reference", "Released")
    return json.loads(text)


@pytest.fixture
def model():
    return m.EfficientMORL(**tiny.SIZES, initialization=m.BalancedInitialization)


def test_a_checkpoint_with_former_names_loads(model, tmp_path):
    path = tiny.saved(tiny.module(network=model), tmp_path / "a.ckpt")
    content = torch.load(path, weights_only=True)
    old = former(content["hyper_parameters"]["network"])
    assert "initialisation" in old["init_args"]
    content["hyper_parameters"]["network"] = old
    torch.save(content, path)
    for loaded in (SlotModule.load_from_checkpoint(path), emorl.load_pretrained(str(path))):
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.network.state_dict()[name], value), name
    assert SlotModule.load_from_checkpoint(str(path), image_size=20).image_size == 20


def test_a_folder_with_former_names_loads(model, tmp_path):
    pytest.importorskip("huggingface_hub")
    path = tiny.saved(tiny.module(network=model), tmp_path / "a.ckpt")
    emorl.load_pretrained(str(path)).save_pretrained(tmp_path / "saved")
    config = tmp_path / "saved/config.json"
    config.write_text(json.dumps(former(json.loads(config.read_text()))))
    assert "BalancedInitialisation" in config.read_text()
    loaded = emorl.from_pretrained(tmp_path / "saved").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())


def test_a_description_with_former_names_builds():
    init_args = {**tiny.SIZES, "initialisation": {"class_path": "emorl.model.BalancedInitialisation"}}
    assert balanced(built({"class_path": "emorl.model.EfficientMORL", "init_args": init_args}))


def test_a_former_variant_has_the_same_scenes():
    old, new = (Tetrominoes(1, variant=f"new_{name}").scene(0) for name in ("colours", "colors"))
    assert (old.image == new.image).all()
    assert Tetrominoes(1, variant="new_colours").variant == "new_colors"


def test_a_former_variant_is_generated(tmp_path):
    from emorl.data.cli import main

    options = ["--train", "2", "--val", "0", "--test", "0", "--processes", "1"]
    for name, variant in (("a", "new_colours"), ("b", "new_colors")):
        assert not main(["generate", "tetrominoes", str(tmp_path / name), "--variant", variant, *options])
    assert (tmp_path / "a/manifest.json").read_bytes() == (tmp_path / "b/manifest.json").read_bytes()
