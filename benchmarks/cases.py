"""The measured cases: the paper's models on random images, and the variants of their training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from benchmarks.device import Device
from benchmarks.plain import plain_loss
from benchmarks.plain_iodine import plain_iodine_loss
from emorl.model import (
    IODINE,
    BigDecoder,
    EfficientMORL,
    GaussianLikelihood,
    IodineDecoder,
    IodinePixelDecoder,
    IodineRefinement,
    LinearCoordinates,
    MixtureLikelihood,
    SlotAttention,
    SlotModel,
    SmallDecoder,
)

Variant = Literal["plain", "plain_tuned", "engine_float32", "engine_bf16"]
"""``plain`` runs in an unmodified Python process, the others after `emorl.cpu.tune_cpu`, a part of the engine."""

VARIANTS: dict[Device, tuple[Variant, ...]] = {
    "cpu": get_args(Variant),
    "cuda": ("plain", "engine_float32", "engine_bf16"),  # the tuning is of CPUs
}


@dataclass(frozen=True)
class Case:
    """A data set's model and image size."""

    build: Callable[..., SlotModel]
    size: int
    batch: int
    plain: Callable[..., Tensor] | None = plain_loss  # (model, image, steps); None for models without an engine


CASES = {
    "clevr6": Case(
        partial(EfficientMORL, num_slots=7, slot_dim=64, decoder=IodineDecoder, likelihood=MixtureLikelihood), 96, 4
    ),
    "multi_dsprites": Case(
        partial(
            EfficientMORL,
            num_slots=6,
            slot_dim=64,
            decoder=IodineDecoder,
            likelihood=partial(GaussianLikelihood, scale=0.1),
        ),
        64,
        8,
    ),
    "tetrominoes": Case(partial(EfficientMORL, num_slots=4, slot_dim=32, decoder=SmallDecoder), 35, 32),
}

IODINE_CASES = {
    "clevr6": Case(
        partial(
            IODINE,
            num_slots=7,
            slot_dim=64,
            decoder=partial(IodinePixelDecoder, channels=64, kernel=3),
            refinement=partial(
                IodineRefinement,
                channels=64,
                kernel=3,
                convolutions=4,
                mlp=(256, 256),
                lstm=256,
                coordinates=LinearCoordinates,
            ),
        ),
        *(96, 4, plain_iodine_loss),
    ),
    "multi_dsprites": Case(
        partial(IODINE, num_slots=6, slot_dim=16, refinement=partial(IodineRefinement, lstm=128)),
        *(64, 8, plain_iodine_loss),
    ),
    "tetrominoes": Case(partial(IODINE, num_slots=4, slot_dim=32), 35, 16, plain_iodine_loss),
}

SLOT_ATTENTION_CASES = {
    "clevr6": Case(partial(SlotAttention, num_slots=7, slot_dim=64, decoder=BigDecoder), 96, 4, plain=None)
}

MODELS = {"efficient_morl": CASES, "iodine": IODINE_CASES, "slot_attention": SLOT_ATTENTION_CASES}
STEPS = {"efficient_morl": EfficientMORL.training_steps, "iodine": IODINE.training_steps}
LEAST_STEPS = {"efficient_morl": EfficientMORL.min_steps, "iodine": IODINE.min_steps}


class Step:
    """A repeatable training step of a case, and its parts."""

    def __init__(
        self,
        case: str,
        variant: Variant,
        batch: int,
        steps: int,
        decode_chunk: int | None = None,
        size: int | None = None,
        model: str = "efficient_morl",
        device: Device = "cpu",
        **build: Any,
    ) -> None:
        torch.manual_seed(0)
        spec = MODELS[model][case]
        built = spec.build(**build if decode_chunk is None else build | {"decode_chunk": decode_chunk})
        self.model = built.to(device)
        self.plain = spec.plain
        self.image = torch.rand(batch, 3, *2 * [size or spec.size]).to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=4e-4)
        self.variant, self.steps, self.device = variant, steps, device

    def __call__(self) -> None:
        """Take the step: loss, gradients, clipping, Adam."""
        self.gradients()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()

    def gradients(self) -> None:
        """Compute the loss and its gradients."""
        self.optimizer.zero_grad()
        self.loss().backward()

    def loss(self) -> Tensor:
        """Return the training loss."""
        if self.plain is not None and self.variant.startswith("plain"):
            return self.plain(self.model, self.image, self.steps)
        with self.autocast():
            return self.model(self.image, self.steps).loss

    def forward(self) -> None:
        """Infer and decode the slots as in a test."""
        self.model.eval()
        with torch.inference_mode(), self.autocast():
            self.model(self.image, self.steps)
        self.model.train()

    def autocast(self) -> torch.autocast:
        """Return the context of the variant's precision."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.variant == "engine_bf16")
