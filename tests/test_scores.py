"""The scores of an evaluation: padding, missing segmentations, terms of the KL."""

import math

import pytest
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch.distributions import Normal

import tiny
from emorl.metrics.functional import (
    active_slots,
    adjusted_rand_index,
    masks_to_labels,
    mean_best_overlap,
    mean_iou,
    resize_masks,
    segmentation_covering,
)
from emorl.model import (
    Components,
    GaussianLikelihood,
    GaussianPixels,
    ImageNoise,
    MixtureLikelihood,
    SlotAttention,
)
from emorl.scores import Scores

SEGMENTATION = {  # and whether they leave out the background
    "fg_ari": (adjusted_rand_index, True),
    "ari": (adjusted_rand_index, False),
    "fg_miou": (mean_iou, True),
    "miou": (mean_iou, False),
    "fg_mbo": (mean_best_overlap, True),
    "fg_covering": (segmentation_covering, True),
}


@pytest.fixture(scope="module")
def inference():
    """A batch of three images, the last one padding, and what a small model makes of it."""
    generator = torch.Generator().manual_seed(0)
    batch = {
        "image": torch.randint(0, 256, (3, 3, 12, 12), generator=generator).byte(),
        "segmentation": torch.randint(0, 3, (3, 12, 12), generator=generator).byte(),
        "index": torch.tensor([4, 7, -1]),
        "key": ["a", "b", ""],
    }
    with torch.no_grad():
        model = tiny.lively(tiny.network()).eval()
        return batch, model(batch["image"].float() / 255, steps=1, noise=ImageNoise(batch["index"]))


def test_padding_does_not_count(inference):
    batch, inferred = inference
    scores = Scores(tiny.network(), attention=True)
    scores.update(batch, inferred)
    summary = scores.summary()
    assert {int(score.images) for group in summary.values() for score in group.values()} == {2}
    for group, stage in (("zero_step", inferred.stages[0]), ("last", inferred.stages[1])):
        labels = masks_to_labels(stage.components.masks)[:2]
        values = {name: score.mean.item() for name, score in summary[group].items()}
        for name, (score, ignored) in SEGMENTATION.items():
            assert values[name] == score(labels, batch["segmentation"][:2], ignored).mean()
        assert values["active_slots"] == active_slots(labels).mean()
        assert values["squared_error"] == pytest.approx(values["mse"] * 3 * 12 * 12)
        assert values["log_likelihood"] == pytest.approx(-values["nll"] - 216 * math.log(2 * math.pi), rel=1e-12)
        assert values["kl"] == pytest.approx(stage.kl[:2].double().mean().item())


def test_images_without_an_object_have_no_part_in_scores_of_the_foreground(inference):
    batch, inferred = inference
    truth = batch["segmentation"].clone()
    truth[1] = 0
    scores = Scores(tiny.network())
    scores.update({**batch, "segmentation": truth}, inferred)
    found = scores.summary()["last"]
    labels = masks_to_labels(inferred.stages[-1].components.masks)
    assert found["fg_ari"].mean == adjusted_rand_index(labels[:1], truth[:1]).mean()
    images = {name: int(score.images) for name, score in found.items()}
    assert {name for name, number in images.items() if number == 1} == {"fg_ari", "fg_miou", "fg_mbo", "fg_covering"}
    assert set(images.values()) == {1, 2}
    scores = Scores(tiny.network())
    scores.update({**batch, "segmentation": torch.zeros_like(truth)}, inferred)
    for group in (scores.summary()["last"], scores.summary()["zero_step"]):
        assert group.keys() == found.keys() - SEGMENTATION.keys()
        assert {int(score.images) for score in group.values()} == {2}
    assert not scores.has_truth()


def test_images_without_a_segmentation_have_the_other_scores(inference):
    batch, inferred = inference
    scores, expected = Scores(tiny.network(), attention=True), Scores(tiny.network(), attention=True)
    scores.update({name: value for name, value in batch.items() if name != "segmentation"}, inferred)
    expected.update(batch, inferred)
    found, whole = scores.summary(), expected.summary()
    for name in ("mse", "nll", "kl", "active_slots"):
        assert found["last"][name] == whole["last"][name]
    assert found["last"].keys() == whole["last"].keys() - SEGMENTATION.keys()
    assert found["attention"].keys() == {"active_slots"}


@pytest.mark.parametrize("group", ["last", "attention"])
def test_masks_are_resized_to_a_segmentation_of_another_size(inference, group):
    batch, inferred = inference
    truth = batch["segmentation"].repeat_interleave(2, -1).repeat_interleave(2, -2)
    scores = Scores(tiny.network(), attention=True)
    scores.update({**batch, "segmentation": truth}, inferred)
    attention = inferred.layers[-1].attention.unsqueeze(2)
    masks = {"last": inferred.stages[-1].components.masks, "attention": attention}[group]
    expected = adjusted_rand_index(masks_to_labels(resize_masks(masks, 24, 24))[:2], truth[:2]).mean()
    assert scores.summary()[group]["fg_ari"].mean == expected
    assert expected != adjusted_rand_index(masks_to_labels(masks)[:2], batch["segmentation"][:2]).mean()


