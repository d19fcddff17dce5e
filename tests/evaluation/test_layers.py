"""The study of layers and steps."""

import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import tiny
from emorl.evaluation.inputs import infer, load_scenes
from emorl.evaluation.studies import layers as study
from emorl.evaluation.studies.layers import Readings, layer_picture, read, score
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels, resize_masks
from emorl.model import ImageNoise, SlotAttention
from emorl.viz import PAGE, colorize, sheet, to_uint8


@pytest.fixture(scope="module")
def module():
    return tiny.module(network=tiny.lively(tiny.network(num_layers=3)), test_refinement_steps=2).eval()


@pytest.fixture
def scenes(shards, module):
    return load_scenes(str(shards), module)


def look(module, batch):
    """Return arguments of `read` and `score`."""
    return module.network, batch, infer(module, batch, module.test_refinement_steps)


def tile(picture, row, column, side=35, gap=2):
    top, left = gap + row * (side + gap), gap + column * (side + gap)
    return picture[:, top : top + side, left : left + side]


def test_layers_decode_the_samples_of_the_bottom_up_pass(module, scenes):
    """z^l must reproduce the attention of layer l + 1."""
    network, batch, inference = look(module, scenes.batch([0, 3]))
    readings = read(network, inference)
    assert [reading.name for reading in readings] == ["layer 1", "layer 2", "layer 3", "step 1", "step 2"]
    assert [reading.step for reading in readings] == [None, None, 0, 1, 2]
    bottom_up, noise = network.bottom_up, ImageNoise(batch["index"])
    with torch.no_grad():
        posteriors = network.bottom_up_pass(batch["image"] / 255, 4, noise).posteriors
        pixels = bottom_up.attend.project(network.encoder(batch["image"] / 255 * 2 - 1))
        for layer in (1, 2):
            slots = posteriors[layer - 1].sample(noise(f"z{layer}", posteriors[layer - 1].mean))
            attention = bottom_up.attend(slots, pixels)[1].view(2, 4, 35, 35)
            torch.testing.assert_close(attention, inference.layers[layer].attention)
            expected = network.decoder(slots, (35, 35))
            torch.testing.assert_close(readings[layer - 1].components.rgb, expected.rgb)
            torch.testing.assert_close(readings[layer - 1].components.log_masks, expected.log_masks)
    for reading, stage in zip(readings[2:], inference.stages, strict=True):
        assert reading.components is stage.components


def test_with_several_draws_a_batch_has_the_same_readings_whichever_draws_win(scenes):
    module = tiny.module(network=tiny.lively(tiny.network(num_layers=2)), test_refinement_steps=1, test_draws=4).eval()
    network, _, inference = look(module, scenes.batch([0, 1, 2, 3]))
    assert not inference.layers[-1].slots.equal(inference.stages[0].slots)  # or the test would say nothing
    readings = read(network, inference)
    assert [(reading.name, reading.step) for reading in readings] == [("layer 1", None), ("layer 2", 0), ("step 1", 1)]
    assert readings[1].components is inference.stages[0].components


def test_each_iteration_of_slot_attention_is_a_layer_equal_to_its_stage(scenes):
    module = tiny.module(network=tiny.lively(tiny.network(cls=SlotAttention)), test_refinement_steps=3).eval()
    network, batch, inference = look(module, scenes.batch([0, 3]))
    readings = read(network, inference)
    assert [(reading.name, reading.step) for reading in readings] == [
        ("layer 1", None),
        ("layer 2", None),
        ("layer 3", 3),
    ]
    for steps, reading in enumerate(readings, start=1):
        expected = infer(module, batch, steps).stages[-1].components
        torch.testing.assert_close(reading.components.rgb, expected.rgb)
        assert not reading.components.rgb.requires_grad


def test_without_layers_the_stages_are_read_and_drawn(module, scenes):
    network, batch, inference = look(module, scenes.batch([0]))
    plain = inference._replace(layers=[])
    assert [(reading.name, reading.step) for reading in read(network, plain)] == [(f"step {i}", i) for i in (0, 1, 2)]
    assert layer_picture(network, batch, plain).shape[1] - tiny.sheet_size(3, 6)[0] < 40  # three rows and a header


