"""Data: formats of the world in, shards, and the stream that feeds the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emorl.data.scenes import Scenes

__all__ = ["Scenes"]


def __getattr__(name: str) -> Any:
    """Import the data set of torch when it is first asked for."""
    if name != "Scenes":
        raise AttributeError(f"module 'emorl.data' has no attribute {name!r}")
    from emorl.data.scenes import Scenes

    return Scenes
