"""What every slot model shares: images to slots, slots to images, and a loss. Start here, then read one model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components, Decoder
from emorl.model.describe import Described
from emorl.model.draws import best_of, checked_draws
from emorl.model.inference import Encoding, Inference, Reconstruction, encoding
from emorl.model.noise import Noise, PosteriorMeans, gaussian_noise
from emorl.model.recording import has_values
from emorl.ranges import whole

UNFIT = ("16-mixed", "16-true", "bf16-true")  # precisions for tests and predictions alone


class SlotModel(Described, ABC):
    """A model that decomposes an image into K slots without labels.

    A subclass sets ``num_slots``, ``slot_dim`` and ``decoder`` in its constructor, ``default_steps`` and
    ``training_steps`` on the class, and defines `forward`; all else has a default. Everything that trains, tests,
    draws, logs or studies a model asks for no more than this class.

    The contract, which `emorl.testing.check_slot_model` checks: slots are exchangeable; batch size, image size, K and
    the number of steps are arguments of the call; every random number comes from ``noise`` under a name of its own, of
    which ``z0`` alone tells the slots of an image apart (`PosteriorMeans` sets all others to zero); the stage after
    i steps is what i steps give, and the first stage is that of no steps where ``min_steps`` is 0; in evaluation an
    image's slots do not depend on the rest of its batch; and no graph is left under ``torch.inference_mode``.
    """

    num_slots: int  # K, the background's included
    slot_dim: int  # D
    decoder: Decoder

    default_steps: ClassVar[int]  # of `encode` and `reconstruct`
    training_steps: ClassVar[int]  # of training and tests, unless a configuration sets them
    min_steps: ClassVar[int] = 1  # 0 where slots are there before the first step
    score_names: ClassVar[tuple[str, ...]] = ()  # those of ``nll`` and ``kl`` that a stage has
    objective_names: ClassVar[tuple[str, ...]] = ()  # prefixes of state that is of a training, not of the model
    has_attention: ClassVar[bool] = True  # whether an inference has layers
    nll_constant: ClassVar[float] = 0.0  # that its nll leaves out of every channel-pixel, in nats

    @property
    def term_names(self) -> tuple[str, ...]:
        """The names of an `Inference`'s ``terms``."""
        return ()

    @abstractmethod
    def forward(
        self,
        image: Float[Tensor, "batch 3 h w"],
        steps: int | None = None,
        num_slots: int | None = None,
        noise: Noise = gaussian_noise,
    ) -> Inference:
        """Infer the slots of images in [0, 1], decode and score them.

        Args:
            image: the images.
            steps: refinement steps or iterations; ``default_steps`` unless given.
            num_slots: slots K; those of the constructor unless given.
            noise: where random numbers come from.
        """

    def infer(self, image: Float[Tensor, "batch 3 h w"], steps: int, num_slots: int, noise: Noise) -> Encoding:
        """Return the slots alone; override it where they cost less than `forward`."""
        inference = self(image, steps, num_slots, noise)
        return encoding(inference.stages[-1].posterior, inference.stages[-1].slots, inference.layers)

    def encode(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Encoding:
        """Infer the slots of images [B, 3, H, W], 8-bit or float in [0, 1], by `PosteriorMeans`.

        An image always has the same slots: they depend neither on the call nor on the rest of the batch. Images of
        another size than in training are taken as they are, and may well be decomposed badly.

        Args:
            images: the images.
            steps: refinement steps or iterations; ``default_steps`` unless given.
            num_slots: slots K; those of the constructor unless given.
            draws: number N of initial slots to infer each image from; of N > 1 the best is kept, see `best_of`. It
                costs N times the time of `forward`, which decodes, and no more memory.

        Raises:
            ValueError: if the images are of another type, range or shape, or of a size that the decoder cannot render;
                for fewer than ``min_steps`` steps; or for no slots or no draws.
        """
        image = unit_range(images).to(next(self.parameters()))
        self.decoder.grid(image.shape[-2], image.shape[-1])  # which it refuses, if it cannot render it
        steps, num_slots = self.checked_steps(steps), self.checked_slots(num_slots)
        if checked_draws(draws) == 1:
            return self.infer(image, steps, num_slots, PosteriorMeans())
        best = best_of(draws, lambda number: self(image, steps, num_slots, PosteriorMeans(number)), image)
        return encoding(best.stages[-1].posterior, best.stages[-1].slots, best.layers)

    def decode(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Render any number of slots at ``size`` = (height, width).

        Raises:
            ValueError: if the slots are of another D, or if the decoder cannot render the size.
        """
        if slots.shape[-1] != self.slot_dim:
            raise ValueError(
                f"Expected slots of D = {self.slot_dim} dimensions, got shape {list(slots.shape)}. "
                "Take those of encode."
            )
        return self.decoder(slots, size)  # type: ignore[no-any-return]

    def reconstruct(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Reconstruction:
        """Decompose images and put them together again; arguments and errors are those of `encode`."""
        slots = self.encode(images, steps, num_slots, draws).slots
        components = self.decode(slots, (images.shape[-2], images.shape[-1]))
        return Reconstruction(slots, components.masks, components.rgb, components.reconstruction)

    def unrecordable(self, steps: int) -> str | None:
        """Return why ``steps`` steps cannot be a program that runs without this package, None if they can."""
        return None

    def end_step(self) -> None:
        """Call once after every optimizer step."""

    def diagnostics(self, inference: Inference) -> dict[str, Tensor]:
        """Return what training logs beside the loss, and the nll and KL of the last stage."""
        return {}

    def check_training(self, precision: str, unused_parameters: bool) -> None:
        """Check that the model can be trained this way.

        Args:
            precision: Lightning's name of it.
            unused_parameters: whether a step may leave parameters without a gradient, which plain DDP does not allow.

        Raises:
            ValueError: if not.
        """
        if precision in UNFIT:
            raise ValueError(
                f"Expected a precision that can train the model, got '{precision}', in which small gradients vanish. "
                "Set the trainer's precision to 'bf16-mixed' or '32-true'."
            )

    def checked_steps(self, steps: int | None) -> int:
        """Return the number of steps, or the default."""
        steps = self.default_steps if steps is None else steps
        whole(steps=steps)
        if steps < self.min_steps:
            raise ValueError(
                f"Expected {self.min_steps} or more steps, got {steps}. {type(self).__name__} has no slots before that."
            )
        return steps

    def checked_slots(self, num_slots: int | None) -> int:
        """Return the number of slots, or the constructor's."""
        num_slots = self.num_slots if num_slots is None else num_slots
        whole(num_slots=num_slots)
        if num_slots < 1:
            raise ValueError(
                f"Expected num_slots of 1 or more, got {num_slots}. Give one slot for each object, and one."
            )
        return num_slots


def unit_range(images: Tensor) -> Float[Tensor, "batch 3 h w"]:
    """Return images [B, 3, H, W] as floats in [0, 1]: 8-bit ones divided by 255, float ones as they are.

    Raises:
        ValueError: if the images are of another type or shape, or out of range; the range of images whose values are
            not known, as while a program is recorded, is not checked.
    """
    shaped = images.ndim == 4 and images.shape[1] == 3 and images.shape[0] > 0
    if shaped and images.dtype == torch.uint8:
        return images / 255
    known = has_values(images)
    if not shaped or not images.is_floating_point() or (known and not ((images >= 0) & (images <= 1)).all()):
        values = f" in [{images.min()}, {images.max()}]" if known and images.numel() else ""
        got = f"{images.dtype} of shape {list(images.shape)}{values}"
        raise ValueError(
            f"Expected 8-bit images, or float images in [0, 1], of shape [B, 3, H, W], got {got}. "
            "Divide by 255, clamp, or add a batch axis."
        )
    return images
