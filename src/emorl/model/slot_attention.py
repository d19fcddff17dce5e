"""Slot Attention (Locatello et al., 2020), the deterministic baseline, made of the same parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.attention import SlotAttend
from emorl.model.decoder import Components, Decoder, SmallDecoder
from emorl.model.describe import Described
from emorl.model.encoder import ImageEncoder
from emorl.model.noise import Noise, gaussian_noise
from emorl.model.position import PositionCode, RampPosition
from emorl.model.posterior import Gaussian


class SlotReading(NamedTuple):
    """What Slot Attention makes of a batch of images."""

    slots: Float[Tensor, "batch slots dim"]
    attention: Float[Tensor, "batch slots pixels"]  # of the last iteration
    components: Components
    loss: Float[Tensor, ""]  # squared error summed over channels and pixels, mean over the batch


class SlotAttention(Described):
    """Iterative attention from a sampled start, then a slot decoder trained on squared error.

    Args:
        num_slots: slots K, background included; a call may ask for another number.
        slot_dim: dimensions of a slot, D.
        iterations: rounds of attention, with shared weights.
        feature_dim: features of a pixel, F.
        hidden_dim: width of the slot MLP.
        position: builds the encoder's position code.
        decoder: builds the decoder from D.
    """

    def __init__(
        self,
        num_slots: int = 4,
        slot_dim: int = 64,
        iterations: int = 3,
        feature_dim: int = 64,
        hidden_dim: int = 128,
        position: Callable[[], PositionCode] = RampPosition,
        decoder: Callable[[int], Decoder] = SmallDecoder,
    ) -> None:
        super().__init__()
        self.num_slots = num_slots
        self.iterations = iterations
        self.encoder = ImageEncoder(feature_dim, position)
        self.initial_mean = nn.Parameter(torch.zeros(slot_dim))
        self.initial_rho = nn.Parameter(torch.ones(slot_dim))
        self.attend = SlotAttend(feature_dim, slot_dim)
        self.cell = nn.GRUCell(slot_dim, slot_dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(slot_dim),
            nn.Linear(slot_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, slot_dim),
        )
        self.decoder = decoder(slot_dim)

    def forward(
        self,
        image: Float[Tensor, "batch 3 h w"],
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> SlotReading:
        """Infer and decode the slots of images in [0, 1].

        Raises:
            ValueError: if the decoder cannot render the image's size.
        """
        pixels = self.attend.project(self.encoder(2 * image - 1))
        num_slots = self.num_slots if num_slots is None else num_slots
        slots = self.initial(len(image), num_slots, noise)  # (B, K, D)
        for _ in range(self.iterations):
            update, attention = self.attend(slots, pixels)
            slots_n = self.cell(update.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
            slots = slots_n + self.mlp(slots_n)
        components = self.decoder(slots, (image.shape[-2], image.shape[-1]))
        loss = (image - components.reconstruction).square().sum((1, 2, 3)).mean()
        return SlotReading(slots, attention, components, loss)

    def initial(self, batch: int, num_slots: int, noise: Noise) -> Float[Tensor, "batch slots dim"]:
        """Sample z^0 ~ N(mu, sigma), the same distribution for every slot."""
        shape = (batch, num_slots, -1)
        start = Gaussian(self.initial_mean.expand(shape), self.initial_rho.expand(shape))
        return start.sample(noise("z0", start.mean))
