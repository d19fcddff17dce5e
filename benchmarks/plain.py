"""The training step without the engine, as in the authors' code, on the same weights.

Autograd keeps the graphs of all I + 1 decodes, g is computed with ``create_graph`` and then detached, slots are tiled
over the grid before the first convolution, and tensors are contiguous and in one precision. Only benchmarks and tests
of exactness use it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emorl.model import Components, EfficientMORL, Gaussian, Noise, gaussian_noise, slot_kl, stage_weight


def plain_loss(model: EfficientMORL, image: Tensor, steps: int, noise: Noise = gaussian_noise) -> Tensor:
    """Return the training loss sum_i w_i loss_i of images in [0, 1]."""
    draws = model.bottom_up.draws(len(image), model.num_slots, noise)
    posteriors, *_ = model.bottom_up(encode(model, image), draws)
    prior = model.prior(posteriors, noise)
    posterior, state = posteriors[-1], None
    loss = stage_loss(model, image, posterior, noise(f"z{len(posteriors)}", posterior.mean), sum(prior.kl))
    total = stage_weight(0, steps) * loss
    for i in range(1, steps + 1):
        gradient = torch.autograd.grad(loss, posterior, create_graph=True)
        posterior, state = model.refinement(posterior, Gaussian(*(g.detach() for g in gradient)), state)
        kl = slot_kl(posterior.distribution, prior.refined)
        loss = stage_loss(model, image, posterior, noise(f"refine{i}", posterior.mean), kl)
        total = total + stage_weight(i, steps) * loss
    return total


def stage_loss(model: EfficientMORL, image: Tensor, posterior: Gaussian, epsilon: Tensor, kl: Tensor) -> Tensor:
    """Return loss_i with the graph of the whole decoder."""
    nll = model.likelihood(decode(model, posterior.sample(epsilon), image), image)
    return model.objective(nll.mean(), kl.mean(), dims=image[0].numel())


def encode(model: EfficientMORL, image: Tensor) -> Tensor:
    """Encode with contiguous tensors."""
    features = model.encoder.convolutions((2 * image - 1).contiguous())
    placed = features.permute(0, 2, 3, 1) + model.encoder.position(*image.shape[-2:])
    return model.encoder.mlp(placed.flatten(1, 2))


def decode(model: EfficientMORL, slots: Tensor, image: Tensor) -> Components:
    """Tile the slots over the grid, add the position embedding, apply every layer."""
    batch, num_slots, dim = slots.shape
    size = image.shape[-2], image.shape[-1]
    height, width = model.decoder.grid(*size)
    tiled = slots.reshape(-1, dim, 1, 1).repeat(1, 1, height, width)
    canvas = tiled + model.decoder.position(height, width).permute(2, 0, 1).contiguous()
    for layer in model.decoder.layers:
        canvas = (type(layer)() if isinstance(layer, torch.nn.ReLU | torch.nn.ELU) else layer)(canvas)  # not in place
    color, logits = canvas.view(batch, num_slots, 4, *size).split((3, 1), dim=2)
    return Components(color.sigmoid(), logits.log_softmax(dim=1))
