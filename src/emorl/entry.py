"""The command ``emorl``, which prints help and version without importing Lightning, which takes seconds."""

from __future__ import annotations

import sys
from importlib import import_module

from emorl.interrupts import exit_on_interrupt, interrupted_by_sigterm

with exit_on_interrupt("emorl"):
    from emorl.command import answer, run_command, summary

DESCRIPTION = "Train, test and apply slot models."
SUBCOMMANDS = {
    "fit": "Train a model.",
    "validate": "Score a model on the split val, as training does.",
    "test": "Score a model on the split test: a table, and metrics.json.",
    "predict": "Decompose shards or a folder of images: arrays and pictures.",
}
OTHERS = {  # without Lightning
    "recipes": "emorl.recipes:main",
    "export": "emorl.export_command:export",
    "explore": "emorl.explore.cli:main",
}


def main(args: list[str] | None = None) -> None:
    """Run ``emorl`` with the command line, or with ``args``; see `emorl.cli.main`."""
    words = sys.argv[1:] if args is None else args
    answer("emorl", DESCRIPTION, SUBCOMMANDS | {name: summary(function) for name, function in OTHERS.items()}, words)
    try:
        if function := OTHERS.get(words[0]):
            module, _, name = function.partition(":")
            if name == "main":  # it parses words: optional arguments without a name, which a signature cannot express
                with exit_on_interrupt("emorl"):
                    command = import_module(module).main
                with interrupted_by_sigterm():
                    raise SystemExit(command(words[1:]))
            raise SystemExit(run_command(f"emorl {words[0]}", summary(function), function, words[1:]))
        with exit_on_interrupt("emorl"):
            run = import_module("emorl.cli").main
        run(words)
    except KeyboardInterrupt:
        print("emorl: interrupted", file=sys.stderr)
        raise SystemExit(130) from None
