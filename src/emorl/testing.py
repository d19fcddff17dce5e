"""A check of the contract of slot models, for tests of your own model.

>>> from emorl.model import SlotAttention
>>> check_slot_model(lambda: SlotAttention(num_slots=3, slot_dim=8, feature_dim=8))
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from emorl.model import ImageNoise, Inference, Noise, PosteriorMeans, SlotModel
from emorl.model.build import build
from emorl.model.describe import describe
from emorl.model.inference import encoded
from emorl.ranges import counts

Build = Callable[[], SlotModel]
ROUNDING = 1e-7  # of values of order one in float64, after gradients and exponentials
EQUAL = 1e-12  # largest difference of equal slots; in small models, different slots are close, but not this close


def check_slot_model(build: Build, size: int = 16) -> None:
    """Check that a model can be trained, tested and studied by everything in this package.

    The model must accept any batch, image size, K and number of steps, which has an effect; be equivariant to
    permutations of slots, which differ only by ``z0``; draw every random number from ``noise``, by name; change every
    parameter in training; be rebuilt from the output of `describe`, and resume bit for bit; build no graph under
    ``torch.inference_mode``, and keep none; infer slots, nll and KL that depend on the image only; have the mean loss
    of the images, unless it has terms; and encode what it infers. Weights are enlarged first, in float64, so that every
    part has an effect; a step in float32 must work, too.

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
        _steps,
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
        _expect(_close(masks.sum(1), torch.ones(len(image), 1, *size)), "masks that sum to one", _sums(masks))
        for layer in found.layers:
            attention, shape = layer.attention, (len(image), num_slots, *size)
            _expect(attention.shape == shape, "attention [B, K, H, W]", attention.shape)
            one = bool(((attention.sum(1) - 1).abs() < 1e-6).all())
            _expect(one, "attention that sums to one over slots", _sums(attention))
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
    """Permuted draws permute the values of slots, and no others; different draws of ``z0`` give different slots."""
    numbers = torch.arange(model.num_slots)
    swapped = numbers.clone()
    swapped[:2] = numbers[:2].flip(0)
    noise = _named(images)
    found = model(images, noise=noise)
    values = _values(found, "inference")
    for order in (numbers.roll(1), swapped):  # all orders are sequences of these two
        permuted = model(images, noise=lambda name, like, order=order: noise(name, like)[:, order])
        ordered = {name: value[:, order] for name, value in values.items() if value.ndim > 1}
        expected = "to be the same for permuted draws, up to the order of slots"
        _expect_close(_values(permuted, "inference"), values | ordered, expected)
    last = found.stages[-1]
    shown = model.decode(last.slots, (images.shape[-2], images.shape[-1]))
    _expect_close(_values(last.components, "components"), _values(shown, "components"), "to agree with decode")
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
    remedy = "Draw random numbers from noise, and change neither the images nor the model before end_step."
    _expect(_same(first, second), "the same result twice", "another one", remedy)
    _expect(len(set(names)) * 2 == len(names), "each name once in a call", names)


def _gradients(model: SlotModel, images: Tensor) -> None:
    """Every parameter gets a finite gradient, and the model keeps no tensor with a graph."""
    model.zero_grad()
    model(images, model.training_steps, noise=_named(images)).loss.backward()
    attributes = ((path, *each) for path, part in model.named_modules() for each in vars(part).items())
    kept = [f"{path}.{name}".lstrip(".") for path, name, value in attributes if any(t.grad_fn for t in tensors(value))]
    _expect(not kept, "a model that keeps no tensor with a graph", kept, "Detach it, or it holds the memory of a step.")
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


