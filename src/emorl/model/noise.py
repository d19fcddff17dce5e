"""Sources of the standard normal draws of a model.

Each draw has a name: ``z0`` (initial slots), ``z1`` .. ``zL`` (bottom-up layers), ``prior_zM`` (the fresh sample of z^M
in a prior term), ``refine1`` .. ``refineI`` (refinement steps). The same draws by name reproduce a computation. In all
models ``z0`` breaks the symmetry between slots.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from math import prod

import torch
from jaxtyping import Float, Int
from torch import Tensor

from emorl.model.recording import compiled_as_constant, seeded_normals
from emorl.ranges import whole

Noise = Callable[[str, Float[Tensor, "batch slots dim"]], Float[Tensor, "batch slots dim"]]
"""A function ``noise(name, like)`` that returns standard normal draws with the shape, dtype and device of ``like``.

```python
def no_noise(name, like):
    return torch.zeros_like(like)  # each sample is its mean, and all slots start equal
```
"""


def gaussian_noise(name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
    """Return draws from torch's global generator; the name is ignored.

    >>> gaussian_noise("z0", torch.zeros(2, 4, 8)).shape
    torch.Size([2, 4, 8])
    """
    del name
    return torch.randn_like(like)


class ImageNoise:
    """Draws that depend on the image, not on its position in a batch, a worker or a process.

    Scores are then a function of weights, data and ``seed`` only; a resumed training run repeats an uninterrupted one;
    and a distributed run has the same noise for an image as a single process. Draws are made on the CPU, so they are
    equal on every device, and copied without waiting for the device.

    Args:
        indices: index of each image in its data set, [B], on the CPU: else the host waits for the device.
        seed: seed of the draws.
        step: optimizer step in training; -1 in evaluation, where an image has the same draws each time.

    Raises:
        ValueError: if an index, the seed or the step is no whole number, or ``indices`` no tensor [B].

    >>> noise = ImageNoise(torch.tensor([7, 8]))
    >>> alone = ImageNoise(torch.tensor([8]))
    >>> torch.equal(noise("z0", torch.zeros(2, 4, 8))[1], alone("z0", torch.zeros(1, 4, 8))[0])
    True
    """

    def __init__(self, indices: Int[Tensor, " batch"], seed: int = 0, step: int = -1) -> None:
        whole(seed=seed, step=step)
        if not isinstance(indices, Tensor) or indices.ndim != 1 or indices.is_floating_point():
            got = f"{indices.dtype} of shape {list(indices.shape)}" if isinstance(indices, Tensor) else repr(indices)
            raise ValueError(f"Expected indices as a tensor of whole numbers [B], got {got}.")
        self.indices = indices.tolist()
        self.seed = seed
        self.step = step

    def __call__(self, name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
        """Return the draws of each image.

        Raises:
            ValueError: if the batch has another length than ``indices``.
        """
        if len(like) != len(self.indices):
            raise ValueError(
                f"Expected a batch of {len(self.indices)} images, one for each index, got {len(like)}. "
                "Make an ImageNoise from the indices of this batch."
            )
        draws = torch.empty(like.shape, dtype=torch.float32, device="cpu", pin_memory=like.is_cuda)
        generator = torch.Generator("cpu")
        for draw, index in zip(draws, self.indices, strict=True):
            draw.normal_(generator=generator.manual_seed(_seed(self.seed, self.step, index, name)))
        return draws.to(like.device, like.dtype, non_blocking=True)


class PosteriorMeans:
    """Draws with which each posterior's sample is its mean, and all images start from the same slots.

    Slots are then a function of the image only, not of its batch or index. At test, reconstructions are better than
    those of samples, but the ELBO is defined over samples. In a recorded program, such as that of ``torch.export``, the
    draws are constants.

    Args:
        seed: seed of the initial slots, and of the draws in the prior.

    >>> noise = PosteriorMeans()
    >>> noise("z1", torch.ones(2, 4, 8)).unique()
    tensor([0.])
    >>> torch.equal(*noise("z0", torch.ones(2, 4, 8)))  # the same initial slots for both images
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
        """Return draws for ``z0`` and ``prior_zM``, and zeros for all other names."""
        if name == "z0" or name.startswith("prior"):
            shape = [int(size) for size in like.shape[1:]]
            draws = seeded_normals(_seed(self.seed, -1, 0, name), prod(shape))
            start = torch.tensor(draws, dtype=torch.float32).view(shape)
            return start.to(like.device, like.dtype, non_blocking=True).expand_as(like)
        return torch.zeros_like(like)


@compiled_as_constant
def _seed(seed: int, step: int, index: int, name: str) -> int:
    key = f"{seed} {step} {index} {name}"
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), signed=True)
