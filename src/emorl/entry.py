"""The command ``emorl``: answers at once what needs no Lightning, which takes seconds to import."""

from __future__ import annotations

import sys
from importlib import import_module

from emorl.command import answer

DESCRIPTION = "Train, test and apply slot models."
SUBCOMMANDS = {
    "fit": "Train a model.",
    "validate": "Score a model on the split val, as training does.",
    "test": "Score a model on the split test: a table, and metrics.json.",
    "predict": "Decompose shards or a folder of images: arrays and pictures.",
}


def main(args: list[str] | None = None) -> None:
    """Run ``emorl`` with the command line, or with ``args``; see `emorl.cli.main`."""
    words = sys.argv[1:] if args is None else args
    answer("emorl", DESCRIPTION, SUBCOMMANDS, words)
    try:
        import_module("emorl.cli").main(words)
    except KeyboardInterrupt:  # while Lightning is imported
        print("emorl: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
