"""Where the standard normal draws of a computation come from.

Every draw has a name: ``z0`` (initial slots), ``z1`` .. ``zL`` (bottom-up layers), ``prior_zM`` (the fresh sample
of z^M behind a prior term), ``refine1`` .. ``refineI`` (refinement steps). Whoever supplies the draws by name
repeats a computation draw for draw.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Noise = Callable[[str, Float[Tensor, "batch slots dim"]], Float[Tensor, "batch slots dim"]]
"""``noise(name, like)`` returns standard normal draws with the shape, dtype and device of ``like``."""


def gaussian_noise(name: str, like: Float[Tensor, "batch slots dim"]) -> Float[Tensor, "batch slots dim"]:
    """Draw from torch's global generator, whatever the name."""
    del name
    return torch.randn_like(like)
