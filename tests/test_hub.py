"""Models in folders, and on a substitute for the Hugging Face Hub."""

import hashlib
import json
import math
import os
import re
import shutil
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import emorl
import tiny
import warm
from emorl import stored
from emorl.errors import DataError, reason
from emorl.folder import files_of
from emorl.model import MixtureLikelihood, SlotAttention, SmallDecoder
from emorl.model.build import build
from emorl.results import with_error
from hub_server import serving

pytest.importorskip("huggingface_hub")
from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled

from emorl import hub

FILES = {"model.safetensors", "config.json", "README.md", "picture.png"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped") / "saved"
    emorl.load_pretrained("slot_attention/tetrominoes").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "saved")


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
    assert {p.name for p in folder.iterdir()} == FILES
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


def test_a_value_of_several_lines_does_not_break_the_model_card(folder):
    model = emorl.load_pretrained("slot_attention/tetrominoes")
    scores = model.card["tests"]["means"]
    broken = {"tests": {"my\n|test": scores}, "trained_on": "my\n\n# images", "license": "a\n---\nb"}
    model.card |= {**broken, "versions": {**model.card["versions"], "machine": "a\r\nb"}}
    model.save_pretrained(folder)
    card = (folder / "README.md").read_text()
    (row,) = (line for line in card.splitlines() if "test, I=3" in line)
    assert row.startswith(r"| my \|test, I=3 | ")
    assert len(re.split(r"(?<!\\)\|", row)) == 7
    for part in ("# SlotAttention, my # images\n", "on a b, seed", "on my # images. "):
        assert part in card
    network = emorl.pretrained.Pretrained(model.network, 35, broken).eval()
    network.save_pretrained(folder)
    front = (folder / "README.md").read_text().split("---\n")
    assert front[1].splitlines()[0] == 'license: "a --- b"'
    assert emorl.from_pretrained(folder).card == broken


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
        with pytest.raises(DataError, match=r"got a folder without config\.json; give"):
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
    monkeypatch.setattr("emorl.hub.hf_hub_download", fail)
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
            "expected a folder of save_pretrained, a repository user/repo of the hub, or one of clevr6",
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
assert "/commit/" in model.push_to_hub("alone", token="hf_none")
options = {"license": "mit-0", "trained_on": "my images"}
model.card = {}
assert "/commit/" in model.push_to_hub("user/options", token="hf_none", model_card_kwargs=options)
try:
    emorl.from_pretrained("user/nothing")
except DataError as error:
    assert "repository of the hub" in str(error) and "\\n" not in str(error), error
else:
    raise AssertionError
