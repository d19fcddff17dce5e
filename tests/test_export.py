"""Exported programs give the results of the models."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import warm
from emorl import load_pretrained, stored
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import Tetrominoes
from emorl.errors import DataError
from emorl.explore.gallery import example_scenes
from emorl.export import PARTS, export, metadata, parts

CASES = [
    ("efficient_morl/clevr6", ".pt2", ["decode"]),
    ("efficient_morl/multi_dsprites", ".pt2", ["decode"]),
    ("efficient_morl/tetrominoes", ".onnx", ["reconstruct"]),  # its decode runs in the tests of the page
    ("slot_attention/tetrominoes", ".pt2", ["reconstruct"]),
]


def scenes(name, count):
    """Return fresh scenes of what a model was trained on; of CLEVR, which Blender renders, stored ones."""
    if "clevr6" in name:
        return torch.from_numpy(example_scenes(96).images[:count]).movedim(-1, 1) / 255
    source = MultiDSprites if "multi_dsprites" in name else Tetrominoes
    images = np.stack([record.image for record in source(num_scenes=count, seed=5).records()])
    return torch.from_numpy(images).movedim(-1, 1) / 255


def expected(model, part, given):
    """Return what eager gives, by name; of encode, without the scale of slots that are points."""
    with torch.no_grad():
        found = getattr(model, part)(given)
    names = ("masks", "rgb", "reconstruction") if part == "decode" else found._fields
    return {name: getattr(found, name) for name in names if getattr(found, name) is not None}


def file_of(out, part):
    """Return the file of a method."""
    return out if part == "reconstruct" else out.with_stem(f"{out.stem}_{part}")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "suffix", "methods"), CASES)
def test_programs_compute_what_the_model_does(name, suffix, methods, tmp_path, unchecked, monkeypatch):
    out, model = tmp_path / f"out{suffix}", load_pretrained(name)
    export(model, out, name=name, methods=methods)
    assert set(tmp_path.iterdir()) == {file_of(out, part) for part in methods}
    for batch in (1, 3):
        images = scenes(name, batch)
        for part in methods:
            given = model.encode(images).slots[:, :2].detach() if part == "decode" else images
            found = run(file_of(out, part), given)
            for key, value in expected(model, part, given).items():
                torch.testing.assert_close(found[key], value, rtol=0, atol=1e-4, msg=f"{part} {key}")
    if "tetrominoes" in name:
        check_many(model, out)
        check_snippet(out, expected(model, "reconstruct", images)["masks"], images, monkeypatch)


def test_all_weights_of_models_of_plain_operations_are_exported():
    shipped = {name for name in stored.names() if "/" in name and not name.startswith("iodine/")}
    assert {name for name, *_ in CASES} == shipped


def check_many(model, file):
    """Check a program on many scenes: rounding is amplified in a few, but no pixel has another slot."""
    images = scenes("tetrominoes", 32)
    found = run(file, images)
    with torch.no_grad():
        expected = model.reconstruct(images)
    values = [(found[key] - getattr(expected, key)).abs() for key in ("masks", "rgb", "reconstruction")]
    largest = torch.stack([value.flatten(1).amax(1) for value in values]).amax(0)
    assert (largest <= (0 if file.suffix == ".pt2" else 1e-4)).float().mean() >= 0.9
    assert largest.max() < 0.02
    first, second = expected.masks.topk(2, dim=1).values.unbind(1)
    clear = first - second > 1e-3
    assert torch.equal(found["masks"].argmax(1)[clear], expected.masks.argmax(1)[clear])


def check_snippet(file, masks, images, monkeypatch):
    """Check that the snippet of the page runs a program."""
    page = Path(__file__).parents[1] / "docs/export.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    code = next(block for block in blocks if f'("{file.name}"' in block)
    monkeypatch.chdir(file.parent)
    names = {"images": images.numpy() if file.suffix == ".onnx" else images}
    exec(code, names)
    found = torch.as_tensor(names["masks"] if file.suffix == ".onnx" else names["found"]["masks"])
    torch.testing.assert_close(found, masks, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_one_slot_is_enough(tmp_path):
    """Of encode and reconstruct; decode accepts any number. The command prints nothing on stderr."""
    out, model, images = tmp_path / "out.pt2", load_pretrained("tetrominoes"), scenes("tetrominoes", 3)
    ran = warm.emorl("export", "tetrominoes", out, "--num_slots", "1")
    assert (ran.returncode, ran.stderr) == (0, "")
    with torch.no_grad():
        expected = model.reconstruct(images, num_slots=1)
        decoded = model.decode(expected.slots).reconstruction
    encode, program, decode = (
        torch.export.load(file_of(out, part)).module() for part in ("encode", "reconstruct", "decode")
    )
    for part in (encode, program):
        torch.testing.assert_close(part(images)[0], expected.slots, rtol=0, atol=1e-4)
    torch.testing.assert_close(decode(expected.slots)[2], decoded, rtol=0, atol=1e-4)


def test_programs_are_in_float32():
    model = load_pretrained("tetrominoes").double()
    for part in parts(model, steps=0, num_slots=4).values():
        assert {value.dtype for value in (part.example, *part.program.parameters())} == {torch.float32}
    assert next(model.parameters()).dtype == torch.float64


def run(file, given):
    """Run a program, and return its outputs by name."""
    if file.suffix == ".onnx":
        ort = pytest.importorskip("onnxruntime")
        session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        check(session.get_modelmeta().custom_metadata_map, file)
        assert session.get_inputs()[0].shape[0] == "batch"
        found = session.run(names, {session.get_inputs()[0].name: given.numpy()})
        return dict(zip(names, map(torch.from_numpy, found), strict=True))
    extra = {"metadata.json": ""}
    program = torch.export.load(file, extra_files=extra).module()
    described = json.loads(extra["metadata.json"])
    check(described, file)
    return dict(zip(described["outputs"].split(), program(given), strict=True))


def check(described, file):
    """Check the metadata."""
    assert described["license"] == "MIT"
    assert described["method"] in PARTS
    assert json.loads(described["preprocessing"])["crop"] == ("emorl" if "clevr6" in described["weights"] else "square")
    assert int(described["num_slots"]) > 3
    assert {"slot_dim", "emorl_version", "image_size", "weights", "trained_on", "steps"} <= described.keys(), file


@pytest.mark.parametrize(
    ("name", "steps", "got"),
    [("iodine/tetrominoes", None, "got IODINE, whose steps"), ("tetrominoes", 2, "got EfficientMORL with I > 0")],
)
def test_steps_that_follow_gradients_are_refused(name, steps, got, tmp_path):
    with pytest.raises(DataError, match=f"expected a model of plain tensor operations, {got}"):
        export(load_pretrained(name), tmp_path / "a.onnx", steps)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tetrominoes", "a.txt"], r"expected a name that ends in .onnx or .pt2, got a.txt"),
        (["tetrominoes", "a.onnx", "--num_slots", "0"], "Expected num_slots of 1 or more, got 0"),
        (["tetrominos", "a.onnx"], "expected a checkpoint"),
        (["iodine/tetrominoes", "a.pt2"], "expected a model of plain tensor operations, got IODINE"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, emorl, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        emorl("export", *arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_onnx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(DataError, match=r"pip install 'emorl\[export\]'"):
        export(load_pretrained("tetrominoes"), tmp_path / "a.onnx")


def test_changed_weights_are_exported_without_the_claims_of_the_original(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr("emorl.export.export", lambda *arguments: found.append(arguments) or [])
    model = load_pretrained("slot_attention/tetrominoes")
    model.export(tmp_path / "a.onnx")
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.export(tmp_path / "a.onnx")
    described = [metadata(model, 3, 4, name) for model, *_, name, _ in found]
    assert [each["weights"] for each in described] == ["slot_attention/tetrominoes", "model"]
    assert [each["license"] for each in described] == ["MIT", "not specified"]
    assert [each["trained_on"] for each in described] == ["tetrominoes, standard", ""]


@pytest.mark.parametrize("methods", [["nope"], ["encode", "nope"], "decode", [], (), None, [3], [["encode"]]])
def test_unknown_methods_are_refused_with_those_that_exist(methods, tmp_path, unchecked):
    told = rf"^Expected methods as a list of decode, encode, reconstruct, got {re.escape(repr(methods))}\.$"
    with pytest.raises(ValueError, match=told):
        export(load_pretrained("tetrominoes"), tmp_path / "a.pt2", methods=methods)
    assert not list(tmp_path.iterdir())
