"""The training objective: weights of stages and their sum."""

import pytest
import torch
from tiny_morl import images, named_noise, tiny_model

from emorl.model import stage_weight


@pytest.mark.parametrize(
    ("steps", "weights"),
    [
        (0, [3]),
        (1, [2, 1.5]),
        (2, [5 / 3, 4 / 3, 1]),
        (3, [1.5, 1.25, 1, 0.75]),
        (5, [8 / 6, 7 / 6, 1, 5 / 6, 4 / 6, 0.5]),
    ],
)
def test_stage_weights_are_the_released_ones(steps, weights):
    assert [stage_weight(i, steps) for i in range(steps + 1)] == pytest.approx(weights)


@pytest.mark.parametrize(("steps", "weights"), [(0, [3]), (1, [2, 1.5]), (3, [1.5, 1.25, 1, 0.75])])
def test_training_loss_is_the_weighted_sum_of_the_stages(steps, weights):
    inference = tiny_model()(images(), steps, noise=named_noise())
    expected = sum(w * stage.loss for w, stage in zip(weights, inference.stages, strict=True))
    torch.testing.assert_close(inference.loss, expected)
    assert inference.loss.requires_grad