"""


def run_with(hub, code, tmp_path):
    """Run a program that uses a hub; return what it writes to stderr."""
    settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    ran = warm.run(code, environment=os.environ | settings)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return ran.stderr


PUSH = """
import emorl
model = emorl.load_pretrained("slot_attention/tetrominoes")
model.card = {card}
model.push_to_hub("user/slots", token="hf_none")
"""


@pytest.mark.slow
def test_a_card_that_was_edited_on_the_hub_is_kept_with_a_warning(tmp_path):
    shipped, own = PUSH.replace("{card}", "model.card"), PUSH.format(card={"trained_on": "mine"})
    with serving() as hub:
        names = [f"user/slots/{name}" for name in ("README.md", "picture.png", "config.json")]
        run_with(hub, shipped, tmp_path)
        assert {*names} <= hub.files.keys()
        assert "was edited" not in run_with(hub, own, tmp_path)  # the new card replaces the former one and its picture
        assert b"SlotAttention, mine" in hub.files[names[0]]
        assert names[1] not in hub.files
        hub.files[names[0]] = b"edited"
        told = run_with(hub, shipped, tmp_path)
        assert "user/slots/README.md was edited and is kept; delete it to get the new model card" in told
        assert hub.files[names[0]] == b"edited"
        assert b'"weights"' in hub.files[names[2]]
        run_with(hub, own, tmp_path)
        assert names[1] in hub.files  # which the edited card may show
        del hub.files[names[0]]
        assert "was edited" not in run_with(hub, own, tmp_path)
        assert b"# SlotAttention, mine" in hub.files[names[0]]
        assert names[1] not in hub.files


@pytest.mark.slow
def test_a_model_goes_to_the_hub_and_comes_back(tmp_path):
    with serving() as hub:
        run_with(hub, HUB, tmp_path)
        names = {"model.safetensors", "config.json", "README.md", "picture.png"}
        assert {f"user/slots/{name}" for name in names} <= hub.files.keys()
        for name in ("user/slots", "user/alone", "user/options"):
            assert f'emorl.from_pretrained("{name}")'.encode() in hub.files[f"{name}/README.md"]
        assert b"license: mit-0" in hub.files["user/options/README.md"]


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
    told = r"got own_of_the_hub\.Own; if you trust it, name it: --classes own_of_the_hub\.Own of a command, or from_pre"
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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Path("data"), r"^card\.x: expected .*, got PosixPath\('data'\) of type PosixPath; convert it"),
        ({"a": [1, np.float32(1.5)]}, r"^card\.x\.a\[1\]: expected .* of type float32; convert it"),
        (date(2026, 1, 1), r"^card\.x: expected .* of type date; convert it"),
        (torch.ones(2), r"^card\.x: expected .*, got a tensor \[2\].*; convert it"),
        ({("a",): 1}, r"^card\.x, key \('a',\): expected .*; convert it"),
        ([1.0, float("nan")], r"^card\.x\[1\]: expected a finite number, got nan; correct or remove it$"),
        (-math.inf, r"^card\.x: expected a finite number, got -inf; correct or remove it$"),
    ],
)
def test_a_card_that_cannot_be_stored_leaves_what_was_there(folder, value, told):
    before, model = contents(folder), emorl.load_pretrained("tetrominoes")
    model.card["x"] = value
    with pytest.raises(DataError, match=told):
        model.save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("key", "value"), [("total_steps", "many"), ("tests", "none"), ("tests", {"a": {}}), ("versions", [])]
)
def test_a_card_that_cannot_be_shown_leaves_what_was_there(folder, key, value):
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes")
    model.card[key] = value
    with pytest.raises(DataError, match=r"^card[^\n]*: expected [^\n]*; [^\n]*$"):
        model.save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("value", [3, None, ["MIT"]])
def test_a_license_is_text(value, folder):
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes")
    model.card = {"license": value}
    told = rf"^card\.license: expected text, got {re.escape(repr(value))}; give it as text, such as CC-BY-4.0, or"
    for save in (model.save_pretrained, lambda folder: model.export(folder / "a.pt2", methods=["decode"])):
        with pytest.raises(DataError, match=told):
            save(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.to("meta"),
        lambda model: setattr(model, "crop", "centre"),
        lambda model: setattr(model, "image_size", "35"),
        lambda model: model.network.register_buffer("more", torch.ones(2)),
        lambda model: model.network.register_buffer("more", torch.ones(2).to_sparse()),
    ],
)
def test_a_model_that_could_not_be_loaded_is_not_saved(folder, change):
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes")
    change(model)
    with pytest.raises(DataError, match=r"^[^\n]*: expected [^\n]*; [^\n]*$"):
        model.save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(("name", "stored"), [("num_slots", 4), ("slot_dim", 64)])
def test_a_number_that_would_not_be_loaded_is_not_saved(name, stored, folder):
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes")
    setattr(model.network, name, 6)
    told = rf"^model: expected {name} = {stored} of its construction, got 6; build the model with {name}=6, and"
    with pytest.raises(DataError, match=told):
        model.save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda network: setattr(network, "kl_weight", 0.5), "kl_weight = 0.03 of its construction, got 0.5"),
        (
            lambda network: setattr(network.likelihood, "scale", 0.2),
            "likelihood.scale = 0.3 of its construction, got 0.2",
        ),
        (
            lambda network: setattr(network, "likelihood", MixtureLikelihood()),
            "likelihood = GaussianLikelihood of its construction, got MixtureLikelihood",
        ),
    ],
    ids=["weight", "number of a part", "part"],
)
def test_a_part_that_would_not_be_loaded_is_not_saved(change, told, folder):
    """They determine the gradients that refinement reads, and so the slots."""
    model = emorl.load_pretrained("tetrominoes")
    change(model.network)
    with pytest.raises(DataError, match=f"^model: expected {told}; build the model with"):
        model.save_pretrained(folder)


def test_the_weights_of_a_shipped_model_with_another_configuration_have_no_scores(tmp_path):
    shipped = emorl.load_pretrained("slot_attention/tetrominoes")
    arguments = shipped.card["model"]["network"]["init_args"] | {"num_slots": 6}
    network = build({"class_path": "emorl.model.SlotAttention", "init_args": arguments})
    network.load_state_dict(shipped.network.state_dict())
    emorl.pretrained.Pretrained(network, shipped.image_size, shipped.card, shipped.crop).eval().save_pretrained(
        tmp_path
    )
    card = (tmp_path / "README.md").read_text()
    assert "K = 6 slots" in card
    assert "None are recorded." in card
    again = emorl.from_pretrained(tmp_path)
    assert (again.network.num_slots, again.card) == (6, {"base_weights": "slot_attention/tetrominoes"})


def test_weights_that_become_infinite_when_they_are_loaded_are_not_stored(folder):
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes").double()
    with torch.no_grad():
        model.network.decoder.layers[0].weight[0, 0] = 1e300
    with pytest.raises(DataError, match=r"^weights: expected finite numbers, got a NaN or an infinity in 1 of"):
        model.save_pretrained(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_not_stored(folder, value, dtype, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", None)
    before, model = contents(folder), emorl.load_pretrained("slot_attention/tetrominoes").to(dtype)
    with torch.no_grad():
        model.network.decoder.layers[0].weight[0, 0] = value
    told = r"^weights: expected finite numbers, got a NaN or an infinity in 1 of \d+ tensors, the first decoder\.la"
    for save in (
        lambda: model.save_pretrained(folder),
        lambda: model.push_to_hub("user/a"),
        lambda: model.export(tmp_path / "a.pt2"),
    ):
        with pytest.raises(DataError, match=told):
            save()
    assert contents(folder) == before
    assert not list(tmp_path.glob("*.pt2"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_comes_back_in_float32(tmp_path, dtype):
    model = emorl.load_pretrained("slot_attention/tetrominoes").to(dtype)
    model.save_pretrained(tmp_path / "a")
    again = emorl.from_pretrained(tmp_path / "a")
    for key, value in model.network.state_dict().items():
        assert load_file(tmp_path / "a/model.safetensors")[key].dtype == value.dtype
        assert torch.equal(again.network.state_dict()[key], value.float() if value.is_floating_point() else value)
    assert again.reconstruct(torch.rand(1, 3, 35, 35)).masks.dtype == torch.float32


def test_saving_does_not_change_random_numbers(tmp_path):
    model, state = emorl.load_pretrained("tetrominoes"), torch.get_rng_state()
    model.save_pretrained(tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_that_share_memory_come_back(tmp_path):
    model = emorl.pretrained.Pretrained(tiny.network(), 16, {}).eval()
    first, second = [p for p in model.network.parameters() if p.shape == (8,)][:2]
    second.data = first.data
    model.save_pretrained(tmp_path / "a")
    again = emorl.from_pretrained(tmp_path / "a")
    for key, value in model.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[key], value), key


def test_a_new_card_replaces_one_that_was_not_edited(folder, recwarn):
    model = emorl.load_pretrained("slot_attention/tetrominoes")
    model.card = {"trained_on": "my images"}
    model.save_pretrained(folder)
    assert set(contents(folder)) == {"model.safetensors", "config.json", "README.md"}
    assert "# SlotAttention, my images\n" in (folder / "README.md").read_text()
    emorl.load_pretrained("slot_attention/tetrominoes").save_pretrained(folder)
    assert "picture.png" in contents(folder)
    assert not recwarn.list


@pytest.mark.parametrize("record", ["kept", "removed", "damaged"])
def test_an_edited_card_is_kept_with_a_warning(folder, record):
    if record == "kept":
        (folder / "README.md").write_text("mine")
    elif record == "removed":  # as of earlier versions
        edited(folder, lambda config: config.pop("files"))
    else:
        (folder / "config.json").write_text("{")
    before = (folder / "README.md").read_bytes()
    model = emorl.load_pretrained("slot_attention/tetrominoes")
    model.card = {}
    with pytest.warns(match=r"README\.md was edited and is kept; delete it to get the new model card") as told:
        model.save_pretrained(folder)
    assert [warning.filename for warning in told] == [__file__]
    assert (folder / "README.md").read_bytes() == before
    assert "picture.png" in contents(folder)  # the card shows it
    (folder / "README.md").unlink()
    model.save_pretrained(folder)
    assert (folder / "README.md").read_text().startswith("---\nlibrary_name: emorl\n")


@pytest.mark.parametrize(
    ("before", "killed"),  # without any cleanup, or by Ctrl-C
    [*((before, True) for before in range(10)), *((before, False) for before in (0, 4, 8))],
)
def test_an_interrupted_save_leaves_the_former_or_the_new_model(before, killed, folder, monkeypatch):
    done = []

    def changing(change):
        def changed(*arguments, **options):
            done.append(change)
            if len(done) == before + 1 or (killed and len(done) > before):
                raise KeyboardInterrupt
            return change(*arguments, **options)

        return changed

    model = emorl.load_pretrained("tetrominoes")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", changing(Path.replace))
        patch.setattr(Path, "unlink", changing(Path.unlink))
        try:
            model.save_pretrained(folder)
        except KeyboardInterrupt:
            assert len(done) > before
        else:
            assert before == len(done) == 9
    found = [load(folder).card["weights"] for load in (emorl.load_pretrained, hub.HubModel.from_pretrained)]
    assert found in (["slot_attention/tetrominoes"] * 2, ["tetrominoes"] * 2)
    model.save_pretrained(folder)
    assert emorl.load_pretrained(folder).card["weights"] == "tetrominoes"
    assert {name for name in contents(folder) if not name.endswith(".tmp")} == FILES
    assert contents(folder)["README.md"] == files_of(model)["README.md"]


def test_a_picture_that_an_edited_card_kept_is_removed_with_it(folder):
    (folder / "README.md").write_text("mine")
    model = emorl.load_pretrained("slot_attention/tetrominoes")
    model.card = {}
    with pytest.warns(match=r"README\.md was edited and is kept"):
        model.save_pretrained(folder)
    assert set(contents(folder)) == FILES
    (folder / "README.md").unlink()
    model.save_pretrained(folder)
    assert set(contents(folder)) == FILES - {"picture.png"}


def test_a_card_that_is_already_the_new_one_is_saved_without_a_warning(folder, recwarn):
    edited(folder, lambda config: config.pop("files"))
    emorl.load_pretrained("slot_attention/tetrominoes").save_pretrained(folder)
    assert not recwarn.list


def test_a_picture_of_yours_is_kept(folder):
    (folder / "picture.png").write_bytes(b"mine")
    model = emorl.load_pretrained("slot_attention/tetrominoes")
    with pytest.warns(match=r"picture\.png was edited and is kept; delete it to get the new picture"):
        model.save_pretrained(folder)
    model.card = {}
    model.save_pretrained(folder)
    assert (folder / "picture.png").read_bytes() == b"mine"


def trained(model):
    with torch.no_grad():
        next(model.network.parameters()).add_(1)


def larger(model):
    model.image_size = 64


@pytest.mark.parametrize("change", [trained, larger])
def test_changed_weights_have_a_card_of_their_own(change, tmp_path):
    model = emorl.load_pretrained("tetrominoes")
    change(model)
    model.save_pretrained(tmp_path / "a")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"model.safetensors", "config.json", "README.md"}
    card = (tmp_path / "a/README.md").read_text()
    for claim in ("0.99", "102,000", "MIT.", "license: mit", "![", "EfficientMORL, tetrominoes"):
        assert claim not in card
    assert "Started from the weights `tetrominoes` of emorl, which were changed." in card
    again = emorl.from_pretrained(tmp_path / "a")
    assert again.card == {"base_weights": "tetrominoes"}
    again.card |= {"trained_on": "my images", "license": "CC BY: 4.0"}
    again.save_pretrained(tmp_path / "b")
    card = (tmp_path / "b/README.md").read_text()
    assert card.startswith('---\nlicense: "cc by: 4.0"\n')
    assert "Started from the weights `tetrominoes`" in card
    model.card |= {"trained_on": "my images"}
    model.save_pretrained(tmp_path / "c")
    assert emorl.from_pretrained(tmp_path / "c").card == {"base_weights": "tetrominoes", "trained_on": "my images"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_weights_that_were_only_used_or_converted_keep_their_card(tmp_path, dtype):
    model = emorl.load_pretrained("tetrominoes")
    model.reconstruct(torch.rand(2, 3, 35, 35), steps=1)
    model.to(dtype).save_pretrained(tmp_path / "a")
    assert emorl.from_pretrained(tmp_path / "a").card == model.card


PLACES = """
from emorl.model import SlotAttention, SmallDecoder


