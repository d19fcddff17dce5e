"""Detection of slots with objects, and the order of latent dimensions."""

import pytest
import torch

from emorl.explore.bundle import first_scenes
from emorl.explore.latents import dimensions, objects


def test_the_active_dimensions_come_first_with_the_range_of_most_objects():
    slots = torch.zeros(1001, 3)
    slots[:, 1] = torch.linspace(-1, 1, 1001)
    slots[:, 2] = torch.linspace(0, 4, 1001)
    found = dimensions(slots)
    assert [dimension.number for dimension in found] == [2, 1, 0]
    assert [found[0].low, found[0].high] == pytest.approx([0.08, 3.92])
    assert [found[1].low, found[1].high] == pytest.approx([-0.96, 0.96])
    assert found[2].spread == 0


def test_one_object_has_no_spread():
    assert [dimension.spread for dimension in dimensions(torch.ones(1, 2))] == [0, 0]


def test_background_and_empty_slots_are_no_objects():
    winner = torch.zeros(1, 10, 10, dtype=torch.long)
    winner[0, 2:5, 2:5] = 1
    masks = torch.nn.functional.one_hot(winner, 3).permute(0, 3, 1, 2)[:, :, None].float()
    assert objects(masks).tolist() == [[False, True, False]]


def test_if_no_slot_is_an_object_all_are():
    masks = torch.ones(2, 2, 1, 4, 4) / 2
    assert objects(masks).all()


def test_the_page_begins_with_well_drawn_scenes_of_many_objects():
    errors = torch.tensor([0.4, 0.1, 0.2, 0.3])
    counts = torch.tensor([9, 1, 4, 5])
    assert first_scenes(errors, counts) == [3, 2]
    assert first_scenes(errors[:1], counts[:1]) == [0, 0]
