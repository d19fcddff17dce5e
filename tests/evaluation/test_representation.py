"""The study of representations, from slots to DCI, probes and traversals."""

import csv

import numpy as np
import pytest
import torch
from jsonargparse import auto_cli
from jsonargparse.typing import NonNegativeInt
from PIL import Image

import tiny
from emorl.data.generate.clevr_scene import FACTORS as CLEVR
from emorl.data.generate.multi_dsprites import FACTORS as MULTI_DSPRITES
from emorl.data.generate.multi_dsprites import MultiDSprites
from emorl.data.generate.tetrominoes import FACTORS
from emorl.errors import DataError
from emorl.evaluation.inputs import LoadedScenes, infer, load_scenes
from emorl.evaluation.representation.matching import Matches, match
from emorl.evaluation.representation.representation import choose, halves, read, representation, study_factors

TABLES = {"objects", "dci", "importance", "probes", "activeness"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("scenes"), test=40)


@pytest.fixture(scope="module")
def checkpoint(module, tmp_path_factory):
    return tiny.saved(module, tmp_path_factory.mktemp("model") / "last.ckpt")


@pytest.fixture(scope="module")
def scenes(folder, module):
    return load_scenes(str(folder), module)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def perfect_matches(scenes):
    return match(scenes.segmentation.long(), scenes.segmentation)


def test_the_command_writes_everything(checkpoint, folder, tmp_path, capsys, monkeypatch):
    for name, fewer in {"SWEPT": 1, "STEPS": 3}.items():
        monkeypatch.setattr(f"emorl.evaluation.representation.representation.{name}", fewer)
    out = tmp_path / "out"
    arguments = [checkpoint, str(folder), str(out), "--factors", "[x,color]", "--scene", "3", "--count", "24"]
    auto_cli(representation, args=arguments)
    expected = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md")}
    pictures = {"importance.png", "probes.png", "activeness.png", "traversals.png", "traversals.gif"}
    assert {path.name for path in out.iterdir()} == expected | pictures
    printed = capsys.readouterr().out.splitlines()
    assert set(printed[-1].removeprefix("Wrote ").removesuffix(f" to {out}").split(", ")) == expected | pictures
    assert {"DCI", "Property probes"} <= {line.strip() for line in printed}
    [objects] = rows(out / "objects.csv")
    counts = [int(objects[name]) for name in ("fitted", "scored", "under 50 pixels", "without a slot")]
    assert sum(counts) == 24 * 3
    assert printed[0].startswith(f"objects: 24 scenes, {counts[0]} fitted, {counts[1]} scored")
    assert [row["factor"] for row in rows(out / "dci.csv")] == ["x", "color", "all"]
    assert [row["factor"] for row in rows(out / "probes.csv")] == ["x", "color"]
    assert len(rows(out / "importance.csv")) == len(rows(out / "activeness.csv")) == 8
    with Image.open(out / "traversals.gif") as gif:
        assert gif.n_frames == 4


def test_codes_are_posterior_means_of_the_last_stage(scenes, module):
    few = LoadedScenes(scenes.image[:3], scenes.segmentation[:3], scenes.factors[:3])
    slots, labels = read(module, few, steps=1)
    [batch] = few.batches()
    last = infer(module, batch, steps=1).stages[-1]
    assert torch.equal(slots, last.posterior.mean)
    assert torch.equal(labels, last.components.masks.squeeze(2).argmax(dim=1))
    assert not torch.equal(slots, read(module, few, steps=0)[0])


def test_objects_of_a_scene_are_on_one_side_with_their_own_code_and_factors(scenes):
    slots = torch.arange(40 * 4 * 2, dtype=torch.float32).view(40, 4, 2)
    factors, fitted, scored = halves(FACTORS, slots, perfect_matches(scenes), scenes)
    assert [factor.name for factor in factors] == ["x", "y", "shape", "color"]
    assert (len(fitted.code), len(scored.code)) == (60, 60)
    assert fitted.code[1].tolist() == slots[0, 2].tolist()  # label 2 of the first scene has slot 2
    assert scored.code[0].tolist() == slots[20, 1].tolist()
    truth = scenes.factors[20][0]
    assert scored.value[0].tolist() == [factor.encode(truth[factor.name]) for factor in FACTORS]


