"""Stops a training before a NaN or an infinity gets into the weights, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor


class FiniteCheck:
    """Checks the numbers of every optimizer step, those of the loss and the gradients, all in one transfer.

    On a CPU a step with a NaN is refused before it is taken. On another device the host would have to wait for the
    answer, so it asks for that of the step before: a step with a NaN is taken with gradients of zero, and refused
    before the next step, before a checkpoint and at the end of training, so that no NaN is ever saved.
    """

    def __init__(self) -> None:
        self._flags: dict[str, Tensor] = {}  # of the current step
        self._answer: Answer | None = None  # of the step before, on a device

    def watch(self, values: Mapping[str, Tensor]) -> None:
        """Check values at the next optimizer step, with those of all its batches."""
        for name, value in values.items():
            fine = value.detach().isfinite().all()
            self._flags[name] = self._flags[name] & fine if name in self._flags else fine

    def guard(self, gradients: Mapping[str, Tensor], norms: Tensor, step: int) -> None:
        """Check gradients and all that was watched; call it once before every optimizer step.

        Args:
            gradients: gradients of the parameters, by name.
            norms: their norms.
            step: the optimizer step.

        Raises:
            FloatingPointError: if a number of this step, or on a device one of the step before, is not finite.
        """
        self.read()
        watched, self._flags = self._flags, {}
        fine = torch.cat([*(flag[None] for flag in watched.values()), norms.isfinite()])
        answer = Answer(step, list(watched), list(gradients), fetched(fine))
        if at_once(fine):
            answer.check()
        else:
            self._answer = answer
            broken = ~fine.all()
            for gradient in gradients.values():
                gradient.masked_fill_(broken, 0)

    def read(self) -> None:
        """Read the answer of the step before, if it was not read at once.

        Raises:
            FloatingPointError: if a number was not finite.
        """
        if self._answer is not None:
            self._answer.check()
            self._answer = None


class Answer(NamedTuple):
    """Which numbers of a step are finite, once they have arrived."""

    step: int
    values: list[str]
    gradients: list[str]
    flags: Callable[[], list[bool]]

    def check(self) -> None:
        """Raise a FloatingPointError if one is not, which names values before gradients, their consequence."""
        names = [*self.values, *(f"gradient of {name}" for name in self.gradients)]
        broken = [name for name, fine in zip(names, self.flags(), strict=True) if not fine]
        if broken:
            causes = [name for name in broken if name in self.values] or broken
            raise FloatingPointError(
                f"Expected finite numbers, but at step {self.step} these are not: {', '.join(causes)}. "
                "Start a new run from the last checkpoint's weights (--pretrained CKPT, and another "
                "--trainer.logger.version) with a lower learning rate (--model.optimizer.init_args.lr), or resume "
                "(--ckpt_path CKPT) in float32 (--trainer.precision 32)."
            )


def at_once(flags: Tensor) -> bool:
    """Return whether the host need not wait for values."""
    return flags.is_cpu


def fetched(flags: Bool[Tensor, " n"]) -> Callable[[], list[bool]]:
    """Start to copy flags to the host; what is returned waits for this copy, but for nothing that is queued later."""
    copy = flags.to("cpu", non_blocking=True)
    if flags.is_cpu:
        return copy.tolist
    arrived = torch.get_device_module(flags.device).Event()
    arrived.record()

    def wait() -> list[bool]:
        arrived.synchronize()
        return copy.tolist()

    return wait
