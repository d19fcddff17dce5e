"""Checks that numbers are finite: of a training, before a NaN gets into the weights, and of weights to be stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from emorl.errors import DataError

_SHOWN = 3  # names in a message


def check_weights(state: Mapping[str, Tensor], where: object = "weights") -> None:
    """Check that all weights are finite, before they are stored and after they are read from a folder.

    Args:
        state: the weights.
        where: their folder, for the error.

    Raises:
        DataError: if one is a NaN or an infinity.

    >>> check_weights({"weight": torch.ones(2)})
    """
    broken = [
        name
        for name, value in state.items()
        if not value.to(torch.promote_types(value.dtype, torch.float32)).isfinite().all()
    ]
    if broken:
        got = f"a NaN or an infinity in {len(broken)} of {len(state)} tensors, the first {broken[0]}"
        remedy = "use weights from before the training diverged, such as an earlier checkpoint"
        raise DataError.of(where, expected="finite numbers", got=got, remedy=remedy)


class FiniteCheck:
    """Checks the numbers of every optimizer step, those of the loss and the gradients, all in one transfer.

    On a CPU a step with a NaN is refused before it is taken. On another device the host would have to wait for the
    answer, so it asks for that of the step before: a step with a NaN is taken with gradients of zero, and refused
    before the next step, before a checkpoint and at the end of training, so that no NaN is ever saved.

    >>> check = FiniteCheck()
    >>> check.watch({"loss": torch.tensor(torch.nan)})
    >>> check.guard({"weight": torch.ones(2)}, norms=torch.ones(1), step=7)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FloatingPointError: Expected finite numbers, but at step 7 these are not: loss...
    """

    def __init__(self) -> None:
        self._flags: dict[str, Tensor] = {}  # of the current step
        self._answer: _Answer | None = None  # of the step before, on a device

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
        answer = _Answer(step, list(watched), list(gradients), _fetched(fine))
        if _at_once(fine):
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


class _Answer(NamedTuple):
    """Whether each number of a step is finite, available after its copy to the host."""

    step: int
    values: list[str]
    gradients: list[str]
    flags: Callable[[], list[bool]]

    def check(self) -> None:
        """Raise a FloatingPointError if a number is not finite; gradients are named only if all values are finite."""
        names = [*self.values, *(f"gradient of {name}" for name in self.gradients)]
        broken = [name for name, fine in zip(names, self.flags(), strict=True) if not fine]
        if broken:
            causes = [name for name in broken if name in self.values] or broken
            shown = ", ".join(causes[:_SHOWN]) + (f" and {len(causes) - _SHOWN} more" if causes[_SHOWN:] else "")
            raise FloatingPointError(
                f"Expected finite numbers, but at step {self.step} these are not: {shown}. "
                "Start a new run from the last checkpoint's weights (--pretrained CKPT, and another "
                "--trainer.logger.version) with a lower learning rate (--model.optimizer.lr), or resume "
                "(--ckpt_path CKPT) in float32 (--trainer.precision 32). Without a checkpoint, train anew in this way."
            )


def _at_once(flags: Tensor) -> bool:
    """Return whether the host has the values without waiting."""
    return flags.is_cpu


def _fetched(flags: Bool[Tensor, " n"]) -> Callable[[], list[bool]]:
    """Start a copy of flags to the host; the returned function waits for this copy only, not for later work."""
    copy = flags.to("cpu", non_blocking=True)
    if flags.is_cpu:
        return copy.tolist
    arrived = torch.get_device_module(flags.device).Event()
    arrived.record()

    def wait() -> list[bool]:
        arrived.synchronize()
        return copy.tolist()

    return wait