def clevr(count):
    """Scenes of three squares with factors as of CLEVR."""
    random = np.random.default_rng(0)
    draw = {
        "continuous": lambda _: random.uniform(-3, 3),
        "discrete": lambda factor: str(random.choice(factor.classes)),
    }
    segmentation = torch.zeros(count, 32, 32, dtype=torch.uint8)
    for label in (1, 2, 3):
        segmentation[:, 10 * label - 9 : 10 * label, 4:20] = label
    factors = [[{f.name: draw[f.kind](f) for f in CLEVR} for _ in range(3)] for _ in range(count)]
    return LoadedScenes(torch.zeros(count, 3, 32, 32, dtype=torch.uint8), segmentation, factors)


def multi_dsprites(count):
    records = list(MultiDSprites(count, 0, "test").records())
    segmentation = torch.from_numpy(np.stack([record.segmentation for record in records]))
    return LoadedScenes(torch.zeros(count, 3, 64, 64, dtype=torch.uint8), segmentation, [r.factors for r in records])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("factors", "drawn"), [(MULTI_DSPRITES, multi_dsprites(40)), (CLEVR, clevr(60))], ids=["multi_dsprites", "clevr"]
)
def test_factors_are_predicted_from_slots_for_every_data_set(factors, drawn, tmp_path):
    slots = torch.zeros(len(drawn.factors), 8, len(factors))
    for scene, objects in zip(slots, drawn.factors, strict=True):
        for label, object_ in enumerate(objects, start=1):
            scene[label] = torch.tensor([factor.encode(object_[factor.name]) for factor in factors])
    varying, fitted, scored = halves(factors, slots, match(drawn.segmentation.long(), drawn.segmentation), drawn)
    assert varying == list(factors)
    study_factors(varying, fitted, scored, tmp_path)
    *each, overall = rows(tmp_path / "dci.csv")
    assert [row["factor"] for row in each] == [factor.name for factor in factors]
    assert min(float(row["informativeness"]) for row in each) > 0.85
    assert float(overall["disentanglement"]) > 0.85
    assert float(overall["completeness"]) > 0.85


def test_a_factor_that_never_varies_is_left_out(scenes):
    same = scenes._replace(factors=[[{**object_, "color": "red"} for object_ in scene] for scene in scenes.factors])
    factors, fitted, scored = halves(FACTORS, torch.zeros(40, 4, 2), perfect_matches(same), same)
    assert [factor.name for factor in factors] == ["x", "y", "shape"]
    assert fitted.value.shape[1] == scored.value.shape[1] == 3


def test_too_few_objects_are_refused(scenes):
    none = torch.zeros(0, dtype=torch.long)
    nothing = Matches(none, none, none, torch.zeros(0, dtype=torch.float64), 0, 120)
    with pytest.raises(DataError, match=r"expected two matched objects in each half .* got 0 and 0; give more"):
        halves(FACTORS, torch.zeros(40, 4, 2), nothing, scenes)


def test_objects_without_varying_factors_are_refused(scenes):
    alike = scenes._replace(factors=[[scenes.factors[0][0]] * 3] * 40)
    with pytest.raises(DataError, match="expected objects with different factors"):
        halves(FACTORS, torch.zeros(40, 4, 2), perfect_matches(alike), alike)


def test_factors_are_chosen_by_name():
    assert choose("data", FACTORS, None) == list(FACTORS)
    assert [factor.name for factor in choose("data", FACTORS, ["color", "x"])] == ["color", "x"]
    with pytest.raises(DataError, match="factors: expected names among x, y, shape, color, got size; choose"):
        choose("data", FACTORS, ["x", "size"])
    with pytest.raises(DataError, match="got none"):
        choose("data", FACTORS, [])
    with pytest.raises(DataError, match="factors: expected different names, got x, y more than once; name each once"):
        choose("data", FACTORS, ["y", "x", "y", "color", "x"])


def test_a_data_set_without_factors_is_refused():
    with pytest.raises(DataError, match="my/images: expected objects with factors, got a data set without any; use"):
        choose("my/images", (), None)


def test_a_scene_number_out_of_range_is_refused(checkpoint, folder, tmp_path):
    with pytest.raises(DataError, match="scene: expected a number below the 40 scenes, got 40"):
        representation(checkpoint, str(folder), tmp_path, scene=NonNegativeInt(40))
