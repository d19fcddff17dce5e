"""Decode and score in one pass that stores gradients instead of a graph.

Decoding K slots at full resolution is nearly all of the model's cost, and refinement does it I + 1 times. Because g is
data (section 3.2 of the paper), later steps need only d nll / d (slots, weights), times a scalar, from a stage's
decoding. One backward pass directly after the forward pass computes both and frees the activations. So memory does not
grow with I; and because nll is a sum over images, it need not grow with the batch either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from emorl.model.decoder import Components
from emorl.model.precision import full_precision
from emorl.model.recording import recorded

Score = Callable[[Tensor, Tensor], tuple[Components, Tensor]]
"""A function from (slots, image) to the components and the nll of each image."""


SLOT_PIXELS = 2**18
"""Slots times pixels that are decoded together: enough to keep a processor busy; more would only need more memory."""


class Decoded(NamedTuple):
    """Decoded and scored images."""

    components: Components  # detached from the graph
    nll: Float[Tensor, " batch"]  # of each image, detached from the graph
    mean_nll: Float[Tensor, ""]  # differentiable with respect to slots and weights


def decode_pass(
    score: Score,
    slots: Float[Tensor, "batch slots dim"],
    image: Float[Tensor, "batch 3 h w"],
    weights: Sequence[Tensor],
    chunk: int | None = None,
) -> Decoded:
    """Decode and score ``chunk`` images at a time.

    Args:
        score: decodes and scores; differentiable with respect to the slots and ``weights``.
        slots: the slots.
        image: images in [0, 1].
        weights: parameters whose gradients the outer backward pass needs. If there are none, and if the slots need no
            gradient, no gradient is computed. While a program is recorded, none is computed either.
        chunk: number of images that are decoded together; by default groups of equal size with about ``SLOT_PIXELS``.
            A recorded program decodes all images together.
    """
    if recorded():  # the program is for any batch size: it can contain neither groups nor gradients
        with torch.no_grad():
            components, nll = score(slots, image)
        return Decoded(components, nll, nll.mean())
    chunk = chunk or _even_chunk(len(image), slots.shape[1] * image[0, 0].numel())
    if torch.is_grad_enabled() and (slots.requires_grad or image.requires_grad or weights):
        mean_nll, nll, *components = _GradientsNow.apply(score, chunk, image, slots, *weights)  # type: ignore[no-untyped-call]
        return Decoded(Components(*components), nll, mean_nll)
    with torch.no_grad():
        parts = [score(s, x) for s, x in zip(torch.split(slots, chunk), torch.split(image, chunk), strict=True)]
    components, nll = _join(parts)
    return Decoded(components, nll, nll.mean())


class _GradientsNow(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, score: Score, chunk: int, image: Tensor, slots: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        parts, slot_gradients, image_gradients = [], [], []
        weight_gradients = [torch.zeros_like(weight) for weight in weights]
        of_image = ctx.needs_input_grad[2]
        for s, x in zip(torch.split(slots, chunk), torch.split(image, chunk), strict=True):
            with torch.enable_grad():
                leaf, pixels = s.detach().requires_grad_(), x.detach().requires_grad_(of_image)
                components, nll = score(leaf, pixels)
                share = nll.sum() / len(image)  # of the batch mean
            with full_precision(slots.device):
                inputs = (leaf, *weights, *([pixels] if of_image else []))
                gradient, *new = torch.autograd.grad(share, inputs, materialize_grads=True)
            slot_gradients.append(gradient)
            if of_image:
                image_gradients.append(new.pop())
            for total, part in zip(weight_gradients, new, strict=True):
                total += part
            parts.append((Components(*(part.detach() for part in components)), nll.detach()))
        components, nll = _join(parts)
        image_gradient = torch.cat(image_gradients) if of_image else None
        ctx.save_for_backward(image_gradient, torch.cat(slot_gradients), *weight_gradients)
        ctx.mark_non_differentiable(nll, *components)
        return nll.mean(), nll, *components

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if gradient is None else scale * gradient for gradient in ctx.saved_tensors)


def _even_chunk(images: int, slot_pixels: int) -> int:
    groups = ceil(images * slot_pixels / SLOT_PIXELS)
    return ceil(images / groups)


def _join(parts: Sequence[tuple[Components, Tensor]]) -> tuple[Components, Tensor]:
    components, nll = zip(*parts, strict=True)
    return Components(*(torch.cat(part) for part in zip(*components, strict=True))), torch.cat(nll)
