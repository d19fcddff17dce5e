"""``emorl-study``: train several configurations with several seeds each, and tabulate their scores."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from emorl.interrupts import exit_on_interrupt

with exit_on_interrupt("emorl-study"):
    from jsonargparse.typing import PositiveInt

    from emorl.command import run_command

_SEEDS = PositiveInt(3)


def study(cases: str, out: Path, seeds: PositiveInt = _SEEDS, options: Sequence[str] = ()) -> int:
    """Train and test every case with every seed, and write the scores' mean and standard deviation over seeds.

    Runs are trained one after another. Repeating the command resumes an interrupted study; a run that fails is listed,
    and the others continue. Runs log to CSV files only. ``OUT/CASE/seed_N`` contains a run with its log,
    ``OUT/scores.csv`` every score of every run, ``OUT/summary.md`` and ``.png`` mean and standard deviation by case,
    and ``OUT/curves.png`` the validation scores against minutes of training.

    Args:
        cases: YAML file, or name of a study of ``emorl recipes``, that maps the name of each case to a list of options
            of ``emorl fit``; options under ``common``, if any, precede those of every case. Cases must save checkpoints
            as ``base.yaml`` does.
        out: Folder of the study.
        seeds: Number of seeds, starting at 0.
        options: Additional options of every case, as a list: --options '[-c, short]'.

    Returns:
        The exit status: 1 if a run failed.

    Example:
        ```console
        emorl-study seeds runs/seeds --seeds 3
        ```
    """
    with exit_on_interrupt("emorl-study"):
        run_study = import_module("emorl.study.run").run_study  # takes seconds
    status: int = run_study(cases, out, seeds, options)
    return status


def main(args: list[str] | None = None) -> int | None:
    """Run ``emorl-study``, see `run_command`."""
    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, lambda received, _: sys.exit(128 + received)) for number in ending]
    try:
        return run_command(
            "emorl-study", "Train configurations with several seeds each.", "emorl.study.cli:study", args
        )
    finally:
        for number, handler in zip(ending, before, strict=True):
            signal.signal(number, handler)
