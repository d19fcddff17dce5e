"""A check of the contract of slot models, for tests of your own model.

>>> from emorl.model import SlotAttention
>>> check_slot_model(lambda: SlotAttention(num_slots=3, slot_dim=8, feature_dim=8))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from emorl.model import ImageNoise, Inference, Noise, PosteriorMeans, SlotModel
from emorl.model.describe import describe
from emorl.ranges import counts

Build = Callable[[], SlotModel]
ROUNDING = 1e-7  # of values of order one in float64, after gradients and exponentials
EQUAL = 1e-12  # largest difference of equal slots; in small models, different slots are close, but not this close


def check_slot_model(build: Build, size: int = 16) -> None:
    """Check that a model can be trained, tested and studied by everything in this package.

    The model must accept any batch, image size, K and number of steps; be equivariant to permutations of slots, which
    differ only by ``z0``; draw every random number from ``noise``, by name; give every parameter a gradient; be rebuilt
    from the output of `describe`, and resume bit for bit; build no graph under ``torch.inference_mode``; and infer
    slots that depend on the image only. Weights are enlarged first, in float64, so that every part has an effect; a
    step in float32 must work, too.

    Args:
        build: builds a small model, the same each time except for its random weights.
        size: side of the images, in pixels; a second size is 4 pixels smaller, if the decoder can render it.

    Raises:
        AssertionError: if a part of the contract is violated; the message names it.
        ValueError: if ``size`` is below 5, or not whole.

    >>> from emorl.model import SlotAttention
    >>> check_slot_model(lambda: SlotAttention(num_slots=2, slot_dim=8, feature_dim=8), size=8)
    """
    counts(5, size=size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _check(build(), size)


def _check(model: SlotModel, size: int) -> None:
    _expect(isinstance(model, SlotModel), "a function that builds a SlotModel", type(model).__name__)
    model = _enlivened(model)
    images = torch.rand(3, 3, size, size, dtype=torch.float64)
    for check in (
        _shapes,
        _limits,
        _noise,
        _slots_alike,
        _gradients,
        _no_graph,
        _encoding,
        _rebuilt,
        _resumed,
        _single,
    ):
        try:
            check(model, images)
        except AssertionError:
            raise
        except Exception as error:
            held, precision = (check.__doc__ or "").rstrip("."), "float32" if check is _single else "float64"
            raise AssertionError(f"Expected in {precision}: {held}; got {type(error).__name__}: {error}") from error


def _shapes(model: SlotModel, images: Tensor) -> None:
    """Any batch, image size, K and number of steps."""
    smaller = images[..., 2:-2] if _renders(model, images.shape[-2], images.shape[-1] - 4) else images
    for image, num_slots, count in (
        (images[:1], 1, model.training_steps),
        (smaller, model.num_slots + 2, model.min_steps),
        (smaller[:2], model.num_slots, model.training_steps + 1),
    ):
        found = model(image, count, num_slots, ImageNoise(torch.arange(len(image))))
        last, size = found.stages[-1], tuple(image.shape[-2:])
        _expect(last.step == count, f"the last stage after {count} steps", last.step)
        _expect(last.slots.shape == (len(image), num_slots, model.slot_dim), "slots [B, K, D]", last.slots.shape)
        masks, rgb = last.components.masks, last.components.rgb
        _expect(rgb.shape == (len(image), num_slots, 3, *size), "colors [B, K, 3, H, W]", rgb.shape)
        _expect(_close(masks.sum(1), torch.ones(len(image), 1, *size)), "masks that sum to one", masks.sum(1))
        for layer in found.layers:
            attention, shape = layer.attention, (len(image), num_slots, *size)
            _expect(attention.shape == shape, "attention [B, K, H, W]", attention.shape)
            total = attention.sum(1)
            _expect(bool(((total - 1).abs() < 1e-6).all()), "attention that sums to one over slots", total)
        _expect(bool(found.layers) == model.has_attention, f"has_attention {model.has_attention}", found.layers)
        for loss in (found.loss, *(stage.loss for stage in found.stages)):
            _expect(loss.ndim == 0 and bool(loss.isfinite()), "a finite loss, a scalar", loss)
        _expect(tuple(found.terms) == model.term_names, f"terms {model.term_names}", tuple(found.terms))
        first = found.stages[0].step
        _expect(model.min_steps > 0 or first == 0, "a first stage of no steps, since min_steps is 0", first)
        same = not found.layers or first > 0 or torch.equal(found.layers[-1].slots, found.stages[0].slots)
        _expect(same, "a last layer with the slots of the stage of no steps", "other slots")
        for value in (last.nll, last.kl, *found.terms.values()):
            _expect(value is None or value.shape == (len(image),), "nll, kl and terms one an image, [B]", value)
        averaged = last.nll is None or (last.mean_nll is not None and _close(last.mean_nll, last.nll.mean()))
        _expect(averaged, "mean_nll, the mean of nll over images", last.mean_nll)
        for stage in found.stages:
            scored = tuple(name for name in ("nll", "kl") if getattr(stage, name) is not None)
            _expect(scored == model.score_names, f"stages with {model.score_names}", scored)


def _limits(model: SlotModel, images: Tensor) -> None:
    """Too few steps, and no slots, are refused."""
    for arguments in ((model.min_steps - 1, None), (None, 0)):
        try:
            model(images, *arguments)
        except ValueError:
            continue
        raise AssertionError(
            f"Expected a ValueError for (steps, num_slots) = {arguments}. Call checked_steps and checked_slots."
        )


def _slots_alike(model: SlotModel, images: Tensor) -> None:
    """Permuted draws of ``z0`` permute the slots, and different draws give different slots."""
    numbers = torch.arange(model.num_slots)
    swapped = numbers.clone()
    swapped[:2] = numbers[:2].flip(0)
    noise = _named(images)
    found = model(images, noise=noise).stages[-1]
    for order in (numbers.roll(1), swapped):  # all orders are sequences of these two
        permuted = model(images, noise=lambda name, like, order=order: noise(name, like)[:, order]).stages[-1]
        _expect(_close(permuted.slots, found.slots[:, order]), "slots in the order of their draws", "other slots")
        same = _close(permuted.components.masks, found.components.masks[:, order])
        _expect(same, "masks in the order of the draws", "other masks")
        _expect(_close(permuted.loss, found.loss), "a loss that does not depend on the order of slots", permuted.loss)
    shown = model.decode(found.slots, (images.shape[-2], images.shape[-1])).masks
    _expect(_close(found.components.masks, shown), "the masks of the slots, as decode gives them", "others")
    slots = model.encode(images).slots
    apart = (slots[:, 1:] - slots[:, :1]).abs().amax((0, 2))
    _expect(bool((apart > EQUAL).all()), "slots that differ by the draw named 'z0'", "equal slots")


def _noise(model: SlotModel, images: Tensor) -> None:
    """Every random number has a name, and is drawn once."""
    names: list[str] = []

    def recorded(name: str, like: Tensor) -> Tensor:
        names.append(name)
        return _named(images)(name, like)

    first, second = (model(images, noise=recorded) for _ in range(2))
    _expect(_same(first, second), "random numbers only from noise", "another result the second time")
    _expect(len(set(names)) * 2 == len(names), "each name once in a call", names)


def _gradients(model: SlotModel, images: Tensor) -> None:
    """Every parameter gets a finite gradient."""
    model.zero_grad()
    model(images, model.training_steps, noise=_named(images)).loss.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    missing = [name for name, gradient in trained.items() if gradient is None or not gradient.isfinite().all()]
    _expect(not missing, "a finite gradient of every parameter", f"none for {missing}")
    model.zero_grad()


def _no_graph(model: SlotModel, images: Tensor) -> None:
    """The same numbers without gradients, and no graph."""
    evaluated = copy.deepcopy(model).eval()
    expected = evaluated(images, model.training_steps, noise=_named(images))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = evaluated(images, model.training_steps, noise=_named(images))
            encoding = evaluated.encode(images)
        graph = any(t.requires_grad for t in tensors((found, encoding)))
        _expect(not graph, f"no graph under {mode.__name__}", "one")
        _expect(
            _close(found.stages[-1].slots, expected.stages[-1].slots), "the slots of a call with gradients", "others"
        )


def _encoding(model: SlotModel, images: Tensor) -> None:
    """`encode` returns the last stage's slots, independent of other images in the batch."""
    evaluated = copy.deepcopy(model).eval()
    with torch.no_grad():
        slots = evaluated(images, noise=PosteriorMeans()).stages[-1].slots
    _expect(_close(evaluated.encode(images).slots, slots), "the slots of forward from encode", "others")
    _expect(_close(evaluated.encode(images[1:2]).slots, slots[1:2]), "slots that depend only on the image", "others")
    more = model.num_slots + 1
    _expect(evaluated.encode(images, num_slots=more).slots.shape[1] == more, f"{more} slots from encode", "others")
    together = evaluated(images, noise=ImageNoise(torch.arange(len(images)))).stages[-1].slots
    alone = evaluated(images[1:2], noise=ImageNoise(torch.tensor([1]))).stages[-1].slots
    _expect(_close(together[1:2], alone), "slots that depend only on the image and its noise", "others")
    for stage in evaluated(images, model.training_steps, noise=PosteriorMeans()).stages:
        if stage.step >= model.min_steps:
            fewer = evaluated(images, stage.step, noise=PosteriorMeans()).stages[-1]
            _expect(_close(fewer.slots, stage.slots), f"stage {stage.step} as after {stage.step} steps", "another")
    _expect(evaluated.reconstruct(images).reconstruction.shape == images.shape, "images of the same size", "others")


