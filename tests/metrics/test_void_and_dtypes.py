"""Void pixels, and labels of every integer type of torch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from emorl.metrics import ActiveSlots, AdjustedRandIndex, MeanBestOverlap, MeanIoU, SegmentationCovering
from emorl.metrics.functional import (
    active_slots,
    adjusted_rand_index,
    masks_to_labels,
    mean_best_overlap,
    mean_iou,
    resize_masks,
    segmentation_covering,
)
from emorl.metrics.functional.overlaps import check_ignore_index

SCORES = adjusted_rand_index, mean_iou, mean_best_overlap, segmentation_covering
METRICS = AdjustedRandIndex, MeanIoU, MeanBestOverlap, SegmentationCovering
SIGNED = torch.int8, torch.int16, torch.int32, torch.int64
UNSIGNED = torch.uint8, torch.uint16, torch.uint32, torch.uint64


@st.composite
def with_void(draw):
    """Draw predicted and true label maps (B, H, W), and the label of the void pixels among the true ones."""
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=5))
    void = draw(st.sampled_from([255, -1, -100, 3, 0]))
    maps = [draw(arrays(np.int64, shape, elements=st.sampled_from(labels))) for labels in ([0, 1, 2], [0, 1, 2, void])]
    return *map(torch.from_numpy, maps), void


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("ignore_background", [True, False])
@settings(deadline=None, max_examples=40)
@given(maps=with_void())
def test_a_score_is_that_of_the_pixels_that_are_not_void(score, ignore_background, maps):
    preds, target, void = maps
    values = score(preds, target, ignore_background, ignore_index=void)
    for p, t, value in zip(preds, target, values, strict=True):
        kept = t != void
        torch.testing.assert_close(value, score(p[kept][None, None], t[kept][None, None], ignore_background)[0])


@settings(deadline=None, max_examples=40)
@given(maps=with_void())
def test_a_slot_that_wins_void_pixels_alone_is_not_active(maps):
    preds, target, void = maps
    expected = [len(p[t != void].unique()) for p, t in zip(preds, target, strict=True)]
    assert active_slots(preds, target, ignore_index=void).tolist() == expected
    metric = ActiveSlots(ignore_index=void)
    metric.update(preds, target)
    assert metric.compute() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(("metric", "score"), list(zip(METRICS, SCORES, strict=True)))
def test_metrics_leave_void_pixels_out(metric, score):
    preds, target = torch.randint(0, 4, (2, 3, 6, 6), generator=torch.Generator().manual_seed(0))
    outlined = target.clone()
    outlined[:, ::3] = 255
    shell = metric(ignore_index=255)
    shell.update(preds, outlined)
    torch.testing.assert_close(shell.compute(), score(preds, outlined, ignore_index=255).mean())
    assert shell.compute() != score(preds, outlined).mean()


@pytest.mark.parametrize("score", SCORES)
def test_labels_of_void_pixels_may_be_any(score):
    target = torch.tensor([[[1, 1, 2, -1]]])
    assert score(torch.tensor([[[0, 0, 3, -7]]]), target, ignore_index=-1).tolist() == [1.0]
    with pytest.raises(ValueError, match=r"'target' as non-negative labels, got -1.* leave void pixels out"):
        score(target.clamp(min=0), target)


@pytest.mark.parametrize("score", SCORES)
def test_an_image_of_void_alone_is_undefined(score):
    void = torch.full((1, 2, 2), 255)
    assert score(void * 0, void, undefined=0.25, ignore_index=255).tolist() == [0.25]


@pytest.mark.parametrize("value", [255.0, "255", True, [255]])
def test_an_ignore_index_that_is_no_integer_is_refused(value):
    with pytest.raises(ValueError, match=r"Expected 'ignore_index' as an integer or None, got .* such as 255"):
        check_ignore_index(value)


def test_numpy_integers_are_integers():
    assert check_ignore_index(np.uint8(255)) == 255
    assert check_ignore_index(None) is None


@pytest.mark.parametrize("metric", [*METRICS, ActiveSlots])
def test_metrics_refuse_an_ignore_index_that_is_no_integer(metric):
    with pytest.raises(ValueError, match="Expected 'ignore_index' as an integer or None, got True"):
        metric(ignore_index=True)


def test_active_slots_need_the_true_labels_to_know_the_void():
    with pytest.raises(ValueError, match="Expected 'target' with ignore_index=255, got none"):
        active_slots(torch.zeros(1, 2, 2).long(), ignore_index=255)


@pytest.mark.parametrize("dtype", [*SIGNED, *UNSIGNED])
@pytest.mark.parametrize("score", [*SCORES, active_slots])
def test_labels_of_any_integer_type(score, dtype):
    preds, target = torch.randint(0, 4, (2, 3, 5, 5), generator=torch.Generator().manual_seed(1))
    expected, ignored = score(preds, target), score(preds, target, ignore_index=3)
    assert torch.equal(score(preds.to(dtype), target.to(dtype)), expected)
    assert torch.equal(score(preds.to(dtype), target), expected)
    assert torch.equal(score(preds, target.to(dtype), ignore_index=3), ignored)
    assert torch.equal(score(preds, target.to(dtype), ignore_index=10**6), expected)  # beyond what 8 bits hold


@pytest.mark.parametrize("score", [*SCORES, active_slots])
def test_boolean_label_maps_are_one_object_on_a_background(score):
    preds, target = torch.randint(0, 2, (2, 3, 5, 5), generator=torch.Generator().manual_seed(2))
    assert torch.equal(score(preds.bool(), target.bool()), score(preds, target))
    assert torch.equal(score(preds.bool(), target.bool(), ignore_index=255), score(preds, target))


@pytest.mark.parametrize("score", [*SCORES, active_slots])
def test_the_largest_labels_of_all(score):
    """Labels that no int64 holds, the background among them."""
    small = torch.tensor([[[0, 1, 1, 2, 3]], [[0, 0, 3, 3, 1]]])
    labels = 0, 2**63 - 1, 2**63, 2**64 - 1
    large = torch.tensor([[[labels[place] for place in row] for row in image] for image in small], dtype=torch.uint64)
    preds = torch.tensor([[[1, 1, 2, 2, 0]], [[3, 0, 2, 2, 0]]])
    assert torch.equal(score(preds, large), score(preds, small))
    assert torch.equal(score(large, small), score(small, small))
    assert torch.equal(score(preds, large, ignore_index=2**64 - 1), score(preds, small, ignore_index=3))
    assert torch.equal(score(preds, large, ignore_index=-1), score(preds, small))


@pytest.mark.parametrize("dtype", [torch.bool, *SIGNED, *UNSIGNED, torch.float16, torch.bfloat16, torch.float64])
def test_masks_of_any_type(dtype):
    masks = torch.nn.functional.one_hot(torch.tensor([[0, 2], [1, 1]]), 3).movedim(-1, 0)[None, :, None]
    assert masks_to_labels(masks.to(dtype)).tolist() == [[[0, 2], [1, 1]]]
    resized = resize_masks(masks.to(dtype), 4, 4)
    torch.testing.assert_close(resized.double(), resize_masks(masks.double(), 4, 4))
    assert resized.dtype == (dtype if dtype.is_floating_point else torch.float32)


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (2, 3, 4, 4), (2, 3, 3, 4, 4)])
def test_masks_of_another_shape_are_refused(shape, unchecked):
    for work in (masks_to_labels, lambda masks: resize_masks(masks, 2, 2)):
        with pytest.raises(ValueError, match=r"^Expected masks \[batch, slots, 1, height, width\], got shape \("):
            work(torch.zeros(shape))