@torch.no_grad()
def _encoding(model: SlotModel, images: Tensor) -> None:
    """`encode` agrees with `forward`, and an image's result does not depend on the rest of its batch."""
    evaluated = copy.deepcopy(model).eval()
    together = _values(evaluated.encode(images), "encoding")
    forward = _values(encoded(evaluated(images, noise=PosteriorMeans())), "encoding")
    _expect_close(together, forward, "to agree with forward")
    alone = _values(evaluated.encode(images[-1:]), "encoding")
    _expect_close(alone, {name: value[-1:] for name, value in together.items()}, "to depend only on the image")
    indices = torch.arange(len(images))
    batch = evaluated(images, model.training_steps, noise=ImageNoise(indices))
    singles = [evaluated(images[i : i + 1], model.training_steps, noise=ImageNoise(i[None])) for i in indices]
    values = _values(batch._replace(terms={}), "inference")  # a term may compare the images of a batch
    last = {name: value[-1:] for name, value in values.items() if value.ndim > 0}
    _expect_close(_values(singles[-1], "inference"), last, "to depend only on the image and its noise")
    if not model.term_names:
        mean = torch.stack([single.loss for single in singles]).mean()
        _expect(_close(batch.loss, mean), f"a loss that is the mean over images, {mean:.6g}", f"{batch.loss:.6g}")
    _expect(evaluated.reconstruct(images).reconstruction.shape == images.shape, "images of the same size", "others")


@torch.no_grad()
def _steps(model: SlotModel, images: Tensor) -> None:
    """Steps have an effect, the same in `encode`, and the stage after i steps is the result of i steps."""
    evaluated = copy.deepcopy(model).eval()
    least, most = model.min_steps, model.training_steps
    more = model.num_slots + 1  # further steps may have no effect on a single slot
    results = {steps: evaluated(images, steps, more, PosteriorMeans()) for steps in (least, most)}
    for steps, result in results.items():
        found = evaluated.encode(images, steps, more)
        _expect(found.slots.shape[1] == more, f"{more} slots from encode", found.slots.shape[1])
        forward = _values(encoded(result), "encoding")
        _expect_close(_values(found, "encoding"), forward, f"to agree with forward, steps = {steps}")
    differ = least == most or not torch.equal(results[least].stages[-1].slots, results[most].stages[-1].slots)
    remedy = "Take as many steps as the call asks for; a model without steps sets training_steps to min_steps."
    _expect(differ, f"other slots after {most} steps than after {least}", "the same", remedy)
    for stage in results[most].stages[:-1]:
        if stage.step >= least:
            fewer = evaluated(images, stage.step, more, PosteriorMeans()).stages[-1]
            _expect(_close(fewer.slots, stage.slots), f"stage {stage.step} as after {stage.step} steps", "another")


def _rebuilt(model: SlotModel, images: Tensor) -> None:
    """The output of `describe` rebuilds the model, for a checkpoint and for a folder of `save_pretrained`."""
    expected = model(images, noise=_named(images))
    for twin in (_twin(model), _like(build(describe(model)), model)):
        _expect(_same(twin(images, noise=_named(images)), expected), "the same model", "another")


def _resumed(model: SlotModel, images: Tensor) -> None:
    """Four training steps change every parameter, and equal two steps, a checkpoint, and two more, bit for bit."""
    whole = _train(_twin(model), images, range(4))
    half = _train(_twin(model), images, range(2))
    resumed = _train(_twin(half[0]), images, range(2, 4), half[1].state_dict())
    ours, theirs = resumed[0].state_dict(), whole[0].state_dict()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # a single step may leave one: its gradient can be zero behind a gate of zero, in a warm-up, or by rounding
    idle = [name for name, start in trained.items() if torch.equal(theirs[name], start)]
    remedy = "Their gradients are zero: use them in the loss, or set their requires_grad to False."
    _expect(not idle, "training to change every parameter", f"the same {idle}", remedy)
    different = [name for name in theirs if not torch.equal(ours[name], theirs[name])]
    _expect(not different, "a resumed training to repeat an uninterrupted one", f"other {different}")


