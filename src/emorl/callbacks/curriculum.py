"""The curriculum, which changes the number of refinement steps and the weight of the KL during training."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from math import inf
from numbers import Integral, Real
from typing import Any, cast

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_info

from emorl.module import SlotModule
from emorl.ranges import is_whole

logger = logging.getLogger(__name__)
_SMALL = "Use a small weight, such as 0.001, for nearly none."


class RefinementCurriculum(Callback):
    """Sets I, the number of refinement steps in training and validation, and the weight of the KL.

    Both depend on the optimizer step only, so that a resumed run needs no further state. They are logged as
    ``train/refinement_steps`` and ``train/kl_weight``.

    Phases that contain the end of the run are rescaled to the trainer's ``max_steps``, and training prints the result.
    Without ``max_steps`` (-1), or without an end, they are used unchanged; training warns of those that the run ends
    before. Other settings in optimizer steps are not rescaled: warm-ups, half-lives, and the ``warm_start`` of `Geco`.

    Args:
        phases: I of each phase by its first optimizer step; the first phase starts at step 0. A last phase of null
            marks the end of the run. By default there is no curriculum.
        kl_weights: weight of the KL by optimizer step, in the place of the model's ``kl_weight``. Between two steps it
            changes by a constant factor per step. The last one is ``kl_weight``, which a trained model keeps. As in
            ``phases``, the first is at step 0, and a last null marks the end of the run.

    Raises:
        MisconfigurationException: if the phases do not start at step 0 or are out of order, if a step or an I is no
            whole number, an I negative, or a weight not above 0 and finite, or if a phase other than the last is null.

    >>> curriculum = RefinementCurriculum({0: 3, 100_000: 1, 180_000: 0}, {0: 0.1, 100_000: 0.1, 200_000: 10.0})
    >>> [curriculum.value_at(step) for step in (0, 99_999, 100_000, 200_000)]
    [3, 3, 1, 0]
    >>> [round(curriculum.kl_weight_at(step), 6) for step in (0, 100_000, 150_000, 200_000, 300_000)]
    [0.1, 0.1, 1.0, 10.0, 10.0]
    """

    def __init__(
        self,
        phases: dict[int | str, int | None] | None = None,
        kl_weights: dict[int | str, float | None] | None = None,
    ) -> None:
        self.phases = _by_number(phases)
        self.kl_weights = _by_number(kl_weights)
        if self.phases is not None:
            _check("phases", self.phases, "I", "Use 0 for none.")
            if not all(is_whole(value) and value >= 0 for value in _given(self.phases)):
                raise MisconfigurationException(
                    f"Expected every I in 'phases' to be a whole number of 0 or more, got {phases}. Use 0 for no "
                    "refinement."
                )
        if self.kl_weights is not None:
            _check("kl_weights", self.kl_weights, "WEIGHT", _SMALL)
            if not all(isinstance(value, Real) and 0 < float(value) < inf for value in _given(self.kl_weights)):
                raise MisconfigurationException(f"Expected 'kl_weights' above 0 and finite, got {kl_weights}. {_SMALL}")
        self.in_use: dict[int, int] = stretched(self.phases or {}, -1)
        self.weights_in_use: dict[int, float] = stretched(self.kl_weights or {}, -1)
        self.step = 0  # of the checkpoint, or 0
        self.changed = False  # whether the model has a weight of the KL that is not its own

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Rescale the phases to the length of the run.

        Raises:
            MisconfigurationException: if the I of a phase is below the model's minimum; if ``kl_weights`` do not end
                with the model's ``kl_weight``, or it has none; or if there is a second curriculum, as in the
                ``callbacks`` of an old configuration without the key ``curriculum``.
        """
        self.step = 0
        curricula = [part for part in trainer.callbacks if isinstance(part, RefinementCurriculum)]  # type: ignore[attr-defined]
        used = list(filter(None, (part.phases or part.kl_weights for part in curricula)))
        if len(used) > 1:
            found = " and ".join(map(str, used))
            raise MisconfigurationException(f"Expected one curriculum, got {found}. Leave one of them out.")
        self.in_use = stretched(self.phases or {}, trainer.max_steps)
        self.weights_in_use = stretched(self.kl_weights or {}, trainer.max_steps)
        if stage in ("fit", "validate"):
            self._check_model(cast(SlotModule, pl_module))
        if stage == "fit":
            self._tell(trainer.max_steps, cast(SlotModule, pl_module).refinement_steps)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn of phases and weights that the run ends before."""
        end = trainer.estimated_stepping_batches
        late = {"phases": [start for start in self.in_use if start >= end]}
        late["kl_weights"] = [start for start in self.weights_in_use if start > end]
        for name in filter(late.get, late if trainer.is_global_zero else ()):
            logger.warning(
                f"The run ends at step {end:,}: the {name} from step {late[name][0]:,} on have no effect. To rescale "
                f"{name} to the run, add the step of their end, 'END: null'."
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the checkpoint's step, which Lightning does not restore in ``validate``."""
        self.step = checkpoint["global_step"]

    def value_at(self, step: int) -> int:
        """Return I at optimizer step ``step``."""
        return self.in_use[max(start for start in self.in_use if start <= step)]

    def kl_weight_at(self, step: int) -> float:
        """Return the weight of the KL at optimizer step ``step``."""
        for (start, before), (end, after) in pairwise(self.weights_in_use.items()):
            if step < end:
                return float(before * (after / before) ** ((step - start) / (end - start)))
        return self.weights_in_use[max(self.weights_in_use)]

    @property
    def _last_weight(self) -> float:
        return float(_given(self.kl_weights or {})[-1])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Set I and the weight of the KL for the next step."""
        self._set(trainer, pl_module)
        if self.weights_in_use:
            weight = torch.full((), cast(Any, pl_module).network.kl_weight, device=pl_module.device)
            pl_module.log("train/kl_weight", weight)  # a number would be copied: a wait

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set I and the weight of the KL for a validation before training, or of a checkpoint."""
        self._set(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the model with its own weight of the KL."""
        self._leave(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the model with its own weight of the KL, for the next training in this process."""
        self._leave(pl_module)

    def _leave(self, pl_module: LightningModule) -> None:
        if self.changed:
            cast(Any, pl_module).network.kl_weight = self._last_weight
            self.changed = False

    def _check_model(self, module: SlotModule) -> None:
        try:
            for steps in self.in_use.values():
                module.network.checked_steps(steps)
        except ValueError as error:
            raise MisconfigurationException(f"{error} Give the curriculum other phases, or null.") from error
        if not self.weights_in_use:
            return
        expected, last = getattr(module.network, "kl_weight", None), self._last_weight
        if expected is None:
            got = type(module.network).__name__
            raise MisconfigurationException(f"Expected a model with a kl_weight, got {got}. Set kl_weights to null.")
        if expected != last:
            raise MisconfigurationException(
                f"Expected the model's kl_weight, {expected}, as the last of kl_weights, got {last}. Set both alike: a "
                "trained model keeps kl_weight."
            )

    def _tell(self, max_steps: int, asked: int) -> None:
        """Print rescaled phases, and warn if ``refinement_steps`` differs from the first phase's I."""
        for given, used in ((self.phases or {}, self.in_use), (self.kl_weights or {}, self.weights_in_use)):
            if used != stretched(given, -1):
                rank_zero_info(
                    f"The curriculum's {max(given):,} steps are rescaled to {max_steps:,}: {used}. "
                    "Warm-ups, half-lives and GECO's warm_start are not rescaled."
                )
        if self.in_use and asked != self.in_use[0]:
            logger.warning(
                "The curriculum starts at I = %d and overrides refinement_steps = %d.", self.in_use[0], asked
            )

    def _set(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step, module = max(self.step, trainer.global_step), cast(Any, pl_module)
        if self.in_use:
            module.refinement_steps = self.value_at(step)
        if self.weights_in_use:
            module.network.kl_weight = self.kl_weight_at(step)
            self.changed = True


def stretched(phases: Mapping[int, Any], max_steps: int) -> dict[int, Any]:
    """Return the phases of a run of ``max_steps`` steps, without the end.

    Of phases that start at the same step, in a short run, the first remains.

    >>> stretched({0: 1, 26_000: 3, 36_000: 0, 40_000: None}, 10_000)
    {0: 1, 6500: 3, 9000: 0}
    >>> stretched({0: 1, 26_000: 3, 36_000: 0, 40_000: None}, 1)
    {0: 1}
    """
    end = max(phases, default=0)
    stretches = max_steps > 0 and phases.get(end, 0) is None
    found: dict[int, Any] = {}
    for start, value in phases.items():
        if value is not None:
            found.setdefault(start * max_steps // end if stretches else start, value)
    return found


def _by_number(phases: Mapping[Any, Any] | None) -> dict[int, Any] | None:
    """Return phases by the number of their step, which is text where it was read from JSON."""
    if phases is None:
        return None
    if not isinstance(phases, Mapping):
        raise MisconfigurationException(f"Expected values by step, such as {{0: 3, 10_000: 1}}, got {phases!r}.")
    return {int(start) if str(start).isdecimal() else start: value for start, value in phases.items()}


def _given(phases: Mapping[int, Any]) -> list[Any]:
    return [value for value in phases.values() if value is not None]


def _check(name: str, phases: Mapping[int, int | float | None], value: str, instead_of_null: str) -> None:
    starts = list(phases)
    if not all(isinstance(start, Integral) for start in starts):
        raise MisconfigurationException(
            f"Expected whole numbers as the steps of {name!r}, got {starts}. Use numbers such as 0 and 1000."
        )
    if not starts or starts[0] != 0:
        first = f"the first starts at {starts[0]}" if starts else "there is none"
        raise MisconfigurationException(f"Expected {name!r} to start at step 0, but {first}. Add a phase '0: {value}'.")
    if starts != sorted(starts):
        raise MisconfigurationException(f"Expected {name!r} in the order of their steps, got {starts}. Sort them.")
    *values, last = phases.values()
    if None in values or (starts == [0] and last is None):
        raise MisconfigurationException(
            f"Expected null in {name!r} only at the end, after a phase, got {phases}. {instead_of_null}"
        )