def test_the_terms_of_the_kl_add_up(inference):
    scores = Scores(tiny.network())
    scores.update(*inference)
    summary = scores.summary()
    terms = [score.mean.item() for score in summary["terms"].values()]
    assert list(summary["terms"]) == ["kl_layers/1", "kl_layers/2", "kl_layers/3"]
    assert terms[0] == pytest.approx(inference[1].terms["kl_layers/1"][:2].double().mean().item())
    assert sum(terms) == pytest.approx(summary["zero_step"]["kl"].mean.item(), rel=1e-6)


def test_attention_is_scored_apart(inference):
    batch, inferred = inference
    scores = Scores(tiny.network(), attention=True)
    scores.update(batch, inferred)
    labels = inferred.layers[-1].attention.argmax(1)[:2]
    expected = adjusted_rand_index(labels, batch["segmentation"][:2]).mean()
    assert scores.summary()["attention"]["fg_ari"].mean == expected
    assert scores.named("val/")["val/attention/fg_ari"].compute() == expected


def test_names():
    plain = Scores(tiny.network(num_layers=2)).named("test/")
    assert {"test/fg_ari", "test/zero_step/fg_ari", "test/nll", "test/zero_step/kl", "test/kl_layers/2"} <= plain.keys()
    extra = Scores(tiny.network(num_layers=2), attention=True).named("test/").keys() - plain.keys()
    assert {name.rsplit("/", 1)[0] for name in extra} == {"test/attention"}


def test_a_model_without_a_likelihood_has_the_other_scores(inference):
    batch, _ = inference
    model = SlotAttention(num_slots=4, slot_dim=8, feature_dim=8)
    scores = Scores(model)
    scores.update(batch, model(batch["image"].float() / 255, noise=ImageNoise(batch["index"])))
    summary = scores.summary()
    assert summary.keys() == {"last", "terms"}
    assert summary["last"].keys() == {*SEGMENTATION, "active_slots", "mse", "squared_error"}
    assert not summary["terms"]


def test_attention_of_a_model_without_any_cannot_be_scored():
    with pytest.raises(MisconfigurationException, match="a model with attention to score, got IODINE"):
        tiny.module(network=tiny.FAMILY["iodine"](), score_attention=True)


def test_a_batch_of_padding_adds_nothing(inference):
    batch, inferred = inference
    scores = Scores(tiny.network(), attention=True)
    scores.update({**batch, "index": torch.full((3,), -1)}, inferred)
    assert all(score.images == 0 for group in scores.summary().values() for score in group.values())


@pytest.mark.parametrize("likelihood", [GaussianLikelihood(0.3), MixtureLikelihood(0.1)])
def test_log_likelihood_is_that_of_torch_distributions(likelihood):
    generator = torch.Generator().manual_seed(0)
    image, rgb = torch.rand(2, 3, 4, 5, generator=generator), torch.rand(2, 4, 3, 4, 5, generator=generator)
    components = Components(rgb, torch.randn(2, 4, 1, 4, 5, generator=generator).log_softmax(dim=1))
    if isinstance(likelihood, GaussianLikelihood):
        density = Normal(components.reconstruction, likelihood.scale).log_prob(image)
    else:
        joint = Normal(rgb, likelihood.scale).log_prob(image.unsqueeze(1)).exp() * components.masks
        density = joint.sum(1).log()
    value = -likelihood(components, image).double() - likelihood.constant * 3 * 4 * 5
    torch.testing.assert_close(value, density.double().sum((1, 2, 3)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("likelihood", [GaussianLikelihood, MixtureLikelihood, GaussianPixels])
def test_the_constant_of_the_log_likelihood_is_counted_once(likelihood):
    model = tiny.network(likelihood=likelihood)
    assert model.nll_constant == (0 if likelihood is GaussianPixels else math.log(2 * math.pi) / 2)


def test_active_slots_match_a_loop():
    labels = torch.randint(0, 50, (5, 4, 4), generator=torch.Generator().manual_seed(0)) * 2**50
    labels[0] = 7
    assert active_slots(labels).tolist() == [len(set(image.flatten().tolist())) for image in labels]
    assert active_slots(labels[:0]).shape == (0,)


def test_soft_masks_are_resized_before_the_argmax():
    """Between a slot that wins barely and one that wins clearly, the border moves by less than a coarse pixel."""
    first = torch.tensor([0.9, 0.45]).view(1, 1, 1, 1, 2).expand(1, 1, 1, 2, 2)
    masks = torch.cat((first, 1 - first), dim=1)
    assert masks_to_labels(masks)[0, 0].tolist() == [0, 1]
    resized = resize_masks(masks, 8, 8)
    assert resized.shape == (1, 2, 1, 8, 8)
    torch.testing.assert_close(resized.sum(1), torch.ones(1, 1, 8, 8))
    assert masks_to_labels(resized)[0, 0].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
