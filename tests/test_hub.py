"""Models in folders, and on a substitute for the Hugging Face Hub."""

import hashlib
import json
import os
import re
import subprocess
import sys

import pytest
import torch

import emorl
import tiny
from emorl import stored
from emorl.errors import DataError, reason
from emorl.model import SmallDecoder
from emorl.results import with_error
from hub_server import serving

pytest.importorskip("huggingface_hub")
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled


@pytest.fixture
def folder(tmp_path):
    emorl.load_pretrained("slot_attention/tetrominoes").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def edited(folder, change):
    """Change a folder's configuration."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", [name for name in stored.names() if "/" in name])
def test_a_model_comes_back_from_a_folder(name, tmp_path):
    model = emorl.load_pretrained(name)
    model.save_pretrained(tmp_path / "a")
    again = emorl.from_pretrained(tmp_path / "a")
    assert again.card == model.card
    assert (again.image_size, again.crop, again.training) == (model.image_size, model.crop, False)
    for key, value in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key
    again.save_pretrained(tmp_path / "b")  # and so on
    assert (tmp_path / "b/model.safetensors").read_bytes() == (tmp_path / "a/model.safetensors").read_bytes()


def test_the_folder_holds_safetensors_json_a_card_and_a_picture(folder):
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "config.json", "README.md", "picture.png"}
    card, known = (folder / "README.md").read_text(), stored.load_card("slot_attention/tetrominoes")
    assert card.startswith("---\nlicense: mit\nlibrary_name: emorl\n")
    score = known["tests"]["means"]["scores"]["I=3"]["fg_ari"]
    for part in ("# SlotAttention, tetrominoes", "emorl.from_pretrained(", "![", "40,000 steps", "## License"):
        assert part in card
    assert with_error(score["mean"], score["standard_error"]) in card


def test_the_card_of_a_checkpoint_claims_nothing_that_is_not_known(tmp_path):
    checkpoint = tiny.saved(tiny.module(), tmp_path / "a.ckpt")
    model = emorl.load_pretrained(checkpoint)
    model.save_pretrained(tmp_path / "plain")
    card = (tmp_path / "plain/README.md").read_text()
    assert card.startswith("---\nlibrary_name: emorl\n")
    assert "# EfficientMORL\n" in card
    for claim in ("as emorl", "MIT,", "its card does not name", "![", "Not known", "license: mit"):
        assert claim not in card
    assert "Not specified: add it here" in card
    model.card |= {"trained_on": "my images", "license": "CC-BY-4.0"}
    model.save_pretrained(tmp_path / "filled")
    card = (tmp_path / "filled/README.md").read_text()
    assert card.startswith("---\nlicense: cc-by-4.0\n")
    for part in ("# EfficientMORL, my images\n", "steps on my images.", "\nCC-BY-4.0. The code, emorl "):
        assert part in card
    assert emorl.from_pretrained(tmp_path / "filled").card == model.card


def test_a_shipped_name_needs_no_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert emorl.from_pretrained("tetrominoes").card["weights"] == "tetrominoes"
    with pytest.raises(DataError, match=r"expected the package huggingface_hub, .*; pip install 'emorl\[hub\]'"):
        emorl.from_pretrained("user/repo")


def test_a_damaged_file_is_refused(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="expected weights with SHA-256"):
        emorl.from_pretrained(folder)


@pytest.mark.parametrize("place", ["network", "decoder"])
def test_a_class_of_another_package_is_refused_before_it_is_imported(folder, place):
    def change(config):
        network = config["model"]["network"]
        part = network if place == "network" else network["init_args"]["decoder"]
        part["class_path"] = "subprocess.Popen"

    edited(folder, change)
    with pytest.raises(DataError, match=r"expected classes of emorl.model, got subprocess.Popen"):
        emorl.from_pretrained(folder)


def test_what_is_no_model_is_refused_in_one_line(folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(DataError, match=r"got a folder without config\.json; save"):
            emorl.from_pretrained(tmp_path / "empty")
    for content in ("{", "[]", "{}", '{"sha256": 3, "model": {}, "about": {}}'):
        (folder / "config.json").write_text(content)
        with pytest.raises(DataError, match=r"expected a config\.json of emorl"):
            emorl.from_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"abc")
    config = {"sha256": hashlib.sha256(b"abc").hexdigest(), "model": {}, "about": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="expected safetensors"):
        emorl.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"and model\.safetensors, got No such file or directory; save the model"):
        emorl.from_pretrained(folder)


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    model = emorl.load_pretrained("tetrominoes")
    (tmp_path / "a").write_text("kept")
    with pytest.raises(DataError, match=r"a: expected a folder to write to, got a file; choose another folder"):
        model.save_pretrained(tmp_path / "a")
    with pytest.raises(DataError, match=r"b: expected a folder to write to, got Not a directory; choose"):
        model.save_pretrained(tmp_path / "a/b")
    assert (tmp_path / "a").read_text() == "kept"


@pytest.mark.parametrize("error", [OfflineModeIsEnabled("offline mode is\nenabled."), HTTPError("no route to host")])
def test_a_hub_that_cannot_be_reached_is_told_in_one_line(error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", fail)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", fail)
    cause = re.escape(reason(error).rstrip("."))
    told = (
        rf"^user/slots: expected a .*, got {cause}; check the name, the connection and your access \(hf auth login\)$"
    )
    with pytest.raises(DataError, match=told):
        emorl.from_pretrained("user/slots")
    with pytest.raises(DataError, match=told):
        emorl.load_pretrained("tetrominoes").push_to_hub("user/slots")


@pytest.mark.parametrize("repo", ["user/slots--a", "user/slots/a", "user/a slot", "-a"])
def test_a_repository_that_is_not_valid_is_told_without_a_connection(repo):
    told = rf"^{repo}: expected a repository .*, got .*[^.]; give its name as user/repo$"
    with pytest.raises(DataError, match=told):
        emorl.load_pretrained("tetrominoes").push_to_hub(repo)
    with pytest.raises(
        DataError, match=r"^user/a--b: expected a folder or a repository .*; give its name as user/repo$"
    ):
        emorl.from_pretrained("user/a--b")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tetromino", "got none of them; check the path; did you mean tetrominoes?"),
        (
            "nothing",
            "expected a folder of save_pretrained, a repository user/repo of the hub, or one of multi_dsprites",
        ),
        ("runs/mine/model", "got none of them"),
        ("./mine", "got none of them"),
        ("mine/", "got none of them"),
        ("a.ckpt", "got a file; load a checkpoint with emorl.load_pretrained"),
    ],
)
def test_a_name_that_is_no_repository_is_told_without_the_hub(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    (tmp_path / "a.ckpt").touch()
    with pytest.raises(DataError, match=re.escape(told)):
        emorl.from_pretrained(name)


def test_a_folder_is_for_from_pretrained_and_a_checkpoint_for_load_pretrained(folder, tmp_path):
    with pytest.raises(
        DataError, match=r"expected a checkpoint, got a folder; .* emorl\.from_pretrained loads a folder"
    ):
        emorl.load_pretrained(str(folder))
    (tmp_path / "checkpoints").mkdir()
    told = r"got a folder without config\.json; .* emorl\.load_pretrained loads a checkpoint"
    with pytest.raises(DataError, match=told):
        emorl.from_pretrained(tmp_path / "checkpoints")


HUB = """
import emorl, torch
from emorl.errors import DataError, reason
from emorl.model import SmallDecoder
model = emorl.load_pretrained("tetrominoes")
assert "/commit/" in model.push_to_hub("user/slots", token="hf_none")
again = emorl.from_pretrained("user/slots")
images = torch.rand(2, 3, 35, 35)
with torch.no_grad():
    assert torch.equal(model.encode(images).slots, again.encode(images).slots)
