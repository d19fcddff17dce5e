"""IODINE's training step without an engine, on the same weights.

Ordinary autograd through T + 1 drawings whose graphs are all kept, inner gradients taken from the same graphs, slots
tiled over the image before the first convolution, contiguous tensors in one precision. Nothing but benchmarks and tests
of exactness uses it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from emorl.model import IODINE, Drawing, Noise, SoftplusGaussian, gaussian_noise, slot_kl, step_weight
from emorl.model.iodine.decoder import CONSTANT


def plain_iodine_loss(model: IODINE, image: Tensor, steps: int, noise: Noise = gaussian_noise) -> Tensor:
    """Return the training loss sum_t (t / T) loss_t of images in [0, 1]."""
    lambda_0 = model.initial.expand(len(image), model.num_slots, -1)
    posterior, total = SoftplusGaussian(*lambda_0.chunk(2, dim=-1)), image.new_zeros(())
    state = model.refinement.start(posterior.mean)
    for t in range(steps + 1):
        slots = posterior.sample(noise(f"refine{t}" if t else "z0", posterior.mean))
        drawing = draw(model, slots, image)
        kl = slot_kl(posterior.distribution, model.prior(slots))
        loss = model.likelihood.explain(drawing, image).nll + model.kl_weight * kl
        total = total + step_weight(t, steps) * loss.mean()
        if t < steps:
            share = model.gradient(len(image))
            slope = torch.autograd.grad(loss.sum(), (*posterior, *drawing), retain_graph=True)
            pixels = inputs(model, drawing, Drawing(*slope[2:]), image, share)
            posterior, state = model.refinement(pixels, posterior, share * torch.cat(slope[:2], dim=-1), state)
    return total


def inputs(model: IODINE, drawing: Drawing, gradient: Drawing, image: Tensor, share: float) -> Tensor:
    """Return the refinement network's input, with gradients by autograd and leave-one-out likelihoods by loops."""
    parts, explained = model.refinement.inputs, model.likelihood.explain(drawing, image)
    joint, masks, density = explained.log_joint, explained.log_masks, explained.log_density.exp()
    without = [explained.log_prob - leave_out(joint, k) + leave_out(masks, k) for k in range(joint.shape[1])]
    constant = [torch.full_like(drawing.logits, 0.5)] if parts.constants else []
    stack = [
        *constant,
        drawing.colors,
        parts.coordinates(*image.shape[-2:], like=image)[None, None],
        parts.norm_counterfactual(torch.cat(without, dim=1)),
        parts.norm_colors(share * gradient.colors),
        parts.norm_logits(share * gradient.logits),
        image[:, None],
        parts.norm_log_prob(explained.log_prob),
        drawing.logits,
        density / (density.sum(dim=1, keepdim=True) + 1e-6),
        masks.exp(),
    ]
    size = drawing.logits.shape
    return torch.cat([part.expand(*size[:2], -1, *size[3:]) for part in stack], dim=2)


def leave_out(values: Tensor, slot: int) -> Tensor:
    """Return log sum exp over all slots but one."""
    others = [k for k in range(values.shape[1]) if k != slot]
    return values[:, others].logsumexp(dim=1, keepdim=True)


def draw(model: IODINE, slots: Tensor, image: Tensor) -> Drawing:
    """Tile the slots over the image, append the coordinates, and apply every layer."""
    batch, num_slots, dim = slots.shape
    height, width = image.shape[-2:]
    parts = [slots.reshape(-1, dim, 1, 1).expand(-1, -1, height, width)]
    if model.decoder.constants:
        parts.append(torch.full_like(parts[0][:, :1], CONSTANT))
    places = model.decoder.places(height, width, image).expand(batch * num_slots, -1, -1, -1)
    canvas = model.decoder.layers[0](torch.cat([*parts, places], dim=1))
    for layer in model.decoder.layers[1:]:
        canvas = layer(F.elu(canvas))
    logits, colors = canvas.view(batch, num_slots, 4, height, width).split((1, 3), dim=2)
    return Drawing(colors, logits)
