"""The curriculum that anneals refinement away."""

from __future__ import annotations

import logging
from typing import Any, cast

from pytorch_lightning import Callback, LightningModule, Trainer

from emorl.module import SlotModule

logger = logging.getLogger(__name__)


class RefinementCurriculum(Callback):
    """Sets I, the number of refinement steps in training and validation, from the optimiser step.

    I is looked up afresh before every batch, so a resumed run needs nothing but its step. It is logged as
    ``train/refinement_steps``.

    Args:
        phases: first optimiser step of each phase, and the phase's I; the first phase starts at step 0.

    Raises:
        ValueError: if the phases do not start at step 0, are out of order, or have a negative I.

    >>> curriculum = RefinementCurriculum({0: 3, 100_000: 1, 180_000: 0})
    >>> [curriculum.value_at(step) for step in (0, 99_999, 100_000, 200_000)]
    [3, 3, 1, 0]
    """

    def __init__(self, phases: dict[int, int]) -> None:
        starts = list(phases)
        if not starts or starts[0] != 0:
            first = f"the first starts at {starts[0]}" if starts else "there is none"
            raise ValueError(f"Expected 'phases' to start at step 0, but {first}. Add a phase '0: I'.")
        if starts != sorted(starts):
            raise ValueError(f"Expected 'phases' in the order of their steps, got {starts}. Sort them.")
        if min(phases.values()) < 0:
            raise ValueError(f"Expected every I in 'phases' to be 0 or more, got {phases}. Use 0 for no refinement.")
        self.phases = phases
        self.step = 0  # of the checkpoint, if there is one

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Say so if the model asks for another I than the first phase has."""
        self.step = 0
        first, asked = self.phases[0], cast(SlotModule, pl_module).refinement_steps
        if stage == "fit" and asked != first:
            logger.warning("I is %d at first, by the curriculum's phases, not the model's %d.", first, asked)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint's step, which Lightning does not restore to validate alone."""
        self.step = checkpoint["global_step"]

    def value_at(self, step: int) -> int:
        """Return I at an optimiser step."""
        return self.phases[max(start for start in self.phases if start <= step)]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set I for the coming step."""
        self._set(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set I for a validation before training, or by itself on a checkpoint."""
        self._set(trainer, pl_module)

    def _set(self, trainer: Trainer, pl_module: LightningModule) -> None:
        cast(SlotModule, pl_module).refinement_steps = self.value_at(max(self.step, trainer.global_step))
