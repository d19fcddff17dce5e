"""Where the standard normal draws of a computation come from.

Every draw has a name: ``z0`` (initial slots), ``z1`` .. ``zL`` (bottom-up layers), ``prior_zM`` (the fresh sample
of z^M behind a prior term), ``refine1`` .. ``refineI`` (refinement steps). Whoever supplies the draws by name
repeats a computation draw for draw. ``z0`` is what breaks the symmetry of a model's slots, whichever the model.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emorl.model.recording import compiled_as_constant, seeded_normals

Noise = Callable[[str, Float[Tensor, "batch slots dim"]], Float[Tensor, "batch slots dim"]]
"""``noise(name, like)`` returns standard normal draws with the shape, dtype and device of ``like``."""


def gaussian_noise(name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
    """Draw from torch's global generator, whatever the name."""
    del name
    return torch.randn_like(like)


class ImageNoise:
    """Draws that depend on the image and not on its place in a batch, a worker or a process.

    With it a score is a function of the weights, the data and ``seed`` alone, and a resumed training run repeats what
    an uninterrupted one does. A distributed one has, for the same images, the noise of one in a single process.

    Args:
        indices: index of each image in its data set, [B].
        seed: chooses the draws.
        step: optimizer step in training; -1 in evaluation, where an image has the same draws each time.
    """

    def __init__(self, indices: Int[Tensor, " batch"], seed: int = 0, step: int = -1) -> None:
        self.indices = indices.tolist()
        self.seed = seed
        self.step = step

    def __call__(self, name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
        """Draw for every image.

        Raises:
            ValueError: for a batch of another length than ``indices``.
        """
        if len(like) != len(self.indices):
            raise ValueError(
                f"Expected a batch of {len(self.indices)} images, one for each index, got {len(like)}. "
                "Make an ImageNoise from the indices of the very batch."
            )
        draws = torch.stack([self._draw(index, name, like) for index in self.indices])
        return draws.to(like)

    def _draw(self, index: int, name: str, like: Tensor) -> Tensor:
        generator = torch.Generator("cpu").manual_seed(_seed(self.seed, self.step, index, name))
        return torch.randn(like.shape[1:], generator=generator, dtype=torch.float32, device="cpu")


class PosteriorMeans:
    """Draws that put the mean of every posterior in the place of a sample, and start all images from the same slots.

    Slots then are the model's best guess, and a function of the image alone: of neither its batch nor its index. At
    test it reconstructs better than from samples, over which the ELBO is defined. Draws are constants of a program that
    is recorded with them, by ``torch.export`` for instance.

    Args:
        seed: chooses the initial slots, and the draws of the priors.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
        """Return draws for ``z0`` and ``prior_zM``, and zeros for all else."""
        if name == "z0" or name.startswith("prior"):
            shape = [int(size) for size in like.shape[1:]]
            draws = seeded_normals(_seed(self.seed, -1, 0, name), prod(shape))
            return torch.tensor(draws, dtype=torch.float32).view(shape).to(like).expand_as(like)
        return torch.zeros_like(like)


@compiled_as_constant
def _seed(seed: int, step: int, index: int, name: str) -> int:
    key = f"{seed} {step} {index} {name}"
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), signed=True)
