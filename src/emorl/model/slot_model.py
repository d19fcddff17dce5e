"""The interface of all slot models: images to slots, slots to images, and a loss. Start here, then read one model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from emorl.model.decoder import Components, Decoder
from emorl.model.describe import Described
from emorl.model.draws import best_means, best_of, checked_draws
from emorl.model.inference import Encoding, Inference, Reconstruction, encoded
from emorl.model.noise import Noise, PosteriorMeans, gaussian_noise
from emorl.model.recording import has_values, recorded
from emorl.ranges import whole

UNFIT = ("16-mixed", "16-true", "bf16-true")  # precisions for testing and prediction only


class SlotModel(Described, ABC):
    """A model that decomposes an image into K slots without labels.

    A subclass sets ``num_slots``, ``slot_dim`` and ``decoder`` in its constructor, ``default_steps`` and
    ``training_steps`` on the class, and there, where they differ from the defaults, ``min_steps``, ``score_names`` and
    ``has_attention``; and it defines `forward`. All other methods have a default. The rest of the package uses no more
    than this interface.

    `emorl.testing.check_slot_model` checks that

    - slots are exchangeable, with their colors, masks and attention; losses and scores do not depend on their order;
    - batch size, image size, K and the number of steps are arguments of the call;
    - all random numbers come from ``noise`` under distinct names, and ``z0`` breaks the symmetry between slots
      (`PosteriorMeans` sets all other draws to zero, except those whose name starts with ``prior``);
    - the stage after i steps equals the result of i steps, and if ``min_steps`` is 0 the first stage is that of 0
      steps;
    - ``training_steps`` steps give other slots than ``min_steps``, where these are different numbers;
    - `encode` agrees with `forward`, for any number of steps;
    - every parameter changes in training;
    - in evaluation an image's slots, nll and KL do not depend on the rest of its batch, and the loss is the mean over
      images, unless it has terms that compare them;
    - results are detached from the graph under ``torch.inference_mode``.

    >>> from emorl.model import SlotAttention
    >>> model = SlotAttention(num_slots=4)
    >>> isinstance(model, SlotModel), model.encode(torch.rand(2, 3, 35, 35)).slots.shape
    (True, torch.Size([2, 4, 64]))
    """

    num_slots: int  # K, background included
    slot_dim: int  # D
    decoder: Decoder

    default_steps: ClassVar[int]  # of `encode` and `reconstruct`
    training_steps: ClassVar[int]  # of training and testing, unless a configuration sets them
    min_steps: ClassVar[int] = 1  # 0 if there are slots before the first step
    score_names: ClassVar[tuple[str, ...]] = ()  # which of ``nll`` and ``kl`` a stage has
    objective_names: ClassVar[tuple[str, ...]] = ()  # prefixes of buffers that belong to the training, not to the model
    has_attention: ClassVar[bool] = True  # whether an inference has layers

    @property
    def term_names(self) -> tuple[str, ...]:
        """The keys of ``terms`` in `Inference`."""
        return ()

    @property
    def nll_constant(self) -> float:
        """Constant that the nll omits for each channel-pixel, in nats."""
        return 0.0

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
            steps: refinement steps or iterations; by default ``default_steps``.
            num_slots: number K of slots; by default that of the constructor.
            noise: source of standard normal draws, see `Noise`.
        """

    def infer(self, image: Float[Tensor, "batch 3 h w"], steps: int, num_slots: int, noise: Noise) -> Encoding:
        """Return the slots; override it if they cost less than `forward`."""
        return encoded(self(image, steps, num_slots, noise))

    def encode(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Encoding:
        """Infer the slots of images [B, 3, H, W], 8-bit or float in [0, 1], by `PosteriorMeans`.

        In evaluation mode, a trained model always gives an image the same slots: they depend neither on the call nor on
        the rest of the batch. In training mode the batch counts as one of the training, see ``end_step``. Images are
        not resized; decompositions may be poor at sizes that differ from those of training.

        Args:
            images: the images.
            steps: refinement steps or iterations; by default ``default_steps``.
            num_slots: number K of slots; by default that of the constructor.
            draws: number N of initializations of the slots; of each image, the one with the lowest bound, nll + KL, is
                kept (without a likelihood, with the lowest squared error). N > 1 takes N times the time of `forward`,
                which decodes, and the memory of two; with gradients one inference more, of the best draw.

        Raises:
            ValueError: if the images have another type, range or shape, or a size that the decoder cannot render; if
                ``steps`` is below ``min_steps``; or if ``num_slots`` or ``draws`` is below 1.
        """
        image = unit_range(images).to(next(self.parameters()))
        self.decoder.grid(image.shape[-2], image.shape[-1])  # raises an error if the decoder cannot render this size
        steps, num_slots = self.checked_steps(steps), self.checked_slots(num_slots)
        if checked_draws(draws) == 1:
            return self.infer(image, steps, num_slots, PosteriorMeans())
        infer = partial(self, image, steps, num_slots)
        if torch.is_grad_enabled() and not recorded():  # a recorded program has no graph to keep small
            return self.infer(image, steps, num_slots, best_means(draws, infer, image))
        return encoded(best_of(draws, lambda number: infer(PosteriorMeans(number)), image))

    def decode(self, slots: Float[Tensor, "batch slots dim"], size: tuple[int, int]) -> Components:
        """Render any number of slots at ``size`` = (height, width) in pixels.

        Raises:
            ValueError: if the slots are not a float tensor [B, K, D], B or K is 0, the size is not two whole numbers,
                or the decoder cannot render it.
        """
        floats = isinstance(slots, Tensor) and slots.is_floating_point()
        shaped = floats and slots.ndim == 3 and slots.shape[0] > 0 and slots.shape[1] > 0
        if not shaped or slots.shape[2] != self.slot_dim:
            raise ValueError(
                f"Expected slots of D = {self.slot_dim} dimensions, a float tensor [B, K, D] with B and K of 1 or "
                f"more, got {_described(slots)}. Use the slots of encode."
            )
        if not (isinstance(size, Sequence) and len(size) == 2 and all(map(_is_side, size))):
            raise ValueError(f"Expected size as whole numbers (height, width) above 0, such as (64, 64), got {size!r}.")
        return self.decoder(slots.to(next(self.parameters())), size)  # type: ignore[no-any-return]

    def reconstruct(
        self, images: Tensor, steps: int | None = None, num_slots: int | None = None, draws: int = 1
    ) -> Reconstruction:
        """Encode and decode images; arguments and errors are those of `encode`."""
        slots = self.encode(images, steps, num_slots, draws).slots
        components = self.decode(slots, (images.shape[-2], images.shape[-1]))
        return Reconstruction(slots, components.masks, components.rgb, components.reconstruction)

    def unrecordable(self, steps: int) -> str | None:
        """Return why a model with ``steps`` steps cannot be exported, or None if it can."""
        return None

    def end_step(self) -> None:
        """Update the state of training; called after each optimizer step."""

    def discard_step(self) -> None:
        """Before training: forget the batches of an optimizer step that was not taken. By default there are none."""

    def diagnostics(self, inference: Inference) -> dict[str, Tensor]:
        """Return further values that training logs in addition to the loss and the last stage's nll and KL."""
        return {}

    def without_effect(self, steps: int | float) -> list[str]:
        """Return a sentence for each setting that has no effect in a training of ``steps`` optimizer steps."""
        return []

    def check_training(self, precision: str, unused_parameters: bool) -> None:
        """Check that the model can be trained with these settings.

        Args:
            precision: Lightning's name of the precision.
            unused_parameters: whether a step may leave parameters without a gradient, which plain DDP does not allow.

        Raises:
            ValueError: if the model cannot be trained with them.
        """
        if precision in UNFIT:
            raise ValueError(
                f"Expected a precision that can train the model, got '{precision}', in which small gradients vanish. "
                "Set the trainer's precision to 'bf16-mixed' or '32-true'."
            )

    def checked_steps(self, steps: int | None) -> int:
        """Return the number of steps, by default ``default_steps``.

        Raises:
            ValueError: if it is below ``min_steps``, or not an integer.
        """
        steps = self.default_steps if steps is None else steps
        whole(steps=steps)
        if steps < self.min_steps:
            raise ValueError(
                f"Expected {self.min_steps} or more steps, got {steps}. {type(self).__name__} has no slots before that."
            )
        return steps

    def checked_slots(self, num_slots: int | None) -> int:
        """Return the number of slots, by default that of the constructor.

        Raises:
            ValueError: if it is below 1, or not an integer.
        """
        num_slots = self.num_slots if num_slots is None else num_slots
        whole(num_slots=num_slots)
        if num_slots < 1:
            raise ValueError(
                f"Expected num_slots of 1 or more, got {num_slots}. Give one for each object and one more."
            )
        return num_slots


def unit_range(images: Tensor) -> Float[Tensor, "batch 3 h w"]:
    """Return images [B, 3, H, W] as floats in [0, 1]: divide 8-bit images by 255, return float images unchanged.

    Raises:
        ValueError: if the images have another type or shape, or are out of range. While a program is recorded, values
            are not available and the range is not checked.

    >>> unit_range(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)).unique()
    tensor([1.])
    """
    shaped = isinstance(images, Tensor) and images.ndim == 4 and images.shape[1] == 3 and images.shape[0] > 0
    if shaped and images.dtype == torch.uint8:
        return images / 255
    known = isinstance(images, Tensor) and has_values(images)
    if not shaped or not images.is_floating_point() or (known and not ((images >= 0) & (images <= 1)).all()):
        values = f" in [{images.min()}, {images.max()}]" if known and images.numel() and not images.is_complex() else ""
        raise ValueError(
            "Expected 8-bit images, or float images in [0, 1], as a tensor of shape [B, 3, H, W], got "
            f"{_described(images)}{values}. Divide by 255, clamp, or add a batch axis; model.preprocess of "
            "load_pretrained takes files, PIL images and arrays."
        )
    return images


def _is_side(side: object) -> bool:
    """Return whether it is a whole number above 0; of an image that is traced it is a tensor, or a symbol."""
    if isinstance(side, Integral):
        return int(side) > 0
    traced = isinstance(side, Tensor) and side.ndim == 0 and not side.is_floating_point()
    return traced or isinstance(side, torch.SymInt)


def _described(value: object) -> str:
    """Return the type of a value, and its shape if it has one."""
    kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
    shape = getattr(value, "shape", None)
    return kind if shape is None else f"{kind} of shape {list(shape)}"