def test_scores_are_those_of_scikit_learn_scene_by_scene(module, scenes):
    readings = Readings.of(score(*look(module, batch)) for batch in scenes.batches(size=2))
    assert readings.fg_ari.shape == readings.mse.shape == (5, 5)
    network, _, inference = look(module, scenes.batch(range(5)))
    for row, (_, _, components) in enumerate(read(network, inference)):
        found = components.masks.squeeze(2).argmax(1).numpy()
        for place, true in enumerate(scenes.segmentation.numpy()):
            expected = adjusted_rand_score(true[true > 0], found[place][true > 0])
            assert float(readings.fg_ari[row, place]) == pytest.approx(expected)
            error = (components.reconstruction[place] - scenes.image[place] / 255).double().square().mean()
            assert float(readings.mse[row, place]) == pytest.approx(float(error), rel=1e-6)
    first = readings.table()[0]
    assert (first["slots"], first["scenes"]) == ("layer 1", 5)
    assert first["mse"] == pytest.approx(float(readings.mse[0].mean()))
    assert first["fg_ari_se"] == pytest.approx(float(readings.fg_ari[0].std() / 5**0.5))


def test_masks_are_resized_to_the_size_to_score_at(module, shards):
    scenes = load_scenes(str(shards), module, count=2, score_size=50)
    network, batch, inference = look(module, scenes.batch([0, 1]))
    found = masks_to_labels(resize_masks(inference.stages[-1].components.masks, 50, 50))
    expected = adjusted_rand_index(found, scenes.segmentation)
    assert score(network, batch, inference).fg_ari[-1].tolist() == expected.tolist()


def test_scenes_are_ranked_by_fg_ari_and_without_objects_by_mse(module, scenes):
    readings = Readings(
        ["step 1"], [1], torch.tensor([[0.5, torch.nan, 0.9]]).double(), torch.tensor([[3.0, 1, 2]]).double()
    )
    assert readings.ranked()[0::2] == ("FG-ARI", [2, 0])
    assert readings.table()[0]["fg_ari"] == pytest.approx(0.7)
    empty = scenes._replace(segmentation=torch.zeros_like(scenes.segmentation))
    unlabeled = score(*look(module, empty.batch(range(5))))
    assert unlabeled.fg_ari.isnan().all()
    name, mse, order = unlabeled.ranked()
    assert (name, order) == ("MSE", mse.argsort().tolist())


def test_means_are_read_if_the_model_tests_means(scenes):
    module = tiny.module(network=tiny.lively(tiny.network(num_layers=2)), test_means=True).eval()
    network, batch, inference = look(module, scenes.batch([0]))
    with torch.no_grad():
        posteriors = network.bottom_up_pass(batch["image"] / 255, 4, module.test_noise(batch)).posteriors
        expected = network.decoder(posteriors[0].mean, (35, 35))
    torch.testing.assert_close(read(network, inference)[0].components.rgb, expected.rgb)


def test_a_picture_shows_attention_then_decoded_slots(module, scenes, monkeypatch):
    network, batch, inference = look(module, scenes.batch([2]))
    names = {}
    monkeypatch.setattr(
        study, "sheet", lambda tiles, columns, rows: names.update(c=columns, r=rows) or sheet(tiles, columns, rows)
    )
    picture = layer_picture(network, batch, inference)
    assert [row.replace("\n", " ") for row in names["r"]] == [
        *(f"layer {layer} attention" for layer in (1, 2, 3)),
        *(f"layer {layer} decoded" for layer in (1, 2, 3)),
        *(f"step {step} decoded" for step in (1, 2)),
    ]
    assert names["c"] == ["image", "reconstruction", "masks", "slot 1", "slot 2", "slot 3", "slot 4"]
    attention, last = inference.layers[1].attention[0], inference.stages[-1].components

    def at(row, column):
        return tiny.tile(picture, row, column, 8, 7)

    assert all(torch.equal(at(row, 0), scenes.image[2]) for row in range(8))
    assert (at(1, 1) == PAGE).all()
    assert torch.equal(at(1, 2), colorize(attention.argmax(0) + 1))
    assert torch.equal(at(1, 6)[0], to_uint8(attention[3] / attention[3].max()))
    assert torch.equal(at(7, 1), to_uint8(last.reconstruction[0]))
    assert torch.equal(at(7, 2), colorize(last.masks[0, :, 0].argmax(0) + 1))
    assert torch.equal(at(7, 3)[1], to_uint8(last.masks[0, 0, 0]))
