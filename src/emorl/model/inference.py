"""What a slot model returns: an inference with its stages and layers, an encoding, a reconstruction."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components
from emorl.model.posterior import Gaussian


class Layer(NamedTuple):
    """One round of attention: a layer of EfficientMORL's bottom-up pass, an iteration of Slot Attention."""

    slots: Float[Tensor, "batch slots dim"]  # that the round ends with
    attention: Float[Tensor, "batch slots h w"]  # of every pixel, summing to one over slots


class Stage(NamedTuple):
    """Slots, decoded and scored after ``step`` steps."""

    step: int
    slots: Float[Tensor, "batch slots dim"]
    posterior: Gaussian | None  # that the slots are a sample of; None where slots are points
    components: Components
    nll: Float[Tensor, " batch"] | None  # in nats, summed over channels and pixels; without a graph
    mean_nll: Float[Tensor, ""] | None  # its batch mean, differentiable
    kl: Float[Tensor, " batch"] | None  # in nats
    loss: Float[Tensor, ""]  # of this stage, over the batch


class Inference(NamedTuple):
    """All that a model infers from a batch of images."""

    stages: list[Stage]  # at least one; the last is the result
    layers: list[Layer]  # none where there is no attention
    terms: dict[str, Float[Tensor, " batch"]]  # further numbers of each image, named as in ``term_names``
    loss: Float[Tensor, ""]  # to minimize in training


class Encoding(NamedTuple):
    """Images as slots."""

    slots: Float[Tensor, "batch slots dim"]  # posterior means, or the slots themselves
    scale: Float[Tensor, "batch slots dim"] | None  # posterior standard deviations; None where slots are points
    attention: Float[Tensor, "batch slots h w"] | None  # of the last layer, summing to one over slots


class Reconstruction(NamedTuple):
    """Images, put together again from their slots."""

    slots: Float[Tensor, "batch slots dim"]
    masks: Float[Tensor, "batch slots 1 h w"]  # in [0, 1], summing to one over slots
    rgb: Float[Tensor, "batch slots 3 h w"]  # the color of each slot
    reconstruction: Float[Tensor, "batch 3 h w"]  # sum of masks times rgb


def encoding(posterior: Gaussian | None, slots: Tensor, layers: list[Layer]) -> Encoding:
    """Return slots by the means of their posterior, where they have one."""
    attention = layers[-1].attention if layers else None
    if posterior is None:
        return Encoding(slots, None, attention)
    return Encoding(posterior.mean, posterior.std, attention)