def _single(model: SlotModel, images: Tensor) -> None:
    """A training step, and slots from `encode`."""
    single, given = copy.deepcopy(model).float(), images.float()
    loss = single(given, model.training_steps, noise=_named(images)).loss
    loss.backward()
    gradients = [parameter.grad for parameter in single.parameters() if parameter.grad is not None]
    finite = all(bool(value.isfinite().all()) for value in (loss, *gradients))
    _expect(finite, "a finite loss and finite gradients in float32", f"a loss of {loss:.6g}")
    dtype = single.encode(given).slots.dtype
    _expect(dtype == torch.float32, "slots in float32 of a model in float32", dtype)


def _train(model: SlotModel, images: Tensor, steps: range, state: Any = None) -> tuple[SlotModel, torch.optim.Adam]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    slots = max(2, model.num_slots)  # a single slot has all attention, whatever the weights are
    if state is not None:
        optimizer.load_state_dict(state)
    for step in steps:
        optimizer.zero_grad()
        noise = ImageNoise(torch.arange(len(images)), 0, step)
        model(images, model.training_steps, slots, noise).loss.backward()
        optimizer.step()
        model.end_step()
    return model, optimizer


def _twin(model: SlotModel) -> SlotModel:
    """Return the model, built as a checkpoint does, with its weights."""
    from pytorch_lightning.cli import instantiate_module  # models need only torch

    from emorl.module import SlotModule

    return _like(instantiate_module(SlotModule, {"network": describe(model)}).network, model)


def _like(twin: SlotModel, model: SlotModel) -> SlotModel:
    """Return a twin of a model with its weights, precision and mode."""
    twin.to(next(model.parameters()).dtype).load_state_dict(model.state_dict())
    return twin.train(model.training)


def _enlivened(model: SlotModel) -> SlotModel:
    """Enlarge the weights: with small initial weights slots hardly differ, and gates of zero hide what they scale."""
    model.double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            elif not parameter.any():
                parameter.normal_(std=0.1)
    return model


def _named(images: Tensor) -> Noise:
    return ImageNoise(torch.arange(len(images)), seed=1)


def _sums(values: Tensor) -> str:
    """Return the range of sums over slots."""
    sums = values.sum(1)
    return f"sums from {sums.min():.6g} to {sums.max():.6g} for K = {values.shape[1]}"


def _renders(model: SlotModel, height: int, width: int) -> bool:
    try:
        model.decoder.grid(height, width)
    except ValueError:
        return False
    return True


def tensors(value: Any) -> list[Tensor]:
    """Return every tensor of nested tuples, lists and dictionaries.

    >>> [value.numel() for value in tensors({"a": torch.zeros(2), "b": [torch.zeros(3), "text"]})]
    [2, 3]
    """
    return list(_values(value).values())


def _same(ours: Inference, theirs: Inference) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(ours), tensors(theirs), strict=True))


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs.to(ours), rtol=ROUNDING, atol=ROUNDING)


def _values(result: Any, name: str = "") -> dict[str, Tensor]:
    """Return every tensor of an inference or a part of it by name, such as ``inference.stages[0].slots``."""
    if isinstance(result, Tensor):
        return {name: result}
    if isinstance(result, dict):
        parts = {f"{name}[{key!r}]": part for key, part in result.items()}
    elif hasattr(result, "_fields"):  # a NamedTuple
        parts = {f"{name}.{field}": part for field, part in result._asdict().items()}
    elif isinstance(result, list | tuple):
        parts = {f"{name}[{index}]": part for index, part in enumerate(result)}
    else:
        return {}
    return {key: value for path, part in parts.items() for key, value in _values(part, path).items()}


def _expect_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], expected: str) -> None:
    for name, value in theirs.items():
        _expect(name in ours, f"{name} {expected}", "None")
        _expect(_close(ours[name], value), f"{name} {expected}", "other values")


def _expect(holds: bool, expected: str, got: object, remedy: str = "See SlotModel for the contract.") -> None:
    if not holds:
        raise AssertionError(f"Expected {expected}, got {got}. {remedy}")
