"""The curriculum, which changes the number of refinement steps during training."""

from __future__ import annotations

import logging
from typing import Any, cast

from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from emorl.module import SlotModule

logger = logging.getLogger(__name__)


class RefinementCurriculum(Callback):
    """Sets I, the number of refinement steps in training and validation, from the optimizer step.

    I depends on the optimizer step only, so that a resumed run needs no further state. It is logged as
    ``train/refinement_steps``.

    Phases that contain the end of the run are rescaled to the trainer's ``max_steps``, and training prints the result.
    Without ``max_steps`` (-1), or without an end, they are used unchanged. Other settings in optimizer steps are not
    rescaled: warm-ups, half-lives, and the ``warm_start`` of `Geco`.

    Args:
        phases: I of each phase by its first optimizer step; the first phase starts at step 0. A last phase of null
            marks the end of the run. By default there is no curriculum.

    Raises:
        MisconfigurationException: if the phases do not start at step 0 or are out of order, if an I is negative, or if
            a phase other than the last is null.

    >>> curriculum = RefinementCurriculum({0: 3, 100_000: 1, 180_000: 0})
    >>> [curriculum.value_at(step) for step in (0, 99_999, 100_000, 200_000)]
    [3, 3, 1, 0]
    """

    def __init__(self, phases: dict[int, int | None] | None = None) -> None:
        if phases is not None:
            _check(phases)
        self.phases = phases
        self.in_use = stretched(phases or {}, -1)
        self.step = 0  # of the checkpoint, or 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Rescale the phases to the length of the run.

        Raises:
            MisconfigurationException: if the I of a phase is below the model's minimum; or if there is a second
                curriculum, as in the ``callbacks`` of an old configuration without the key ``curriculum``.
        """
        self.step = 0
        curricula = [part for part in trainer.callbacks if isinstance(part, RefinementCurriculum) and part.phases]  # type: ignore[attr-defined]
        if len(curricula) > 1:
            found = " and ".join(str(part.phases) for part in curricula)
            raise MisconfigurationException(f"Expected one curriculum, got phases {found}. Leave one of them out.")
        if self.phases is not None:
            self.in_use = stretched(self.phases, trainer.max_steps)
            if stage in ("fit", "validate"):
                self._check_model(cast(SlotModule, pl_module))
            if stage == "fit":
                self._tell(trainer.max_steps, cast(SlotModule, pl_module).refinement_steps)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the checkpoint's step, which Lightning does not restore in ``validate``."""
        self.step = checkpoint["global_step"]

    def value_at(self, step: int) -> int:
        """Return I at optimizer step ``step``."""
        return self.in_use[max(start for start in self.in_use if start <= step)]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set I for the next step."""
        self._set(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set I for a validation before training, or of a checkpoint."""
        self._set(trainer, pl_module)

    def _check_model(self, module: SlotModule) -> None:
        try:
            for steps in self.in_use.values():
                module.network.checked_steps(steps)
        except ValueError as error:
            raise MisconfigurationException(f"{error} Give the curriculum other phases, or null.") from error

    def _tell(self, max_steps: int, asked: int) -> None:
        """Print rescaled phases, and warn if ``refinement_steps`` differs from the first phase's I."""
        if self.in_use != stretched(self.phases or {}, -1):
            rank_zero_info(
                f"The curriculum's {max(self.phases or {}):,} steps are rescaled to {max_steps:,}: {self.in_use}. "
                "Warm-ups, half-lives and GECO's warm_start are not rescaled."
            )
        if asked != self.in_use[0]:
            logger.warning(
                "The curriculum starts at I = %d and overrides refinement_steps = %d.", self.in_use[0], asked
            )

    def _set(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.in_use:
            cast(SlotModule, pl_module).refinement_steps = self.value_at(max(self.step, trainer.global_step))


def stretched(phases: dict[int, int | None], max_steps: int) -> dict[int, int]:
    """Return the phases of a run of ``max_steps`` steps, without the end.

    >>> stretched({0: 1, 26_000: 3, 36_000: 0, 40_000: None}, 10_000)
    {0: 1, 6500: 3, 9000: 0}
    """
    end = max(phases, default=0)
    stretches = max_steps > 0 and phases.get(end, 0) is None
    return {
        start * max_steps // end if stretches else start: value for start, value in phases.items() if value is not None
    }


def _check(phases: dict[int, int | None]) -> None:
    starts = list(phases)
    if not starts or starts[0] != 0:
        first = f"the first starts at {starts[0]}" if starts else "there is none"
        raise MisconfigurationException(f"Expected 'phases' to start at step 0, but {first}. Add a phase '0: I'.")
    if starts != sorted(starts):
        raise MisconfigurationException(f"Expected 'phases' in the order of their steps, got {starts}. Sort them.")
    *values, last = phases.values()
    if None in values or (starts == [0] and last is None):
        raise MisconfigurationException(
            f"Expected null in 'phases' only at the end, after a phase, got {phases}. Use 0 for none."
        )
    if min(value for value in phases.values() if value is not None) < 0:
        raise MisconfigurationException(
            f"Expected every I in 'phases' to be 0 or more, got {phases}. Use 0 for no refinement."
        )
