"""Draw slots without storing activations or a graph.

Refinement needs two backward passes through the decoder: one at once, for d loss / d z, which is an input of the
refinement network; and one in the outer backward pass, with gradients that are known only then. Activations are
discarded in between and recomputed when needed, so that memory does not grow by a decoder's graph with each step. The
last drawing keeps its own, because the outer backward pass reaches it first. The gradients of the parameters are
computed only in the outer pass.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from emorl.model.iodine.decoder import Drawing, IodinePixelDecoder
from emorl.model.iodine.likelihood import PixelMixture
from emorl.model.precision import full_precision, present_precision


class Drawn(NamedTuple):
    """Slots drawn and scored."""

    drawing: Drawing  # differentiable with respect to slots and the decoder's weights
    nll: Float[Tensor, " batch"]  # of each image, likewise
    slope: Float[Tensor, "batch slots dim"]  # d nll / d slots for each image's nll; detached from the graph


def drawing_pass(
    decoder: IodinePixelDecoder,
    likelihood: PixelMixture,
    slots: Float[Tensor, "batch slots dim"],
    image: Float[Tensor, "batch 3 h w"],
    keep: bool = False,
) -> Drawn:
    """Draw the slots and score them; works under ``torch.no_grad`` and ``torch.inference_mode`` too.

    Args:
        decoder: draws the slots.
        likelihood: scores the drawing.
        slots: the slots.
        image: images in [0, 1].
        keep: whether to keep the activations for the outer backward pass.
    """
    weights = [weight for weight in decoder.parameters() if weight.requires_grad]
    keep = keep and torch.is_grad_enabled()
    colors, logits, nll, slope = _Drawn.apply(decoder, likelihood, keep, image, slots, *weights)  # type: ignore[no-untyped-call]
    return Drawn(Drawing(colors, logits), nll, slope)


class _Drawn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        decoder: IodinePixelDecoder,
        likelihood: PixelMixture,
        keep: bool,
        image: Tensor,
        slots: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        leaf, drawing = _draw(decoder, slots, image)
        fixed = Drawing(*(part.detach() for part in drawing))
        explained = likelihood.explain(fixed, image)
        (slope,) = _gradients(drawing, (leaf,), likelihood.gradient(fixed, explained, image), retain_graph=keep)
        ctx.save_for_backward(image, slots, *fixed, *weights)
        ctx.parts = decoder, likelihood
        ctx.kept = (leaf, drawing) if keep else None
        ctx.precision = present_precision(image.device)
        ctx.mark_non_differentiable(slope)
        return *fixed, explained.nll, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, colors: Tensor, logits: Tensor, nll: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        image, slots, *fixed = ctx.saved_tensors[:4]
        weights = ctx.saved_tensors[4:]
        decoder, likelihood = ctx.parts
        drawing = Drawing(*fixed)
        of_image = _image_gradient(likelihood, drawing, image, nll) if ctx.needs_input_grad[3] else None
        own = likelihood.gradient(drawing, likelihood.explain(drawing, image), image)
        scale = nll[:, None, None, None, None]
        outer = Drawing(colors + scale * own.colors, logits + scale * own.logits)
        with ctx.precision():
            leaf, again = ctx.kept or _draw(decoder, slots, image)
        ctx.kept = None
        return None, None, None, of_image, *_gradients(again, (leaf, *weights), outer)


def _image_gradient(likelihood: PixelMixture, drawing: Drawing, image: Tensor, nll: Tensor) -> Tensor:
    with torch.enable_grad():
        leaf = image.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(likelihood.explain(drawing, leaf).nll, leaf, nll)
    return gradient


def _draw(decoder: IodinePixelDecoder, slots: Tensor, image: Tensor) -> tuple[Tensor, Drawing]:
    with torch.inference_mode(False), torch.enable_grad():
        leaf = slots.detach().clone().requires_grad_()
        return leaf, decoder.draw(leaf, (image.shape[-2], image.shape[-1]))


def _gradients(
    drawing: Drawing, inputs: tuple[Tensor, ...], outer: Drawing, retain_graph: bool = False
) -> tuple[Tensor, ...]:
    with torch.inference_mode(False), full_precision(outer.colors.device):
        outputs = [part.clone() for part in outer]
        return torch.autograd.grad(drawing, inputs, outputs, retain_graph, materialize_grads=True)
