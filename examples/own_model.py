"""A custom model: slots are the centers of soft k-means in the features of an image.

`emorl` trains, tests and predicts with every `SlotModel` that Python can import, this one with PYTHONPATH=examples::

    emorl fit -c examples/own_model.yaml
    emorl test --ckpt_path runs/version_0/checkpoints/last.ckpt --data.root data/tetrominoes --output_dir out
    emorl predict --ckpt_path runs/version_0/checkpoints/last.ckpt --data.root a/folder/of/images --output_dir out
    emorl fit -c runs/version_0/config.yaml --ckpt_path runs/version_0/checkpoints/last.ckpt  # resumes it

Without the recipe, add ``--model.network own_model.SoftKMeans --model.network.num_slots 7`` to the options of ``fit``.
In Python, ``emorl.load_pretrained("runs/version_0/checkpoints/last.ckpt")`` returns the trained model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from emorl.model import (
    BalancedInitialization,
    Decoder,
    ImageEncoder,
    Inference,
    Layer,
    Noise,
    SlotModel,
    SmallDecoder,
    Stage,
    gaussian_noise,
)


class SoftKMeans(SlotModel):
    """Slot Attention without its recurrent cell: a step only moves K centers in the space of the features.

    A step assigns every feature f_n to the centers z_k with weights w_kn = softmax_k(z_k . f_n / sqrt(D)), and sets z_k
    to the weighted mean of the features. The loss is the squared error of the decoded image.

    Args:
        num_slots: default number of slots K, background included.
        slot_dim: dimensions of a feature and of a slot, D.
        encoder_stride: distance of neighboring features in pixels.
        decoder: builds the decoder from D.
    """

    default_steps: ClassVar[int] = 3
    training_steps: ClassVar[int] = 3

    def __init__(
        self,
        num_slots: int = 4,
        slot_dim: int = 64,
        encoder_stride: int = 1,
        decoder: Callable[[int], Decoder] = SmallDecoder,
    ) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.slot_dim = slot_dim
        self.encoder = ImageEncoder(slot_dim, stride=encoder_stride)
        self.norm = nn.LayerNorm(slot_dim)
        self.decoder = decoder(slot_dim)
        BalancedInitialization()(self)

    def forward(
        self, image: Tensor, steps: int | None = None, num_slots: int | None = None, noise: Noise = gaussian_noise
    ) -> Inference:
        """Infer and decode the slots of images in [0, 1]."""
        steps = self.checked_steps(steps)
        features = self.norm(self.encoder(2 * image - 1))  # (B, N, D)
        start = features.new_zeros(image.shape[0], self.checked_slots(num_slots), self.slot_dim)
        slots = noise("z0", start)  # makes slots different
        layers = []
        for _ in range(steps):
            slots, weights = self.step(slots, features)
            layers.append(Layer(slots, self.encoder.to_pixels(weights, *image.shape[-2:])))
        components = self.decode(slots, (image.shape[-2], image.shape[-1]))
        loss = (image - components.reconstruction).square().sum((1, 2, 3)).mean()
        stage = Stage(steps, slots, None, components, None, None, None, loss)  # no posterior, so no nll and KL
        return Inference([stage], layers, {}, loss)

    def step(self, slots: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the moved centers [B, K, D], and the weights of features [B, K, N]."""
        weights = (slots @ features.mT / self.slot_dim**0.5).softmax(dim=1)
        shares = weights / weights.sum(dim=2, keepdim=True)
        return torch.bmm(shares, features), weights
