"""Averages over images, with standard errors and undefined values."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emorl.metrics import ImageMean


def filled(*batches):
    metric = ImageMean()
    for batch in batches:
        metric.update(torch.as_tensor(batch, dtype=torch.float64))
    return metric


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
    st.sampled_from([0.0, 1e5, -1e9]),
)
def test_summary_is_that_of_all_values_at_once(values, cuts, offset):
    values = np.array(values) + offset
    summary = filled(*np.split(values, sorted(cuts))).summary()
    scale = np.abs(values).max()
    assert summary.images == len(values)
    assert summary.mean.item() == pytest.approx(values.mean(), rel=0, abs=1e-13 * scale)
    expected = values.std(ddof=1) / np.sqrt(len(values))
    assert summary.standard_error.item() == pytest.approx(expected, rel=1e-7, abs=1e-13 * scale)


def test_many_batches_of_large_values_keep_their_digits():
    values = 1e5 + np.random.default_rng(0).normal(size=(3000, 4))
    summary = filled(*values).summary()
    assert summary.mean.item() == pytest.approx(values.mean(), rel=1e-13)
    assert summary.standard_error.item() == pytest.approx(values.std(ddof=1) / np.sqrt(12000), rel=1e-9)


def test_unequal_batches_count_by_image():
    assert filled([1.0], [], [3.0, 5.0, 7.0]).compute().item() == 4.0


def test_without_images_the_mean_is_undefined():
    summary = filled([]).summary()
    assert summary.mean.isnan()
    assert summary.standard_error.isnan()
    assert summary.images == 0


def test_one_image_has_no_standard_error():
    summary = filled([2.0]).summary()
    assert summary.mean == 2.0
    assert summary.standard_error.isnan()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_stays_visible_until_reset(value):
    metric = filled([1.0], [value], [], [2.0])
    assert not metric.compute().isfinite()
    assert metric.summary().standard_error.isnan()
    metric.reset()
    metric.update(torch.tensor([2.0]))
    assert metric.compute() == 2.0


@pytest.mark.parametrize("values", [torch.tensor(1.0), torch.ones(2, 1)])
def test_values_that_are_not_one_an_image_are_refused(values):
    with pytest.raises(ValueError, match=r"shape \(batch,\), one an image, got .* Do not average"):
        ImageMean().update(values)


def test_no_graph_is_kept():
    metric = ImageMean()
    metric.update(torch.ones(2, requires_grad=True) * 3)
    assert not metric.moments.requires_grad


def test_updates_move_between_inference_mode_and_training():
    metric = filled([1.0])
    with torch.inference_mode():
        metric.update(torch.tensor([2.0]))
    metric.update(torch.tensor([6.0]))
    assert metric.compute() == 3.0


def test_forward_returns_the_batch_and_accumulates():
    metric = filled([1.0, 3.0])
    assert metric(torch.tensor([8.0])) == 8.0
    assert metric.compute() == 4.0
    assert metric.summary().images == 3


@pytest.mark.parametrize(
    "cast",
    [
        lambda module: module.half(),
        lambda module: module.float(),
        lambda module: module.bfloat16(),
        lambda module: module.to(torch.float16),
        lambda module: module.to(dtype=torch.bfloat16),
        lambda module: module.to("cpu", torch.float32),
    ],
)
def test_states_stay_double_when_the_module_is_cast(cast):
    third = 1 / 3
    module = torch.nn.ModuleDict({"layer": torch.nn.Linear(1, 1), "metric": filled([third])})
    metric = cast(module)["metric"]
    assert metric.compute().dtype == torch.float64
    assert metric.compute() == third
    metric.reset()
    metric.update(torch.tensor([third], dtype=torch.float64))
    assert metric.compute() == third


def test_states_follow_the_device():
    metric = filled([1.0]).to("meta")
    assert metric.moments.device.type == "meta"
    assert metric.moments.dtype == torch.float64


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: m.clone(), lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_independent(duplicate):
    metric = filled([1.0])
    other = duplicate(metric)
    other.update(torch.tensor([3.0]))
    assert metric.compute() == 1.0
    assert other.compute() == 2.0