def _rebuilt(model: SlotModel, images: Tensor) -> None:
    """The output of `describe` rebuilds the model."""
    twin = _twin(model)
    _expect(_same(twin(images, noise=_named(images)), model(images, noise=_named(images))), "the same model", "another")


def _resumed(model: SlotModel, images: Tensor) -> None:
    """Four training steps equal two steps, a checkpoint, and two more steps, bit for bit."""
    whole = _train(_twin(model), images, range(4))
    half = _train(_twin(model), images, range(2))
    resumed = _train(_twin(half[0]), images, range(2, 4), half[1].state_dict())
    ours, theirs = resumed[0].state_dict(), whole[0].state_dict()
    different = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
    _expect(not different, "a resumed training to repeat an uninterrupted one", f"other {different}")


def _single(model: SlotModel, images: Tensor) -> None:
    """A training step, and slots from `encode`."""
    single, given = copy.deepcopy(model).float(), images.float()
    single(given, model.training_steps, noise=_named(images)).loss.backward()
    dtype = single.encode(given).slots.dtype
    _expect(dtype == torch.float32, "slots in float32 of a model in float32", dtype)


def _train(model: SlotModel, images: Tensor, steps: range, state: Any = None) -> tuple[SlotModel, torch.optim.Adam]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    if state is not None:
        optimizer.load_state_dict(state)
    for step in steps:
        optimizer.zero_grad()
        model(images, model.training_steps, noise=ImageNoise(torch.arange(len(images)), 0, step)).loss.backward()
        optimizer.step()
        model.end_step()
    return model, optimizer


def _twin(model: SlotModel) -> SlotModel:
    """Return the model, built as a checkpoint does, with its weights."""
    from pytorch_lightning.cli import instantiate_module  # models need only torch

    from emorl.module import SlotModule

    twin: SlotModel = instantiate_module(SlotModule, {"network": describe(model)}).network
    twin.to(next(model.parameters()).dtype).load_state_dict(model.state_dict())
    return twin.train(model.training)


def _enlivened(model: SlotModel) -> SlotModel:
    """Enlarge the weights: with small initial weights, slots hardly differ."""
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


def _named(images: Tensor) -> Noise:
    return ImageNoise(torch.arange(len(images)), seed=1)


def _renders(model: SlotModel, height: int, width: int) -> bool:
    try:
        model.decoder.grid(height, width)
    except ValueError:
        return False
    return True


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor of nested tuples, lists and dictionaries.

    >>> [value.numel() for value in tensors({"a": torch.zeros(2), "b": [torch.zeros(3), "text"]})]
    [2, 3]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors(item)


def _same(ours: Inference, theirs: Inference) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs.to(ours), rtol=ROUNDING, atol=ROUNDING)


def _expect(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise AssertionError(f"Expected {expected}, got {got}. See SlotModel for the contract.")
