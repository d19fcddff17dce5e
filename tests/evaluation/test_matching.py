"""Matching of slots to objects."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from emorl.evaluation.representation.matching import match, overlap


def stripes(*widths, height=10):
    """A label map of vertical stripes, labels 0, 1, ..."""
    row = [label for label, width in enumerate(widths) for _ in range(width)]
    return torch.tensor([row] * height)


def test_slots_that_are_the_objects_in_another_order_are_found():
    true = stripes(20, 10, 10)
    predicted = torch.tensor([1, 2, 0])[true]
    matches = match(predicted[None], true[None])
    assert (matches.label.tolist(), matches.slot.tolist(), matches.iou.tolist()) == ([1, 2], [2, 0], [1, 1])
    assert (matches.small, matches.missed) == (0, 0)


def test_scenes_are_matched_independently():
    true = torch.stack((stripes(20, 10, 10), stripes(20, 10, 10)))
    predicted = torch.stack((true[0], 2 - true[1]))
    matches = match(predicted, true)
    assert matches.scene.tolist() == [0, 0, 1, 1]
    assert matches.slot.tolist() == [1, 2, 1, 0]


def test_a_slot_is_matched_to_one_object_only():
    """Slot 0 covers both objects; the second is unmatched."""
    true = stripes(0, 20, 10)
    matches = match(torch.zeros_like(true)[None], true[None])
    assert (matches.label.tolist(), matches.missed) == ([1], 1)
    assert matches.iou.item() == pytest.approx(2 / 3)


def test_the_sum_of_a_scene_is_largest():
    """Slot 1 is the best for both objects; slot 0 also overlaps object 1, but not object 2."""
    true, predicted = stripes(0, 12, 10), stripes(4, 18)
    _, iou = overlap(predicted.numpy(), true.numpy())
    assert iou.argmax(axis=1).tolist() == [1, 1]
    matches = match(predicted[None], true[None])
    assert matches.slot.tolist() == [0, 1]
    assert matches.iou.sum() == pytest.approx(iou[linear_sum_assignment(-iou)].sum())


def test_small_objects_and_poor_pairs_are_left_out_and_counted():
    true = stripes(30, 5, 4, 5)  # 50 pixels, 40 pixels, 50 pixels
    predicted = torch.where(true == 1, 1, 0)
    matches = match(predicted[None], true[None])  # object 3 shares 50 of 390 pixels with slot 0: IoU 0.128
    assert (matches.label.tolist(), matches.slot.tolist(), matches.small) == ([1, 3], [1, 0], 1)
    wide = stripes(60, 5, 4, 5)
    matches = match(torch.where(wide == 1, 1, 0)[None], wide[None])  # 50 of 690: 0.072
    assert (matches.label.tolist(), matches.small, matches.missed) == ([1], 1, 1)


def test_hidden_objects_and_empty_scenes_are_no_objects():
    true = stripes(20, 0, 10)
    matches = match(torch.stack((true, true)), torch.stack((true, torch.zeros_like(true))))
    assert (matches.label.tolist(), matches.scene.tolist()) == ([2], [0])
    assert (matches.small, matches.missed) == (0, 0)


def test_overlap_is_the_jaccard_index():
    generator = np.random.default_rng(0)
    slots, objects = generator.integers(0, 4, (2, 9, 7))
    area, iou = overlap(slots, objects)
    for label in range(1, objects.max() + 1):
        assert area[label - 1] == (objects == label).sum()
        for slot in range(4):
            union = ((objects == label) | (slots == slot)).sum()
            assert iou[label - 1, slot] == pytest.approx(((objects == label) & (slots == slot)).sum() / union)


def test_negative_labels_are_refused():
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"Expected 'true' as non-negative labels"):
        match(labels, labels - 1)
