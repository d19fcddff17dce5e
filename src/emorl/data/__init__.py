"""Data: converters and generators, the shard format, and the stream of batches that feeds the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emorl.data.scenes import Scenes

__all__ = ["Scenes"]


def __getattr__(name: str) -> Any:
    """Import `Scenes` on first access, so that importing this package does not import torch."""
    if name != "Scenes":
        raise AttributeError(f"module 'emorl.data' has no attribute {name!r}")
    from emorl.data.scenes import Scenes

    return Scenes


def __dir__() -> list[str]:
    """List the public name and the imported modules."""
    modules = (name for name, value in globals().items() if getattr(value, "__name__", "") == f"emorl.data.{name}")
    own = (name for name in globals() if name.startswith("__"))
    return sorted({*own, *modules, *__all__})
