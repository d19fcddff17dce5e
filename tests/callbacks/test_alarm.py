"""The collapse alarm: each way that training collapses has its measurement and its warning."""

import logging
from unittest.mock import create_autospec

import pytest
import torch
from pytorch_lightning import Trainer

import tiny
from emorl.callbacks import CollapseAlarm
from emorl.callbacks.alarm import symptoms
from emorl.model import Components, Gaussian, Inference, Stage
from emorl.module import SlotModule

HEALTHY = {"val/unused_share": 0.25, "val/largest_share": 0.7, "val/kl_per_dimension": 0.5, "val/unexplained": 0.2}


def stage(masks, rgb, kl):
    slots = torch.zeros(len(masks), masks.shape[1], 5)
    components = Components(rgb, masks.clamp(min=1e-30).log())
    zero = torch.zeros(())
    return Stage(0, slots, Gaussian(slots, slots), components, torch.zeros(len(masks)), zero, kl, zero)


def test_symptoms_of_a_picture_painted_in_one_color():
    image = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    image[..., :2] = 255
    masks = torch.zeros(1, 2, 1, 4, 4)
    masks[:, 1] = 1
    masks[:, :, :, 0, 0] = torch.tensor([1.0, 0.0]).view(2, 1)
    inference = Inference(
        [stage(masks, torch.full((1, 2, 3, 4, 4), 0.5), torch.tensor([3.0]))], [], {}, torch.zeros(())
    )
    found = symptoms({"image": image, "index": torch.tensor([0]), "key": ["a"]}, inference)
    assert found.unused_share.tolist() == [0]
    assert found.largest_share.tolist() == [15 / 16]
    torch.testing.assert_close(found.kl_per_dimension, torch.tensor([3.0 / 10]))
    torch.testing.assert_close(found.error, found.spread)
    assert found.spread.tolist() == pytest.approx([0.25])


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("val/unused_share", 0.6, "60% of an image's slots win no pixel: lower --model.network.num_slots"),
        ("val/largest_share", 0.995, "one slot wins"),
        ("val/kl_per_dimension", 0.001, "posterior is the prior: lower the weight of the KL"),
        ("val/unexplained", 0.97, "one color per image: train longer, or lower the weight of the KL"),
    ],
)
def test_each_dead_end_has_its_warning(name, value, word):
    assert CollapseAlarm().warnings(HEALTHY) == []
    (warning,) = CollapseAlarm().warnings(HEALTHY | {name: value})
    assert word in warning


def test_an_image_of_one_color_does_not_outweigh_the_others():
    module, alarm = create_autospec(SlotModule, instance=True), CollapseAlarm()
    trainer = create_autospec(Trainer, instance=True)
    trainer.strategy.reduce.side_effect = lambda value, **_: value
    image = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    image[1, ..., :2] = 255
    masks = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1, 1).expand(2, 2, 1, 4, 4)
    painted = (image / 255).sub(0.1).abs()[:, None].expand(2, 2, 3, 4, 4)
    inference = Inference([stage(masks, painted, torch.ones(2))], [], {}, torch.zeros(()))
    batch = {"image": image, "index": torch.tensor([0, 1]), "key": ["a", "b"]}
    alarm.on_validation_batch_end(trainer, module, inference, batch, 0)
    alarm.on_validation_batch_end(trainer, module, inference, batch | {"index": torch.tensor([-1, -1])}, 1)  # padding
    alarm.on_validation_epoch_end(trainer, module)
    logged = {name: float(value) for name, value in module.log_dict.call_args.args[0].items()}
    assert logged == pytest.approx(
        {
            "val/largest_share": 1,
            "val/kl_per_dimension": 0.1,
            "val/unexplained": 2 * 0.01 / 0.25,
            "val/unused_share": 0.5,
        }
    )


def test_a_single_slot_wins_every_pixel_without_a_warning():
    inference = Inference(
        [stage(torch.ones(2, 1, 1, 4, 4), torch.zeros(2, 1, 3, 4, 4), torch.ones(2))], [], {}, torch.zeros(())
    )
    batch = {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "index": torch.tensor([0, 1]), "key": ["a", "b"]}
    assert symptoms(batch, inference).largest_share.isnan().all()  # and what is NaN is not logged
    healthy = {name: value for name, value in HEALTHY.items() if name != "val/largest_share"}
    assert CollapseAlarm().warnings(healthy) == []


def test_slots_that_take_turns_are_unused_in_each_image():
    masks = torch.zeros(2, 4, 1, 4, 4)
    masks[0, 1] = masks[1, 2] = 1
    inference = Inference([stage(masks, torch.zeros(2, 4, 3, 4, 4), torch.ones(2))], [], {}, torch.zeros(()))
    batch = {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "index": torch.tensor([0, 1]), "key": ["a", "b"]}
    found = symptoms(batch, inference)
    assert found.unused_share.tolist() == [0.75, 0.75]
    assert found.largest_share.tolist() == [1, 1]


def test_an_untrained_model_raises_the_alarm_and_logs_the_numbers(shards, tmp_path, caplog):
    trainer = tiny.trainer(tmp_path, callbacks=CollapseAlarm())
    with caplog.at_level(logging.WARNING, logger="emorl.callbacks.alarm"):
        trainer.validate(tiny.module(), tiny.data(shards), verbose=False)
    assert HEALTHY.keys() <= trainer.callback_metrics.keys()
    assert trainer.callback_metrics["val/unexplained"] > 0.95
    assert "step 0: reconstructions are no better than one color per image" in caplog.text