try:
    emorl.from_pretrained("user/nothing")
except DataError as error:
    assert "repository of the hub" in str(error) and "\\n" not in str(error), error
else:
    raise AssertionError
"""


@pytest.mark.slow
def test_a_model_goes_to_the_hub_and_comes_back(tmp_path):
    with serving() as hub:
        settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        ran = subprocess.run([sys.executable, "-c", HUB], env=os.environ | settings, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr[-2000:]
        names = {"model.safetensors", "config.json", "README.md", "picture.png"}
        assert {f"user/slots/{name}" for name in names} <= hub.files.keys()
        assert b'emorl.from_pretrained("user/slots")' in hub.files["user/slots/README.md"]


OWN = """
from emorl.model import SlotAttention


class Own(SlotAttention):
    '''A model of a user's package.'''
"""


def own(tmp_path, monkeypatch, **arguments):
    """A trained model of a class in a user's module, ``own_of_the_hub``."""
    (tmp_path / "own_of_the_hub.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_of_the_hub

    network = own_of_the_hub.Own(**tiny.SIZES | arguments)
    return own_of_the_hub.Own, emorl.pretrained.Pretrained(network, 16, {}).eval()


def test_a_model_of_your_own_comes_back_if_the_reader_names_its_class(tmp_path, monkeypatch):
    cls, model = own(tmp_path, monkeypatch)
    model.save_pretrained(tmp_path / "a")
    card = (tmp_path / "a/README.md").read_text()
    assert "import emorl\nimport own_of_the_hub\n\nmodel = emorl.from_pretrained(" in card
    assert '", classes=[own_of_the_hub.Own])' in card
    told = r"classes of emorl\.model, got own_of_the_hub\.Own; if you trust it, import it and name it: from_pretrained"
    with pytest.raises(DataError, match=told):
        emorl.from_pretrained(tmp_path / "a")
    again = emorl.from_pretrained(tmp_path / "a", classes=[cls])
    assert type(again.network) is cls
    images = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.encode(images).slots, model.encode(images).slots)


def test_a_model_that_cannot_be_stored_leaves_what_was_there(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a repository was created")

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", fail)
    _, model = own(tmp_path, monkeypatch)
    model.save_pretrained(tmp_path / "a")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    _, other = own(tmp_path, monkeypatch, decoder=lambda dim: SmallDecoder(dim))
    for save in (lambda: other.save_pretrained(tmp_path / "a"), lambda: other.push_to_hub("user/a")):
        with pytest.raises(TypeError, match="which a checkpoint cannot store"):
            save()
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize("name", ["tetrominoes", "user/repo"])
def test_an_unknown_option_is_refused(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'revison'"):
        emorl.from_pretrained(name, revison="v1")
