"""The requirements of torchmetrics on a metric, tested as in its test suite."""

import copy
import inspect
import pickle

import matplotlib as mpl
import pytest
import torch
from torch import distributed
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper

import warm
from emorl.metrics import (
    ActiveSlots,
    AdjustedRandIndex,
    ImageMean,
    ImageMetric,
    MeanBestOverlap,
    MeanIoU,
    ReconstructionMSE,
    SegmentationCovering,
    SegmentationMetric,
)
from emorl.metrics import functional as F  # noqa: N812

mpl.use("Agg")

BATCHES = 4
NAMES = {"predicted": "preds", "true": "target"}
KEYWORDS = {
    "compute_on_cpu": True,
    "compute_with_cache": False,
    "dist_sync_fn": None,
    "distributed_available_fn": None,
    "process_group": None,
    "sync_on_compute": False,
}


def labels(most=4):
    return torch.randint(0, most, (2, BATCHES, 3, 6, 6), generator=torch.Generator().manual_seed(0))


def images():
    return torch.rand(2, BATCHES, 3, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def mean(function):
    return lambda *batch, **arguments: function(*batch, **arguments).mean()


LABEL_METRICS = {
    AdjustedRandIndex: F.adjusted_rand_index,
    MeanIoU: F.mean_iou,
    MeanBestOverlap: F.mean_best_overlap,
    SegmentationCovering: F.segmentation_covering,
}
ARGUMENTS = ({}, {"ignore_background": False}, {"undefined": 0.0, "ignore_index": 3}, {"ignore_index": 1})
CASES = [
    *((metric, function, arguments, labels) for metric, function in LABEL_METRICS.items() for arguments in ARGUMENTS),
    *((ActiveSlots, F.active_slots, arguments, labels) for arguments in ({}, {"ignore_index": 2})),
    (ReconstructionMSE, F.mean_squared_error, {}, images),
]
cases = pytest.mark.parametrize(
    ("metric", "function", "arguments", "data"),
    CASES,
    ids=[f"{metric.__name__}({', '.join(f'{k}={v}' for k, v in a.items())})" for metric, _, a, _ in CASES],
)


@cases
@pytest.mark.parametrize("step_sync", [True, False])
def test_batches_and_their_union_score_as_the_function_does(metric, function, arguments, data, step_sync):
    preds, target = data()
    shell = metric(dist_sync_on_step=step_sync, **KEYWORDS, **arguments)
    assert shell.dist_sync_on_step is step_sync
    assert not shell.sync_on_compute
    for p, t in zip(preds, target, strict=True):
        torch.testing.assert_close(shell(p, t), function(p, t, **arguments).mean())
    torch.testing.assert_close(shell.compute(), function(preds.flatten(0, 1), target.flatten(0, 1), **arguments).mean())
    shell.reset()
    assert shell.summary().images == 0


@cases
def test_copies_pickles_and_merged_states(metric, function, arguments, data):
    preds, target = data()
    parts = [metric(**arguments) for _ in range(2)]
    for part, p, t in zip(parts, preds, target, strict=False):
        part.update(p, t)
    whole = function(preds[:2].flatten(0, 1), target[:2].flatten(0, 1), **arguments).mean()
    for duplicate in (copy.deepcopy, lambda m: m.clone(), lambda m: pickle.loads(pickle.dumps(m))):
        merged, other = map(duplicate, parts)
        assert repr(merged) == repr(parts[0])
        assert hash(merged) != hash(parts[0])
        merged.merge_state(other)
        torch.testing.assert_close(merged.compute(), whole)
    assert parts[0].state_dict() == {}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@cases
def test_metrics_can_be_scripted_and_their_constants_do_not_change(metric, function, arguments, data):
    shell = metric(**arguments)
    torch.jit.script(shell)
    for name in ("is_differentiable", "higher_is_better", "full_state_update", "plot_lower_bound", "plot_upper_bound"):
        with pytest.raises(RuntimeError, match=f"Can't change const `{name}`"):
            setattr(shell, name, None)


@cases
def test_gradients_are_as_declared(metric, function, arguments, data):
    preds, target = (part[0, :2].double().requires_grad_(data is images) for part in data())
    if data is labels:
        preds, target = preds.long(), target.long()
    value = metric(**arguments)(preds, target)
    assert metric.is_differentiable is value.requires_grad
    if metric.is_differentiable:
        assert torch.autograd.gradcheck(lambda p, t: metric(**arguments)(p, t), (preds, target))


def test_the_mean_of_any_value_has_gradients():
    assert ImageMean.is_differentiable
    assert torch.autograd.gradcheck(ImageMean(), torch.rand(4, dtype=torch.float64, requires_grad=True))


def test_states_have_no_gradients():
    metric = ReconstructionMSE()
    preds, target = (part.requires_grad_() for part in images()[:, 0])
    metric(preds, target)
    metric.update(preds, target)
    assert not metric.moments.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    preds, target = images()[:, 0].to(dtype)
    metric = ReconstructionMSE().set_dtype(dtype)
    assert metric(preds, target).dtype == torch.float64
    torch.testing.assert_close(metric.compute(), (preds.double() - target.double()).square().mean())


@cases
def test_arguments_have_torchmetrics_names_and_ours(metric, function, arguments, data):
    preds, target = data()[:, 0]
    former = NAMES if data is labels else {"reconstruction": "preds", "image": "target"}
    values = {"preds": preds, "target": target}
    expected = function(preds, target, **arguments)
    for names in (former, {"preds": "preds", "target": "target"}):
        given = {name: values[now] for name, now in names.items()}
        assert torch.equal(function(**given, **arguments), expected)
        shell = metric(**arguments)
        shell.update(**given)
        torch.testing.assert_close(shell.compute(), expected.mean())
        collection = MetricCollection({"a": metric(**arguments), "mean": ImageMean()})
        collection.update(values=expected, **given)  # each takes what it knows
        torch.testing.assert_close(collection.compute(), {"a": expected.mean(), "mean": expected.mean()})
    assert list(inspect.signature(metric.update).parameters)[:3] == ["self", "preds", "target"]
    with pytest.raises(TypeError, match="got both"):
        function(**values, **{next(iter(former)): preds})


def test_unknown_keywords_are_refused():
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `ignore_label`"):
        MeanIoU(ignore_label=255)
    with pytest.raises(ValueError, match="`sync_on_compute` to be a `bool`"):
        MeanIoU(sync_on_compute="no")


# Metric collections


class Weighted(ImageMetric):
    """A metric of one's own with a tensor too long to be written."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def update(self, preds, target):
        places = torch.arange(target[0].numel())
        self._add((self.weights[places].double() * (target.flatten(1) > 0)).sum(1))


def edited(metric, **attributes):
    """Return a metric whose attributes were changed after it was made."""
    for name, value in attributes.items():
        setattr(metric, name, value)
    return metric


WEIGHTS = torch.arange(2000)


class Shifted(MeanIoU):
    """A metric of one's own that hands keywords on."""

    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift

    def update(self, preds, target):
        self._add(F.mean_iou(preds, target, self.ignore_background) + self.shift * F.active_slots(preds) // 4)


DIFFERENT = {
    "ari": AdjustedRandIndex,
    "fg-ari": lambda: AdjustedRandIndex(ignore_background=False),
    "miou": MeanIoU,
    "mbo": MeanBestOverlap,
    "covering": SegmentationCovering,
    "background": lambda: MeanIoU(ignore_background=False),
    "zero": lambda: MeanIoU(undefined=0.0),
    "minus": lambda: MeanIoU(undefined=-1.0),
    "nan": lambda: MeanIoU(undefined=float("nan")),
    "skip": lambda: MeanIoU(undefined="skip"),
    "void": lambda: MeanIoU(ignore_index=3),
    "void 1": lambda: MeanIoU(ignore_index=1),
    "one": lambda: Shifted(1),
    "two": lambda: Shifted(shift=2),
    "two with background": lambda: Shifted(shift=2, ignore_background=False),
    "active": ActiveSlots,
    "active void": lambda: ActiveSlots(ignore_index=2),
    "background later": lambda: edited(MeanIoU(), ignore_background=False),
    "zero later": lambda: edited(MeanIoU().clone(), undefined=0.0),
    "weights": lambda: Weighted(WEIGHTS),
    "other weights": lambda: Weighted(torch.cat((WEIGHTS[:3], 7 + WEIGHTS[3:]))),
}


def alike():
    """A batch on which all scores but the number of slots are 1, and three on which they differ."""
    perfect = torch.tensor([[[1, 1], [1, 1]], [[1, 1], [2, 2]]])
    empty = torch.zeros(2, 2, 2, dtype=torch.long)
    random = torch.randint(0, 4, (2, 2, 2, 2), generator=torch.Generator().manual_seed(3))
    return [(perfect, perfect), (perfect, empty), tuple(random), (empty, perfect)]


@pytest.mark.parametrize("method", ["update", "forward"])
@pytest.mark.parametrize("groups", [True, False])
def test_metrics_that_differ_are_never_merged(method, groups):
    collection = MetricCollection({name: build() for name, build in DIFFERENT.items()}, compute_groups=groups)
    alone = {name: build() for name, build in DIFFERENT.items()}
    for batch in alike():
        getattr(collection, method)(*batch)
        for metric in alone.values():
            metric.update(*batch)
    expected = {name: metric.compute() for name, metric in alone.items()}
    torch.testing.assert_close(collection.compute(), expected, equal_nan=True)
    if groups:
        assert len(collection.compute_groups) == len(DIFFERENT)


def test_collections_may_be_reset_cloned_and_added_to():
    def build():
        return {"a": MeanIoU(), "b": MeanIoU(True, undefined=1.0, sync_on_compute=False), "mbo": MeanBestOverlap()}

    collection = MetricCollection(build(), prefix="val/")
    first, second, *_ = alike()
    collection.update(*first)
    assert sorted(collection.compute_groups.values()) == [["a"], ["b"], ["mbo"]]
    collection.update(*alike()[2])
    clone = collection.clone(prefix="test/")
    alone = MeanIoU()
    for batch in (first, alike()[2]):
        alone.update(*batch)
    for copied, prefix in ((collection, "val/"), (clone, "test/"), (pickle.loads(pickle.dumps(clone)), "test/")):
        values = copied.compute()
        assert values[f"{prefix}a"] == values[f"{prefix}b"] == alone.compute()
        assert copied["a"].summary() == alone.summary() or copied["a"].summary().images == alone.summary().images
    collection.reset()
    collection.add_metrics({"ari": AdjustedRandIndex()})
    collection.update(*second)
    assert collection.compute()["val/ari"] == 1.0


def test_collections_of_the_kind_that_report_one_number_twice():
    """A good model's first batch has mIoU = mBO."""
    target = torch.tensor([[[0, 1, 1, 2]]])
    collection = MetricCollection({"miou": MeanIoU(), "mbo": MeanBestOverlap()})
    for preds in ([5, 6, 6, 7], [5, 6, 6, 6]):
        collection.update(torch.tensor([[preds]]), target)
    values = collection.compute()
    assert values["mbo"] == pytest.approx((1 + (2 / 3 + 1 / 3) / 2) / 2)
    assert values["miou"] == pytest.approx((1 + (2 / 3) / 2) / 2)


def test_wrappers_and_arithmetic():
    preds, target = labels()[:, 0]
    tracker = MetricTracker(MetricCollection({"miou": MeanIoU(), "mbo": MeanBestOverlap()}))
    tracker.increment()
    tracker.update(preds, target)
    assert tracker.best_metric()["mbo"] == pytest.approx(float(F.mean_best_overlap(preds, target).mean()))
    bootstrapped = BootStrapper(
        MeanIoU(), num_bootstraps=3, sampling_strategy="multinomial"
    )  # poisson may draw no image
    bootstrapped.update(preds, target)
    assert bootstrapped.compute()["mean"].isfinite()
    total = MeanIoU() + MeanBestOverlap()
    assert total(preds, target) == (F.mean_iou(preds, target) + F.mean_best_overlap(preds, target)).mean()


# What is shown


def test_repr_shows_arguments():
    assert repr(ImageMean()) == "ImageMean()"
    assert repr(ReconstructionMSE(sync_on_compute=False)) == "ReconstructionMSE(sync_on_compute=False)"
    assert repr(MeanIoU(False, ignore_index=255)) == (
        "MeanIoU(ignore_background=False, undefined=1.0, ignore_index=255)"
    )
    assert repr(Shifted(2, undefined="skip")) == "Shifted(shift=2, undefined='skip')"
    assert "ignore_index=255" in repr(edited(MeanIoU(), ignore_index=255))
    assert repr(pickle.loads(pickle.dumps(ActiveSlots(ignore_index=1)))) == "ActiveSlots(ignore_index=1)"


BOUNDS = {
    **dict.fromkeys((MeanIoU, MeanBestOverlap, SegmentationCovering), (0.0, 1.0)),
    AdjustedRandIndex: (-0.5, 1.0),
    ReconstructionMSE: (0.0, None),
    ActiveSlots: (0.0, None),
    ImageMean: (None, None),
}


@pytest.mark.parametrize("metric", BOUNDS)
def test_plots_have_the_bounds_of_the_score(metric):
    assert (metric.plot_lower_bound, metric.plot_upper_bound) == BOUNDS[metric]
    batch = (torch.rand(3),) if metric is ImageMean else (images() if metric is ReconstructionMSE else labels())[:, 0]
    shell = metric()
    values = [shell(*batch), shell(*batch)]
    for shown in (None, values[0], values):
        figure, axes = shell.plot(shown)
        low, high = axes.get_ylim()
        assert metric.plot_lower_bound is None or low < metric.plot_lower_bound
        assert metric.plot_upper_bound is None or high > metric.plot_upper_bound
        assert axes.get_ylabel() == metric.__name__
        assert shell.plot(shown, axes)[1] is axes
        mpl.pyplot.close(figure)


def test_every_metric_is_in_these_tests():
    def below(cls):
        return {cls} | {each for sub in cls.__subclasses__() for each in below(sub)}

    ours = {cls for cls in below(ImageMetric) if cls.__module__.startswith("emorl")}
    assert ours - {ImageMetric, SegmentationMetric} == BOUNDS.keys()


# States


@pytest.mark.parametrize("name", ["moments", "moments of emorl.metrics.segmentation.MeanIoU(undefined=1.0)"])
def test_a_persistent_state_is_loaded_under_its_former_name_too(name):
    metric = torch.nn.ModuleDict({"iou": MeanIoU()})
    metric["iou"].persistent(True)
    metric["iou"].update(*alike()[0])
    for saved in (metric.state_dict(), {f"iou.{name}": torch.tensor([4.0, 0.5, 1.0]).double()}):
        expected = next(iter(saved.values())).clone()
        other = torch.nn.ModuleDict({"iou": MeanIoU()})
        other["iou"].persistent(True)
        assert not any(other.load_state_dict(saved))
        assert torch.equal(other["iou"].moments, expected)


def test_states_are_in_no_checkpoint_unless_asked_for():
    assert torch.nn.ModuleDict({"iou": MeanIoU(), "mean": ImageMean()}).state_dict() == {}


# Two processes


def distributed_scores(rank, world):
    """What every metric returns of each step, if steps are synchronized, and in the end, of the process alone too."""
    found = []
    for metric, _, arguments, data in CASES:
        preds, target = data()
        for synced in (True, False):
            shell = metric(dist_sync_on_step=True, sync_on_compute=synced, **arguments)
            steps = [shell(preds[i], target[i]) for i in range(rank, BATCHES, world)]
            found += [*steps, shell.compute(), shell.summary().images.double()]
    return torch.stack(found)


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.save(distributed_scores(rank, 2), folder / f"{rank}.pt")
    collection = MetricCollection({name: DIFFERENT[name]() for name in ("miou", "mbo", "void", "active")})
    for batch in alike()[rank::2]:
        collection.update(*batch)
    torch.save(collection.compute(), folder / f"collection_{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes(tmp_path):
    warm.ranks(work, tmp_path)
    zero, one = (torch.load(tmp_path / f"{rank}.pt").view(len(CASES), 2, -1) for rank in range(2))
    torch.testing.assert_close(zero[:, 0], one[:, 0])  # synchronized when computed
    for (_, function, arguments, data), row, other in zip(CASES, zero, one, strict=True):
        preds, target = data()
        values = torch.stack([function(p, t, **arguments) for p, t in zip(preds, target, strict=True)])
        together = [values[:2].mean(), values[2:].mean(), values.mean()]
        torch.testing.assert_close(row[0], torch.stack([*together, torch.tensor(12.0).double()]))
        torch.testing.assert_close(row[1, 2:], torch.stack([values[::2].mean(), torch.tensor(6.0).double()]))
        torch.testing.assert_close(other[1, 2:], torch.stack([values[1::2].mean(), torch.tensor(6.0).double()]))
    alone = MetricCollection({name: DIFFERENT[name]() for name in ("miou", "mbo", "void", "active")})
    for batch in alike():
        alone.update(*batch)
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"collection_{rank}.pt"), alone.compute())
