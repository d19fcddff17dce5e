"""Slot Attention (Locatello et al., NeurIPS 2020), the deterministic baseline, built from EfficientMORL's parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emorl.model.attention import SlotAttend
from emorl.model.decoder import Decoder, SmallDecoder
from emorl.model.encoder import ImageEncoder
from emorl.model.inference import Encoding, Inference, Layer, Stage, encoding
from emorl.model.initialization import Initialization, ReferenceDecoderInitialization
from emorl.model.noise import Noise, gaussian_noise
from emorl.model.position import PositionCode, RampPosition
from emorl.model.posterior import Gaussian
from emorl.model.recurrent import ResidualMLP, over_slots
from emorl.model.slot_model import SlotModel
from emorl.ranges import counts


class SlotAttention(SlotModel):
    """Iterative attention from sampled initial slots, then a slot decoder trained on squared error.

    The steps of a call are iterations. The defaults are the baseline in the code of EfficientMORL's authors, for
    Tetrominoes.

    Args:
        num_slots: number K of slots, background included; a call may override it.
        slot_dim: dimensions of a slot, D.
        feature_dim: features of a pixel, F.
        hidden_dim: width of the slot MLP.
        position: builds the encoder's position code.
        encoder_stride: stride of the encoder in pixels, see `ImageEncoder`.
        decoder: builds the decoder from D.
        initialization: builds the function that fills the weights.

    >>> model = SlotAttention(num_slots=4, slot_dim=32)
    >>> inference = model(torch.rand(2, 3, 35, 35), steps=3)
    >>> inference.layers[-1].attention.shape
    torch.Size([2, 4, 35, 35])
    >>> inference.loss.backward()
    """

    default_steps: ClassVar[int] = 3
    training_steps: ClassVar[int] = 3

    def __init__(
        self,
        num_slots: int = 4,
        slot_dim: int = 64,
        feature_dim: int = 64,
        hidden_dim: int = 128,
        position: Callable[[], PositionCode] = RampPosition,
        encoder_stride: int = 1,
        decoder: Callable[[int], Decoder] = SmallDecoder,
        initialization: Callable[[], Initialization] = ReferenceDecoderInitialization,
    ) -> None:
        super().__init__()
        counts(1, num_slots=num_slots, slot_dim=slot_dim, hidden_dim=hidden_dim)
        self.num_slots = num_slots
        self.slot_dim = slot_dim
        self.encoder = ImageEncoder(feature_dim, position, encoder_stride)
        self.initial_mean = nn.Parameter(torch.zeros(slot_dim))
        self.initial_rho = nn.Parameter(torch.ones(slot_dim))
        self.attend = SlotAttend(feature_dim, slot_dim)
        self.cell = nn.GRUCell(slot_dim, slot_dim)
        self.mlp = ResidualMLP(slot_dim, hidden_dim)
        self.decoder = decoder(slot_dim)
        initialization()(self)

    def forward(
        self,
        image: Tensor,
        steps: int | None = None,
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> Inference:
        """Infer and decode the slots of images in [0, 1].

        Raises:
            ValueError: if ``steps`` or K is below 1, or if the decoder cannot render the image's size.
        """
        steps = self.checked_steps(steps)
        layers = self.iterate(image, steps, self.checked_slots(num_slots), noise)
        slots = layers[-1].slots
        components = self.decoder(slots, (image.shape[-2], image.shape[-1]))
        loss = (image - components.reconstruction).square().sum((1, 2, 3)).mean()
        return Inference([Stage(steps, slots, None, components, None, None, None, loss)], layers, {}, loss)

    def infer(self, image: Tensor, steps: int, num_slots: int, noise: Noise) -> Encoding:
        """Return the slots without decoding them."""
        layers = self.iterate(image, steps, num_slots, noise)
        return encoding(None, layers[-1].slots, layers)

    def iterate(self, image: Tensor, steps: int, num_slots: int, noise: Noise) -> list[Layer]:
        """Return slots and attention of every iteration."""
        pixels = self.attend.project(self.encoder(2 * image - 1))
        slots = self.initial(image.shape[0], num_slots, noise)  # (B, K, D)
        layers = []
        for _ in range(steps):
            update, attention = self.attend(slots, pixels)
            slots_n = over_slots(self.cell, update, slots)
            slots = slots_n + self.mlp(slots_n)
            layers.append(Layer(slots, self.encoder.to_pixels(attention, *image.shape[-2:])))
        return layers

    def initial(self, batch: int, num_slots: int, noise: Noise) -> Float[Tensor, "batch slots dim"]:
        """Sample z^0 ~ N(mu, sigma), the same distribution for every slot."""
        shape = (batch, num_slots, -1)
        start = Gaussian(self.initial_mean.expand(shape), self.initial_rho.expand(shape))
        return start.sample(noise("z0", start.mean))
