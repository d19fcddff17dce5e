"""Trained weights: loading, decomposing, and the scores that documents quote from their cards."""

import json
import re
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

import emorl
import tiny
from emorl import load_pretrained, stored
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.errors import DataError
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels
from emorl.model import FourierPosition, Geco, PosteriorMeans, SlotAttention, scale
from emorl.model.describe import describe
from emorl.pretrained import assembled
from emorl.saved import Weights
from emorl.stored import load_card, write_shipped

ROOT = Path(__file__).parents[1]
CLAIMED = {  # scores and digits in the tables of docs/results.md, by data set
    "tetrominoes": {"fg_ari": 3, "mse": 5},
    "multi_dsprites": {"fg_ari": 3, "ari": 3, "fg_miou": 3, "mse": 5, "kl": 0},
    "clevr6": {"fg_ari": 3, "ari": 3, "fg_miou": 3, "mse": 5, "kl": 0},
}
README = {  # rows of the README's table: I by weights, in the order of its columns
    "EfficientMORL here, I = 0": {"tetrominoes": 0, "multi_dsprites": 0, "clevr6": 0},
    "EfficientMORL here, I = 3, 1 and 1": {"tetrominoes": 3, "multi_dsprites": 1, "clevr6": 1},
    "Slot Attention here, I = 3": {"slot_attention/tetrominoes": 3},
    "IODINE here, I = 5": {"iodine/tetrominoes": 5},
}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A folder of shipped weights that holds a small model named ``small``; returns the module behind it."""
    geco = Geco(-1.0, warm_start=5)
    module = tiny.module(network=tiny.lively(tiny.network(position=FourierPosition, geco=geco)), image_size=12)
    geco.step.fill_(7)
    geco.zeta.fill_(-2.0)
    (tmp_path / "weights/efficient_morl").mkdir(parents=True)
    write_shipped(tiny.saved(module, tmp_path / "a.ckpt"), "efficient_morl/small", tmp_path / "weights", {"seed": 3})
    monkeypatch.setattr(stored, "WEIGHTS", tmp_path / "weights")
    return module


def images(batch=3):
    return torch.rand(batch, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_shipped_weights_are_those_of_the_checkpoint(weights):
    model = load_pretrained("small")
    assert model.card["seed"] == 3
    assert not model.training
    expected, found = weights.network.state_dict(), model.network.state_dict()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_reconstruct_decodes_what_encode_finds(weights, mode, steps):
    model = load_pretrained("small")
    with mode():
        encoding = model.encode(images(), steps)
        decoding = model.decode(encoding.slots)
        found = model.reconstruct(images(), steps=steps)
    assert found.slots.shape == encoding.scale.shape == (3, 4, 8)
    assert encoding.attention.shape == (3, 4, 12, 12)
    torch.testing.assert_close(encoding.attention.sum(1), torch.ones(3, 12, 12), rtol=0, atol=1e-5)
    assert decoding.rgb.shape == (3, 4, 3, 12, 12)
    assert torch.equal(found.slots, encoding.slots)
    torch.testing.assert_close(found.masks, decoding.masks)
    torch.testing.assert_close(found.reconstruction, (decoding.masks * decoding.rgb).sum(1))
    torch.testing.assert_close(found.masks.sum(1), torch.ones(3, 1, 12, 12))
    network, means = weights.network.eval(), PosteriorMeans()
    with torch.no_grad():
        inference = network(images(), steps, noise=means)
    torch.testing.assert_close(encoding.slots, inference.stages[-1].posterior.mean)
    torch.testing.assert_close(encoding.scale, scale(inference.stages[-1].posterior.rho))
    torch.testing.assert_close(encoding.attention, inference.layers[-1].attention)


@pytest.mark.parametrize("steps", [0, 1])
def test_other_numbers_of_slots_and_other_sizes_are_decomposed(weights, steps):
    model = load_pretrained("small")
    found = model.reconstruct(torch.rand(2, 3, 16, 20), steps, num_slots=6)
    assert found.slots.shape == (2, 6, 8)
    assert found.masks.shape == (2, 6, 1, 16, 20)
    assert found.reconstruction.shape == (2, 3, 16, 20)


def test_within_a_model_that_trains_an_image_keeps_its_slots(weights):
    model = torch.nn.ModuleList([load_pretrained("small")]).train()[0]
    assert not model.training
    assert not model.network.training


def test_refinement_changes_the_slots(weights):
    model = load_pretrained("small")
    assert not torch.allclose(model.encode(images(), 2).slots, model.encode(images()).slots)


def test_an_image_has_the_same_slots_in_any_batch_and_as_bytes(weights):
    model, image = load_pretrained("small"), (images() * 255).round().to(torch.uint8)
    alone = model.encode(image[1:2]).slots
    torch.testing.assert_close(model.encode(image).slots[1:2], alone)
    torch.testing.assert_close(model.encode(image / 255).slots[1:2], alone)


@pytest.mark.parametrize(
    "bad",
    [
        *(images() * 255, images() - 0.5, torch.zeros(1, 3, 12, 12, dtype=torch.int64)),
        *(images()[0], images()[:, :1], torch.zeros(0, 3, 12, 12), torch.zeros(3, 12, 12, dtype=torch.uint8)),
    ],
)
def test_other_images_are_refused(weights, bad):
    with pytest.raises(ValueError, match=r"Expected 8-bit images, or float images in .* got torch\..* of shape \["):
        load_pretrained("small").encode(bad)


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (np.zeros((1, 3, 12, 12), np.float32), r"ndarray of shape \[1, 3, 12, 12\]"),
        *(("photo.jpg", "str"), (None, "NoneType"), ([torch.zeros(3, 12, 12)], "list")),
        (torch.zeros(1, 3, 12, 12, dtype=torch.complex64), r"torch.complex64 of shape \[1, 3, 12, 12\]"),
    ],
)
@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_images_that_are_no_float_tensor_are_refused(weights, method, bad, got, unchecked):
    told = rf"^Expected 8-bit images, .* a tensor of shape \[B, 3, H, W\], got {got}\. .* model\.preprocess of "
    with pytest.raises(ValueError, match=told):
        getattr(load_pretrained("small"), method)(bad)


@pytest.mark.parametrize("number", [{"steps": -1}, {"num_slots": 0}, {"num_slots": -2}])
def test_numbers_that_make_no_sense_are_refused(weights, number):
    with pytest.raises(ValueError, match=r"Expected (0 or more steps|num_slots of 1 or more), got"):
        load_pretrained("small").reconstruct(images(), **number)


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (torch.zeros(1, 4, 5), r"torch.float32 of shape \[1, 4, 5\]"),
        (torch.zeros(4, 8), r"torch.float32 of shape \[4, 8\]"),
        (torch.zeros(0, 4, 8), r"torch.float32 of shape \[0, 4, 8\]"),
        (torch.zeros(1, 0, 8), r"torch.float32 of shape \[1, 0, 8\]"),
        (torch.zeros(1, 1, 4, 8), r"torch.float32 of shape \[1, 1, 4, 8\]"),
        (torch.zeros(1, 4, 8, dtype=torch.int64), r"torch.int64 of shape \[1, 4, 8\]"),
        (np.zeros((1, 4, 8)), r"ndarray of shape \[1, 4, 8\]"),
        ([1.0], "list"),
    ],
)
def test_what_is_no_batch_of_slots_is_refused(weights, bad, got, unchecked):
    with pytest.raises(ValueError, match=rf"Expected slots of D = 8 dimensions, a float tensor .*, got {got}\. Use"):
        load_pretrained("small").decode(bad)


def test_slots_of_another_precision_are_decoded(weights):
    model, slots = load_pretrained("small"), torch.zeros(1, 4, 8)
    assert torch.equal(model.decode(slots.double()).reconstruction, model.decode(slots).reconstruction)


@pytest.mark.parametrize(
    ("name", "steps", "fg_ari", "mse"),
    [
        *(("tetrominoes", steps, 0.97, 1e-3) for steps in (0, 3)),
        *(("multi_dsprites", steps, 0.7, 5e-3) for steps in (0, 1)),
    ],
)
def test_shipped_weights_decompose_fresh_scenes(name, steps, fg_ari, mse):
    source = {"tetrominoes": Tetrominoes, "multi_dsprites": MultiDSprites}[name]
    scenes = list(source(48, seed=7).records())
    image, truth = (
        torch.from_numpy(np.stack(arrays))
        for arrays in zip(*((scene.image, scene.segmentation) for scene in scenes), strict=True)
    )
    image = image.movedim(-1, 1)
    with torch.inference_mode():
        found = load_pretrained(name).reconstruct(image, steps)
    assert adjusted_rand_index(masks_to_labels(found.masks), truth, ignore_background=True).mean() > fg_ari
    assert (found.reconstruction - image / 255).square().mean() < mse


@pytest.mark.parametrize("name", [name for name in stored.names() if "/" in name])
def test_the_results_are_those_of_the_card(name):
    results, claimed = (ROOT / "docs/results.md").read_text(), CLAIMED[name.partition("/")[2]]
    for test in stored.load_card(name)["tests"].values():
        for steps, scores in test["scores"].items():
            cells = [steps.removeprefix("I=")]
            for score, digits in claimed.items():
                mean, error = (scores[score][key] for key in ("mean", "standard_error"))
                cells.append(f"{mean:.{digits}f} ± {error:.{digits}f}")
            assert f"| {' | '.join(cells)} |" in results
    for row in chain(*stored.load_card(name)["draws"].values()):
        cells = [f"{row['I']:.0f}"]
        for score, digits in claimed.items():
            known = f"{score}_sd" in row
            cells.append(f"{row[score]:.{digits}f} ± {row[f'{score}_sd']:.{digits}f}" if known else "-")
        assert f"| {' | '.join(cells)} |" in results


@pytest.mark.parametrize(
    ("title", "name", "unit", "digits"),
    [("Tetrominoes", "tetrominoes", 4, 1), ("Multi-dSprites", "multi_dsprites", 3, 2)],
)
def test_the_table_of_draws_has_the_scores_of_the_card(title, name, unit, digits):
    page, tests = (ROOT / "docs/models.md").read_text(), stored.load_card(name)["tests"]
    for steps in tests["samples"]["scores"]:
        (row,) = re.findall(rf"^\| {title} \| {steps.removeprefix('I=')} \|(.*)\|$", page, re.MULTILINE)
        for kind, cell in zip(("samples", "means"), row.split(" | ")[::2], strict=True):  # N = 1
            fg_ari, mse = (tests[kind]["scores"][steps][score]["mean"] for score in ("fg_ari", "mse"))
            assert cell.strip() == f"{fg_ari:.3f} / {mse * 10**unit:.{digits}f}e-{unit}".removeprefix("0")


@pytest.mark.parametrize("name", stored.names())
def test_cards_name_no_folder_of_the_machine_that_trained(name):
    assert not re.findall(r'"[a-z_]+": "/[^"]*"', json.dumps(load_card(name)))


def test_the_readme_quotes_the_cards():
    table = [
        line.strip("| ").split(" | ") for line in (ROOT / "README.md").read_text().splitlines() if " here, I" in line
    ]
    expected = {}
    for row, chosen in README.items():
        cells = []
        for name, steps in chosen.items():
            score = stored.load_card(name)["tests"]["samples"]["scores"][f"I={steps}"]["fg_ari"]
            cells.append(f"{score['mean']:.3f} ± {score['standard_error']:.3f}")
        expected[row] = cells
    assert {row: scores[: len(README[row])] for row, _, *scores in table} == expected


class Hidden(SlotAttention):
    """A model that a later process does not find."""


def test_a_checkpoint_of_a_class_that_is_not_found_is_one_line(tmp_path, monkeypatch):
    path = tiny.saved(tiny.module(network=Hidden(num_slots=2, slot_dim=4)), tmp_path / "a.ckpt")
    monkeypatch.delattr(f"{__name__}.Hidden")
    with pytest.raises(DataError, match=r"expected the class .*\.Hidden, got a module .* without it; use the version"):
        load_pretrained(path)


def test_weights_are_named_by_model_and_data_set():
    assert {"tetrominoes", "multi_dsprites", "efficient_morl/tetrominoes"} <= set(stored.names())
    assert stored.load_card("tetrominoes") == stored.load_card("efficient_morl/tetrominoes")


@pytest.mark.parametrize("name", ["small", "a.ckpt"])
def test_weights_start_a_training_with_another_objective(name, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for geco in (Geco("auto", warm_start=5), None):
        network = tiny.network(position=FourierPosition, geco=geco)
        stored.load_weights(network, stored.read_weights(name), objective=False)
        assert torch.equal(network.bottom_up.initial_mean, weights.network.bottom_up.initial_mean)
        assert geco is None or geco.zeta == pytest.approx(0.55)


def test_what_a_trained_model_refines_to_depends_on_its_multiplier(weights):
    """So that shipped weights must have it."""
    shipped, other = load_pretrained("small"), load_pretrained("small")
    other.network.objective.geco.zeta.fill_(0.55)
    assert torch.equal(shipped.encode(images()).slots, other.encode(images()).slots)
    assert not torch.allclose(shipped.encode(images(), 1).slots, other.encode(images(), 1).slots)


def test_weights_of_another_model_are_refused(weights):
    network = tiny.network(slot_dim=16, position=FourierPosition)
    with pytest.raises(DataError, match=r"small: expected the EfficientMORL of these weights, got .* \d+ tensors that"):
        stored.load_weights(network, stored.read_weights("small"))


def test_weights_come_from_a_checkpoint_alone(tmp_path):
    for content, got in ((None, "No such file"), (b"", "got an empty file, or"), (b"abc", "got an empty file, or")):
        if content is not None:
            (tmp_path / "bad.ckpt").write_bytes(content)
        with pytest.raises(DataError, match=f"expected a checkpoint.*{got}"):
            write_shipped(tmp_path / "bad.ckpt", "bad", tmp_path, {})
    assert not list(tmp_path.glob("bad.[js]*"))


@pytest.mark.parametrize(
    ("path", "got"),
    [
        ("unknown://a.ckpt", "ValueError: Protocol not known: unknown"),
        ("http://127.0.0.1:9/a.ckpt", "ConnectionRefusedError: Connect call failed .*"),
        ("broken://a.ckpt", "RuntimeError: no credentials"),
    ],
)
def test_a_url_that_cannot_be_opened_is_told_with_its_reason(path, got, monkeypatch):
    import fsspec

    class Broken(fsspec.AbstractFileSystem):
        def _open(self, *_, **__):
            raise RuntimeError("no credentials.")

    fsspec.register_implementation("broken", Broken, clobber=True)
    remedy = "install the package of the protocol, or check the address and the access"
    with pytest.raises(DataError, match=f"^{path}: expected a checkpoint, got {got}; {remedy}$"):
        load_pretrained(path)


@pytest.mark.parametrize("load", [load_pretrained, emorl.from_pretrained])
@pytest.mark.parametrize("name", ["x" * 300, Path("x" * 300), "a\0b"])
def test_a_name_that_no_file_can_have_is_one_line(load, name):
    with pytest.raises(DataError, match=r"^(x{300}|a\\x00b): expected a [^\n]*, got [^\n]*; [^\n]*$"):
        load(name)


def test_an_unknown_name_is_answered_with_those_that_exist(weights):
    with pytest.raises(DataError, match=r"large: expected a checkpoint, .* or the name of shipped weights: small"):
        load_pretrained("large")
    with pytest.raises(DataError, match="expected one of small, efficient_morl/small, got 'large'"):
        stored.load_card("large")


def test_a_checkpoint_loads_as_shipped_weights_do(weights, tmp_path):
    own, shipped = load_pretrained(str(tmp_path / "a.ckpt")), load_pretrained("small")
    assert own.card.keys() == {"total_steps", "model"}
    assert torch.equal(own.encode(images(), 1).slots, shipped.encode(images(), 1).slots)


def test_the_command_line_tests_and_predicts_with_shipped_weights(weights, shards, tmp_path, monkeypatch, emorl):
    monkeypatch.chdir(tmp_path)
    quiet = ("--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_progress_bar=false")
    emorl("test", "--pretrained=small", f"--data.root={shards}", "--output_dir=tested", *quiet)
    scores = json.loads((tmp_path / "tested" / "metrics.json").read_text())
    assert scores["I=1"]["mse"]["images"] == 5
    zero = "--model.test_refinement_steps=0"
    emorl("predict", "--pretrained=small", f"--data.root={shards}", "--output_dir=predicted", zero, *quiet)
    with np.load(tmp_path / "predicted" / "test-00000000.npz") as written:
        with torch.no_grad():
            slots = load_pretrained("small").encode(torch.from_numpy(written["image"])[None]).slots[0]
        np.testing.assert_allclose(written["slots"], slots, rtol=1e-5, atol=1e-6)


def test_shipped_weights_and_a_checkpoint_at_once_are_refused(weights, shards, tmp_path, emorl, capsys):
    with pytest.raises(SystemExit):
        emorl("test", "--pretrained=small", f"--ckpt_path={tmp_path / 'a.ckpt'}", f"--data.root={shards}")
    assert "Expected --ckpt_path or --pretrained, got both" in capsys.readouterr().err


def test_the_list_of_weights_can_be_read():
    lines = [str(listed) for listed in emorl.list_pretrained()]
    assert all("; posterior means: FG-ARI " in line for line in lines)  # `test` scores samples
    assert all(len(line) < 180 and "OrderedDict" not in line and "{" not in line for line in lines)
    assert any(
        line.startswith("<slot_attention/tetrominoes: SlotAttention, tetrominoes, standard; 35x35") for line in lines
    )


def wrong(**model):
    """Weights of a small model whose configuration was changed."""
    network = tiny.network()
    described = {"network": describe(network), "image_size": 16, "crop": "square"} | model
    return Weights("a.ckpt", described, network.state_dict(), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("crop", "centre"), ("crop", None), ("crop", ["square"]), ("crop", 3)]
    + [("image_size", value) for value in ("35", None, -5, 0, True, 35.0, [35, 35])],
)
def test_a_size_or_crop_that_is_not_valid_is_refused_at_loading(name, value):
    told = rf"^a\.ckpt: expected .*{name}.*, got {re.escape(repr(value))}; correct the configuration"
    with pytest.raises(DataError, match=told):
        assembled(wrong(**{name: value}))


@pytest.mark.parametrize(
    "arguments",
    [{"num_slots": value} for value in (None, 4.0, "4", True, 0)]
    + [{"slot_dim": "8"}, {"unknown": 3}, {"kl_weight": "a"}, {"decoder": "emorl.model.SmallDecoder"}, [1], "a"],
)
def test_arguments_that_are_not_valid_are_refused_in_one_line(arguments):
    given = tiny.SIZES | arguments if isinstance(arguments, dict) else arguments
    network = {"class_path": "emorl.model.EfficientMORL", "init_args": given}
    with pytest.raises(DataError, match=r"^a\.ckpt: expected [^\n]*, got [^\n]*; [^\n]*$"):
        assembled(wrong(network=network))


@pytest.mark.parametrize(
    "network",
    [
        *(
            "emorl.model.EfficientMORL",
            [1],
            {"init_args": {}},
            {"class_path": 3},
            {"class_path": "emorl.model.Nothing"},
        ),
        *({"class_path": "emorl.model.RampPosition"}, {"class_path": "nothing.of.the.kind"}),
    ],
)
def test_a_configuration_of_no_slot_model_is_refused_in_one_line(network):
    with pytest.raises(DataError, match=r"^a\.ckpt: expected a (class and arguments|slot model)[^\n]*; [^\n]*$"):
        assembled(wrong(network=network))


def spoil(path, part):
    """Damage a checkpoint."""
    content = torch.load(path, weights_only=True)
    weight = content["state_dict"]["network.refinement.mean.weight"]
    match part:
        case "not finite":
            weight.fill_(torch.nan)
        case "text":
            content["state_dict"]["network.refinement.mean.weight"] = "0"
        case "no weights":
            content["state_dict"] = None
        case "no model":
            content["hyper_parameters"] = None
    torch.save(content, path)
    if part == "a byte":
        raw, stored = bytearray(path.read_bytes()), weight.numpy().tobytes()
        raw[raw.index(stored) + 3] ^= 0x40
        path.write_bytes(raw)


@pytest.mark.parametrize(
    ("part", "got"),
    [
        ("a byte", r"one with a wrong checksum of \S+data/\d+; copy it again, or use an earlier checkpoint"),
        ("not finite", "a NaN or an infinity in 1 of .*; use weights from before the training diverged"),
        ("text", r"one whose refinement\.mean\.weight is no tensor; give the path"),
        ("no weights", "an empty file, or one of another kind; give the path"),
        ("no model", "an empty file, or one of another kind; give the path"),
    ],
)
def test_a_damaged_checkpoint_is_refused(part, got, tmp_path):
    path = tmp_path / "a.ckpt"
    tiny.saved(tiny.module(), path)
    load_pretrained(path)
    spoil(path, part)
    with pytest.raises(DataError, match=rf"a\.ckpt: expected [^\n]*, got {got}"):
        load_pretrained(path)
