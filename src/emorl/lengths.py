"""Warnings about settings that do not fit the length of a run; only cosine and curriculum follow ``max_steps``."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from emorl.model import SlotModel
from emorl.optim import WarmupCosineDecay, WarmupExponentialDecay

logger = logging.getLogger(__name__)


def warn_of_lengths(network: SlotModel, trainer: Trainer) -> None:
    """Warn at the start of training of each setting that does not fit the length of the run."""
    if trainer.is_global_zero:
        for sentence in unfinished(network, trainer):
            logger.warning(sentence)


def unfinished(network: SlotModel, trainer: Trainer) -> Iterator[str]:
    """Yield a warning for each setting that does not fit the length of the run."""
    steps = trainer.estimated_stepping_batches
    for config in trainer.lr_scheduler_configs:
        if (warmup := getattr(config.scheduler, "warmup_steps", 0)) > steps:
            option = "warmup" if isinstance(config.scheduler, WarmupCosineDecay) else "warmup_steps"
            yield (
                f"The warm-up takes {warmup:,} steps, the run {steps:,}: the learning rate never reaches its full "
                f"value. Lower --model.scheduler.{option}."
            )
        elif isinstance(config.scheduler, WarmupExponentialDecay) and (half_life := config.scheduler.half_life) > steps:
            yield (
                f"The learning rate halves every {half_life:,.0f} steps, the run takes {steps:,}: it only falls to "
                f"{0.5 ** (steps / half_life):.0%} of its full value. Half-life and warm-up do not scale with "
                "max_steps. Lower --model.scheduler.half_life and --model.scheduler.warmup_steps."
            )
    yield from network.without_effect(steps)
    plateau = any(isinstance(config.scheduler, ReduceLROnPlateau) for config in trainer.lr_scheduler_configs)
    if plateau and not trainer.enable_validation:
        yield "ReduceLROnPlateau has no effect, because training runs without validation."
    if steps < trainer.max_steps:
        yield (
            f"max_epochs ends the run after {steps:,} steps, before max_steps, {trainer.max_steps:,}, to which cosine "
            "and curriculum are rescaled. Set max_epochs to -1, or lower max_steps."
        )
    if trainer.max_steps > 0 and any(isinstance(callback, Timer) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        yield (
            f"max_time may end the run before max_steps, {trainer.max_steps:,}, to which cosine and curriculum are "
            "rescaled."
        )
