"""mIoU, mBO and covering, against scikit-learn, scipy and a loop."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from partitions import DEGENERATE, EMPTY, HALVES, ONE_PIXEL, ONES, SINGLES, TIED, segmentations, whole_images
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import jaccard_score
from sklearn.metrics.cluster import contingency_matrix

from emorl.metrics import AdjustedRandIndex, MeanBestOverlap, MeanIoU, SegmentationCovering
from emorl.metrics.functional import mean_best_overlap, mean_iou, segmentation_covering

SCORES = mean_iou, mean_best_overlap, segmentation_covering
METRICS = MeanIoU, MeanBestOverlap, SegmentationCovering


def reference(predicted, true, ignore_background):
    """The three scores of one image, by scikit-learn's contingency matrix and scipy's matching."""
    predicted, true = np.ravel(predicted), np.ravel(true)
    table = contingency_matrix(true, predicted).astype(float)
    areas = table.sum(1)
    iou = table / (areas[:, None] + table.sum(0) - table)
    if ignore_background:
        iou, areas = iou[np.unique(true) != 0], areas[np.unique(true) != 0]
    if not len(areas):
        return 1.0, 1.0, 1.0
    best = iou.max(1)
    return iou[linear_sum_assignment(-iou)].sum() / len(areas), best.mean(), np.average(best, weights=areas)


def loop(predicted, true, ignore_background):
    """The three scores of one image, by sets of pixels and all matchings there are."""
    segments = [set(np.flatnonzero(np.ravel(predicted) == j)) for j in np.unique(predicted)]
    objects = [set(np.flatnonzero(np.ravel(true) == i)) for i in np.unique(true) if i or not ignore_background]
    if not objects:
        return 1.0, 1.0, 1.0
    iou = [[len(a & b) / len(a | b) for b in segments + [set()] * len(objects)] for a in objects]
    matchings = permutations(range(len(iou[0])), len(objects))
    matched = max(sum(row[j] for row, j in zip(iou, matching, strict=True)) for matching in matchings)
    best, areas = [max(row) for row in iou], [len(a) for a in objects]
    covering = sum(a * value for a, value in zip(areas, best, strict=True)) / sum(areas)
    return matched / len(objects), sum(best) / len(objects), covering


def assert_matches(expected, predicted, true):
    for ignore_background in (True, False):
        values = torch.stack([score(predicted, true, ignore_background) for score in SCORES], dim=1)
        images = zip(predicted.numpy(), true.numpy(), strict=True)
        wanted = [expected(p, t, ignore_background) for p, t in images]
        torch.testing.assert_close(values, values.new_tensor(wanted).view_as(values), rtol=1e-12, atol=1e-14)


@settings(max_examples=100)
@given(segmentations())
def test_agree_with_scikit_learn_and_scipy(maps):
    assert_matches(reference, *maps)


@pytest.mark.parametrize("true", DEGENERATE)
def test_agree_with_scikit_learn_and_scipy_on_degenerate_partitions(true):
    assert_matches(reference, torch.tensor(DEGENERATE), torch.tensor([true] * len(DEGENERATE)))


def test_agree_with_scikit_learn_and_scipy_on_whole_images():
    assert_matches(reference, *whole_images())


@settings(max_examples=25)
@given(segmentations(most=2))
def test_agree_with_a_loop_over_sets_of_pixels(maps):
    assert_matches(loop, *maps)


@pytest.mark.parametrize("true", [partition for partition in DEGENERATE if partition is not SINGLES])
def test_agree_with_a_loop_on_degenerate_partitions(true):
    few = [partition for partition in DEGENERATE if partition is not SINGLES]  # its matchings are too many to try
    assert_matches(loop, torch.tensor(few), torch.tensor([true] * len(few)))


def test_the_overlap_is_the_jaccard_index_of_the_object_and_its_best_slot():
    predicted, true = whole_images(24)
    true = (true == 3).long()
    for p, t, value in zip(predicted, true, mean_best_overlap(predicted, true), strict=True):
        best = max(jaccard_score(t.ravel().numpy() == 1, p.ravel().numpy() == int(j)) for j in p.unique())
        assert value.item() == pytest.approx(best, rel=1e-12)


def test_documented_values():
    def values(predicted, true, **arguments):
        return [score(torch.tensor([predicted]), torch.tensor([true]), **arguments).item() for score in SCORES]

    assert values(HALVES, HALVES) == values(SINGLES, SINGLES) == [1.0, 1.0, 1.0]
    assert values(HALVES, EMPTY) == [1.0, 1.0, 1.0]
    assert values(ONE_PIXEL, ONE_PIXEL) == values(ONE_PIXEL, ONE_PIXEL, ignore_background=False) == [1.0, 1.0, 1.0]
    assert values(ONES, HALVES) == [0.25, 0.5, 0.5]  # one slot for two objects: matched to one, best of both
    assert values(HALVES, ONES) == [0.5, 0.5, 0.5]
    assert values(TIED, HALVES) == pytest.approx([1 / 3] * 3)


def test_the_matching_is_not_greedy():
    """The best pair of all, object 1 and segment 2 with 6/12, would leave nothing for object 2."""
    true, predicted = torch.tensor([[[1] * 10 + [2] * 2]]), torch.tensor([[[1] * 4 + [2] * 8]])
    assert mean_iou(predicted, true).item() == pytest.approx((4 / 10 + 2 / 8) / 2)
    assert mean_best_overlap(predicted, true).item() == pytest.approx((6 / 12 + 2 / 8) / 2)


def test_pixels_beyond_the_object_count_against_a_slot():
    true, predicted = torch.tensor([[[0, 0, 1, 1]]]), torch.tensor([[[5, 4, 4, 4]]])
    assert [score(predicted, true).item() for score in SCORES] == pytest.approx([2 / 3] * 3)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("undefined", [0.0, 1.0, torch.nan])
def test_an_image_without_an_object_takes_the_value_asked_for(score, undefined):
    predicted, true = torch.tensor([HALVES, HALVES]), torch.tensor([EMPTY, HALVES])
    expected = torch.tensor([undefined, 1.0], dtype=torch.float64)
    value = score(predicted, true, undefined=undefined)
    torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)
    assert score(predicted, true, ignore_background=False, undefined=undefined).isfinite().all()


@pytest.mark.parametrize("score", SCORES)
def test_images_do_not_leak_and_names_do_not_matter(score):
    generator = torch.Generator().manual_seed(1)
    predicted, true = torch.randint(0, 4, (2, 6, 5, 7), generator=generator)
    together = score(predicted, true)
    alone = [score(p[None], t[None]) for p, t in zip(predicted, true, strict=True)]
    assert torch.equal(together, torch.cat(alone))
    torch.testing.assert_close(score(3 - predicted, true * 2**61), together, rtol=1e-12, atol=0)


@pytest.mark.parametrize("score", SCORES)
def test_empty_batch(score):
    labels = torch.zeros(0, 4, 4, dtype=torch.uint8)
    assert score(labels, labels).shape == (0,)
    assert score(labels, labels).dtype == torch.float64


@pytest.mark.parametrize("score", SCORES)
def test_bad_input_is_refused(score):
    with pytest.raises(ValueError, match=r"got \(1, 2, 3\) and \(1, 3, 2\). Resize"):
        score(torch.zeros(1, 2, 3).long(), torch.zeros(1, 3, 2).long())


@pytest.mark.parametrize(("metric", "score"), list(zip(METRICS, SCORES, strict=True)))
@pytest.mark.parametrize("ignore_background", [True, False])
def test_metrics_average_over_images(metric, score, ignore_background):
    predicted, true = whole_images(12)
    shell = metric(ignore_background)
    for batch in (slice(0, 1), slice(1, 1), slice(1, 4)):
        shell.update(predicted[batch], true[batch])
    torch.testing.assert_close(shell.compute(), score(predicted, true, ignore_background).mean())


@pytest.mark.parametrize("metric", [AdjustedRandIndex, *METRICS])
@pytest.mark.parametrize("undefined", [1.0, 0.0, torch.nan, "skip"])
def test_conventions_for_undefined_images(metric, undefined):
    predicted, true = torch.tensor([TIED, TIED, HALVES]), torch.tensor([HALVES, EMPTY, EMPTY])
    only = metric()
    only.update(predicted[:1], true[:1])
    shell = metric(undefined=undefined)
    shell.update(predicted, true)
    skip = undefined == "skip"
    assert shell.summary().images == (1 if skip else 3)
    expected = only.compute() if skip else (only.compute() + 2 * undefined) / 3
    torch.testing.assert_close(shell.compute(), expected, equal_nan=True)


def test_an_unknown_convention_is_refused():
    with pytest.raises(ValueError, match="Expected 'undefined' as a number or \"skip\", got 'drop'"):
        MeanIoU(undefined="drop")