class Zoo:
    class Nested(SlotAttention):
        pass


def local():
    class Local(SlotAttention):
        pass
    return Local


Made = type("Other", (SlotAttention,), {})


class Positions(SlotAttention):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)


class Mutating(SlotAttention):
    def __init__(self, widths=(), **kwargs):
        widths.append(1)
        super().__init__(**kwargs)
        import torch
        self.more = torch.nn.Linear(len(widths), 1)
"""


def of_main():
    """Return a class as one that was written in a script or a notebook."""
    return type("Main", (SlotAttention,), {"__module__": "__main__"})


@pytest.mark.parametrize("place", ["Main", "Zoo.Nested", "local", "Made", "decoder"])
def test_a_class_that_nobody_can_import_is_refused_before_anything_is_written(place, tmp_path, monkeypatch):
    (tmp_path / "places.py").write_text(PLACES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "places", raising=False)
    import places

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", None)
    main = of_main()
    monkeypatch.setattr(sys.modules["__main__"], "Main", main, raising=False)
    classes = {"Main": main, "Zoo.Nested": places.Zoo.Nested, "local": places.local(), "Made": places.Made}
    decoder = type("Decoder", (SmallDecoder,), {"__module__": "__main__"})
    network = classes[place](**tiny.SIZES) if place in classes else SlotAttention(**tiny.SIZES, decoder=decoder)
    model = emorl.pretrained.Pretrained(network, 16, {}).eval()
    told = r"expected a class at the top level of a module that can be imported, got [\w.<>]+; move it to a module$"
    for save in (lambda: model.save_pretrained(tmp_path / "a"), lambda: model.push_to_hub("user/a")):
        with pytest.raises(DataError, match=told):
            save()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("kind", ["positions", "mutating", "path", "array", "tensor", "class"])
def test_arguments_that_cannot_be_stored_are_refused_before_anything_is_written(kind, tmp_path, monkeypatch):
    (tmp_path / "places.py").write_text(PLACES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "places", raising=False)
    import places

    values = {"path": Path("a"), "array": np.ones(2), "tensor": torch.ones(2), "class": SmallDecoder}
    if kind == "positions":
        network = places.Positions(4, 8, feature_dim=8)
    else:
        network = places.Mutating(widths=[values[kind]] if kind in values else [], **tiny.SIZES)
    with pytest.raises(DataError, match=r"^model[^\n]*: expected [^\n]*, got [^\n]*; [^\n]*$"):
        emorl.pretrained.Pretrained(network, 16, {}).eval().save_pretrained(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000])
def test_deeply_nested_json_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"expected a config\.json of emorl"):
        emorl.from_pretrained(folder)


@pytest.mark.parametrize("classes", [SmallDecoder, "own.Decoder", ["own.Decoder"], [SmallDecoder, None]])
@pytest.mark.parametrize("name", ["tetrominoes", "user/repo"])
def test_classes_are_a_list_of_classes(name, classes):
    with pytest.raises(TypeError, match=r"^Expected a list of classes, got [^\n]*\. Give it as classes="):
        emorl.from_pretrained(name, classes=classes)


@pytest.mark.parametrize("name", ["tetrominoes", "user/repo"])
def test_an_unknown_option_is_refused(name):
    with pytest.raises(TypeError, match="unexpected keyword argument 'revison'"):
        emorl.from_pretrained(name, revison="v1")


def test_an_upload_prepares_the_files_once_before_the_repository_exists(monkeypatch):
    made = []
    monkeypatch.setattr(hub, "files_of", lambda *_, **options: made.append(options["repo_id"]) or {})
    monkeypatch.setattr(hub, "_described", lambda *_, **__: {})
    monkeypatch.setattr(hub.ModelHubMixin, "push_to_hub", lambda *_, **__: "")
    hub.HubModel.of(emorl.load_pretrained("tetrominoes")).push_to_hub("user/mine")
    assert made == ["user/mine"]
