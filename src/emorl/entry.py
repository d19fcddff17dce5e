"""The command ``emorl``: answers at once what needs no Lightning, which takes seconds to import."""

from __future__ import annotations

import sys
from importlib import import_module

from emorl.command import answer, run_command, summary

DESCRIPTION = "Train, test and apply slot models."
SUBCOMMANDS = {
    "fit": "Train a model.",
    "validate": "Score a model on the split val, as training does.",
    "test": "Score a model on the split test: a table, and metrics.json.",
    "predict": "Decompose shards or a folder of images: arrays and pictures.",
}
OTHERS = {"export": "emorl.export_command:export", "explore": "emorl.explore.cli:main"}  # that need no Lightning


def main(args: list[str] | None = None) -> None:
    """Run ``emorl`` with the command line, or with ``args``; see `emorl.cli.main`."""
    words = sys.argv[1:] if args is None else args
    answer("emorl", DESCRIPTION, SUBCOMMANDS | {name: summary(function) for name, function in OTHERS.items()}, words)
    try:
        if words[0] == "explore":  # whose MODEL may be left out, which no function's arguments can say
            raise SystemExit(import_module("emorl.explore.cli").main(words[1:]))
        if words[0] in OTHERS:
            function = OTHERS[words[0]]
            raise SystemExit(run_command(f"emorl {words[0]}", summary(function), function, words[1:]))
        import_module("emorl.cli").main(words)
    except KeyboardInterrupt:  # while libraries are imported
        print("emorl: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
