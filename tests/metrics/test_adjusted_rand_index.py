"""The adjusted Rand index, against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from partitions import DEGENERATE, EMPTY, HALVES, ONE_PIXEL, ONES, SINGLES, segmentations, whole_images
from sklearn.metrics import adjusted_rand_score

from emorl.metrics import AdjustedRandIndex
from emorl.metrics.functional import adjusted_rand_index, masks_to_labels


def reference(predicted, true, ignore_background):
    """scikit-learn's score, image by image."""
    values = []
    for p, t in zip(predicted.tolist(), true.tolist(), strict=True):
        p, t = np.ravel(p), np.ravel(t)
        keep = t != 0 if ignore_background else np.full(t.shape, True)
        values.append(adjusted_rand_score(t[keep], p[keep]))
    return torch.tensor(values, dtype=torch.float64)


def assert_matches_reference(predicted, true):
    for ignore_background in (True, False):
        value = adjusted_rand_index(predicted, true, ignore_background)
        expected = reference(predicted, true, ignore_background)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)


@settings(deadline=None, max_examples=150)
@given(segmentations())
def test_agrees_with_scikit_learn(maps):
    assert_matches_reference(*maps)


@pytest.mark.parametrize("true", DEGENERATE)
def test_agrees_with_scikit_learn_on_degenerate_partitions(true):
    assert_matches_reference(torch.tensor(DEGENERATE), torch.tensor([true] * len(DEGENERATE)))


def test_agrees_with_scikit_learn_on_whole_images():
    assert_matches_reference(*whole_images())


def test_nearly_trivial_partitions_keep_their_digits():
    true = torch.ones(1, 128, 128, dtype=torch.int64)
    predicted = true.clone()
    true[0, 0, 0], predicted[0, 0, :2] = 2, 2
    assert_matches_reference(predicted, true)


def test_a_segment_for_every_pixel_of_a_large_image():
    singles = torch.arange(2 * 128 * 128).reshape(2, 128, 128) + 1
    assert adjusted_rand_index(singles, singles.flip(0, 1, 2)).tolist() == [1.0, 1.0]


def test_documented_values():
    def value(predicted, true):
        return adjusted_rand_index(torch.tensor([predicted]), torch.tensor([true])).item()

    assert value(HALVES, HALVES) == 1.0
    assert value(ONES, ONES) == 1.0
    assert value(SINGLES, SINGLES) == 1.0
    assert value(HALVES, EMPTY) == 1.0
    assert value(HALVES, ONE_PIXEL) == 1.0
    assert value(ONES, SINGLES) == 0.0
    assert value([[1, 2, 1, 2]], [[1, 1, 2, 2]]) == -0.5


@pytest.mark.parametrize("undefined", [0.0, 1.0, torch.nan])
def test_undefined_images_take_the_value_asked_for(undefined):
    """No object, one object of one pixel, one object in one slot; but an object that is split has a score."""
    true, predicted = torch.tensor([EMPTY, ONE_PIXEL, ONES, ONES]), torch.tensor([HALVES, HALVES, ONES, HALVES])
    expected = torch.tensor([undefined] * 3 + [0.0], dtype=torch.float64)
    value = adjusted_rand_index(predicted, true, undefined=undefined)
    torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


def test_images_do_not_leak_into_each_other():
    generator = torch.Generator().manual_seed(1)
    predicted, true = torch.randint(0, 4, (2, 6, 5, 7), generator=generator)
    alone = [adjusted_rand_index(p[None], t[None]) for p, t in zip(predicted, true, strict=True)]
    assert torch.equal(adjusted_rand_index(predicted, true), torch.cat(alone))


def test_background_alone_is_left_out():
    true, predicted = torch.tensor([[[0, 0, 1, 1, 2]]]), torch.tensor([[[3, 4, 0, 0, 3]]])
    assert adjusted_rand_index(predicted, true).item() == 1.0
    assert adjusted_rand_index(predicted, true, ignore_background=False).item() < 1.0


def test_empty_batch():
    labels = torch.zeros(0, 4, 4, dtype=torch.int64)
    value = adjusted_rand_index(labels, labels)
    assert value.shape == (0,)
    assert value.dtype == torch.float64


@pytest.mark.parametrize(
    ("predicted", "true", "message"),
    [
        (torch.zeros(1, 2, 3).long(), torch.zeros(1, 3, 2).long(), r"got \(1, 2, 3\) and \(1, 3, 2\). Resize"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), r"Expected .* shape \(batch, height, width\)"),
        (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3).long(), "'preds' as integer labels, got torch.float32"),
        (torch.zeros(1, 2, 3).long(), torch.zeros(1, 2, 3).half(), "'target' as integer labels, got torch.float16"),
        (torch.zeros(1, 2, 3).long(), torch.full((1, 2, 3), -1), "'target' as non-negative labels, got -1"),
    ],
)
def test_bad_input_is_refused(predicted, true, message):
    with pytest.raises(ValueError, match=message):
        adjusted_rand_index(predicted, true)


def test_masks_become_labels_and_an_unused_slot_does_not_matter():
    masks = torch.tensor([[0.6, 0.1, 0.5], [0.0, 0.0, 0.0], [0.4, 0.9, 0.5]]).reshape(1, 3, 1, 1, 3)
    labels = masks_to_labels(masks)
    assert labels.tolist() == [[[0, 2, 0]]]
    assert adjusted_rand_index(labels, torch.tensor([[[1, 2, 1]]])).item() == 1.0


@pytest.mark.parametrize("ignore_background", [True, False])
def test_metric_averages_over_images(ignore_background):
    generator = torch.Generator().manual_seed(2)
    predicted, true = torch.randint(0, 4, (2, 7, 5, 6), generator=generator)
    metric = AdjustedRandIndex(ignore_background)
    for batch in (slice(0, 3), slice(3, 3), slice(3, 7)):
        metric.update(predicted[batch], true[batch])
    torch.testing.assert_close(metric.compute(), reference(predicted, true, ignore_background).mean())
