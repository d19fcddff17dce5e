"""The outputs of slot models: an inference with its stages and layers, an encoding, a reconstruction."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components
from emorl.model.posterior import Gaussian


class Layer(NamedTuple):
    """Slots and attention of a layer of EfficientMORL's bottom-up pass, or of an iteration of Slot Attention.

    >>> import torch
    >>> layer = Layer(torch.zeros(2, 4, 8), torch.full((2, 4, 35, 35), 0.25))
    >>> layer.attention.sum(dim=1).unique()  # over slots
    tensor([1.])
    """

    slots: Float[Tensor, "batch slots dim"]  # after the layer
    attention: Float[Tensor, "batch slots h w"]  # of each pixel, in [0, 1], summing to one over slots


class Stage(NamedTuple):
    """The slots after ``step`` steps, decoded and scored.

    >>> import torch
    >>> from emorl.model import EfficientMORL
    >>> stage = EfficientMORL()(torch.rand(2, 3, 35, 35), steps=0).stages[0]
    >>> stage.components.reconstruction.shape, stage.nll.shape
    (torch.Size([2, 3, 35, 35]), torch.Size([2]))
    """

    step: int  # number of steps before it
    slots: Float[Tensor, "batch slots dim"]  # after ``step`` steps
    posterior: Gaussian | None  # the slots are a sample of it; None where slots are points
    components: Components  # of the decoded slots; may be detached from the graph: a penalty on masks needs ``decode``
    nll: Float[Tensor, " batch"] | None  # in nats, summed over channels and pixels; detached from the graph
    mean_nll: Float[Tensor, ""] | None  # its batch mean, differentiable
    kl: Float[Tensor, " batch"] | None  # in nats
    loss: Float[Tensor, ""]  # mean loss of this stage over the batch


class Inference(NamedTuple):
    """All outputs of a model for a batch of images.

    >>> import torch
    >>> from emorl.model import SlotAttention
    >>> inference = SlotAttention()(torch.rand(2, 3, 35, 35), steps=3)
    >>> len(inference.stages), len(inference.layers), inference.terms
    (1, 3, {})
    """

    stages: list[Stage]  # at least one; the last is the result
    layers: list[Layer]  # empty for a model without attention; the last one has the slots of a stage of no steps
    terms: dict[str, Float[Tensor, " batch"]]  # further values of each image, by the names in ``term_names``
    loss: Float[Tensor, ""]  # to minimize in training


class Encoding(NamedTuple):
    """The slots of images.

    >>> import torch
    >>> from emorl.model import EfficientMORL
    >>> found = EfficientMORL().encode(torch.rand(2, 3, 35, 35))
    >>> found.slots.shape, found.attention.shape
    (torch.Size([2, 4, 32]), torch.Size([2, 4, 35, 35]))
    """

    slots: Float[Tensor, "batch slots dim"]  # posterior means, or the slots themselves
    scale: Float[Tensor, "batch slots dim"] | None  # posterior standard deviations; None where slots are points
    attention: Float[Tensor, "batch slots h w"] | None  # of the last layer, in [0, 1], summing to one over slots


class Reconstruction(NamedTuple):
    """Images reconstructed from their slots.

    >>> import torch
    >>> from emorl.model import EfficientMORL
    >>> found = EfficientMORL().reconstruct(torch.rand(2, 3, 35, 35))
    >>> torch.allclose((found.masks * found.rgb).sum(dim=1), found.reconstruction)
    True
    """

    slots: Float[Tensor, "batch slots dim"]  # posterior means, or the slots themselves
    masks: Float[Tensor, "batch slots 1 h w"]  # in [0, 1], summing to one over slots
    rgb: Float[Tensor, "batch slots 3 h w"]  # the color of each slot
    reconstruction: Float[Tensor, "batch 3 h w"]  # sum of masks times rgb


def encoding(posterior: Gaussian | None, slots: Tensor, layers: list[Layer]) -> Encoding:
    """Return the posterior means as slots, or the slots themselves where there is no posterior."""
    attention = layers[-1].attention if layers else None
    if posterior is None:
        return Encoding(slots, None, attention)
    return Encoding(posterior.mean, posterior.std, attention)


def encoded(inference: Inference) -> Encoding:
    """Return the encoding of the last stage of an inference."""
    last = inference.stages[-1]
    return encoding(last.posterior, last.slots, inference.layers)
