"""Checkpoints of modules that no trainer has trained."""

import tiny


def save(module, path):
    """Write a checkpoint, and return its path as the studies take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer = tiny.trainer(path.parent, max_steps=0)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return str(path)
