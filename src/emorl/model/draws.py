"""Choosing among draws: of several inferences of an image, the one that the model itself scores best."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from emorl.model.inference import Inference, Stage
from emorl.model.noise import Noise, PosteriorMeans
from emorl.ranges import whole

_OF_AN_IMAGE = "slots", "posterior", "components", "nll", "kl"  # of a stage


def best_of(draws: int, infer: Callable[[int], Inference], image: Float[Tensor, "batch 3 h w"]) -> Inference:
    """Return each image's best inference among several draws, stage by stage.

    A stage is scored by its bound, nll + KL, or by its squared error if the model has no likelihood. The lowest score
    wins; no label is used. So stage i equals the last stage of ``best_of`` with i steps. Terms are those of the draw
    that wins the first stage, layers those of the draw that wins the last one. An image's result does not depend on the
    rest of its batch. Time grows with the number of draws; memory is that of two inferences for any number above 1, but
    with gradients that of all graphs; `best_means` keeps one.

    Args:
        draws: number N of inferences of each image.
        infer: returns the inference of a draw, given its number 0 .. N - 1.
        image: the images, in [0, 1].

    Returns:
        The inference. With more than one draw its losses are NaN: they are defined for a batch, not for an image.
    """
    best = infer(0)
    for number in range(1, draws):
        best = _better(best, infer(number), image)
    return best


@torch.no_grad()
def best_means(draws: int, infer: Callable[[Noise], Inference], image: Float[Tensor, "batch 3 h w"]) -> Noise:
    """Return the noise of each image's best draw among several `PosteriorMeans`, by the bound of the last stage.

    An inference with it has the result of `best_of`, and a graph of that draw alone.
    """
    seeds = [PosteriorMeans(number) for number in range(draws)]
    lowest = image.new_full(image.shape[:1], torch.nan)
    best = torch.zeros(image.shape[:1], dtype=torch.long, device=image.device)
    for number, noise in enumerate(seeds):
        found = bound(infer(noise).stages[-1], image)
        takes = _wins(found, lowest)
        lowest, best = torch.where(takes, found, lowest), torch.where(takes, number, best)
    return lambda name, like: torch.cat([noise(name, like[:1]) for noise in seeds])[best]


def checked_draws(draws: int) -> int:
    """Return the number of draws.

    Raises:
        ValueError: if it is below 1, or not an integer.
    """
    whole(draws=draws)
    if draws < 1:
        raise ValueError(f"Expected 1 or more draws, got {draws}. One draw infers each image once.")
    return draws


def bound(stage: Stage, image: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, " batch"]:
    """Return a stage's score: nll + KL in nats, or the squared error summed over channels and pixels."""
    if stage.nll is None:
        return (image - stage.components.reconstruction).square().sum((1, 2, 3))
    return stage.nll if stage.kl is None else stage.nll + stage.kl


def _better(best: Inference, found: Inference, image: Tensor) -> Inference:
    nothing = image.new_full((), torch.nan)  # for losses, which are defined for a batch, not for an image
    stages, wins = [], []
    for old, new in zip(best.stages, found.stages, strict=True):
        wins.append(takes := _wins(bound(new, image), bound(old, image)))
        chosen = {name: _choose(takes, getattr(old, name), getattr(new, name)) for name in _OF_AN_IMAGE}
        stages.append(Stage(step=old.step, mean_nll=None, loss=nothing, **chosen))
    layers, terms = _choose(wins[-1], best.layers, found.layers), _choose(wins[0], best.terms, found.terms)
    return Inference(stages, layers, terms, nothing)


def _wins(found: Tensor, former: Tensor) -> Bool[Tensor, " batch"]:
    return (found < former) | former.isnan()


def _choose(takes: Bool[Tensor, " batch"], old: Any, new: Any) -> Any:
    """Return for each image the new value where ``takes`` is true, else the old one."""
    if isinstance(old, Tensor):
        return torch.where(takes.view(-1, *[1] * (old.ndim - 1)), new, old)
    if isinstance(old, dict):
        return {name: _choose(takes, old[name], new[name]) for name in old}
    if not isinstance(old, list | tuple):
        return old
    chosen = [_choose(takes, *pair) for pair in zip(old, new, strict=True)]
    return type(old)(*chosen) if hasattr(old, "_fields") else type(old)(chosen)  # a NamedTuple, or a list
