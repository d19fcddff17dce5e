"""``emorl-study``: train configurations for several seeds each, one after another, and put their scores in a table."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from jsonargparse.typing import PositiveInt

from emorl.command import run_command

_SEEDS = PositiveInt(3)


def study(cases: Path, out: Path, seeds: PositiveInt = _SEEDS, options: Sequence[str] = ()) -> int:
    """Train every case for every seed, test it, and write the scores' mean and spread over seeds.

    An interrupted study resumes when it is started again; a run that fails is listed, and the others
    continue. Runs log to CSV files alone. ``OUT/CASE/seed_N`` holds a run with its log, ``OUT/scores.csv`` every score
    of every run, ``OUT/summary.md`` and ``.png`` mean and standard deviation by case, and ``OUT/curves.png`` FG-ARI and
    MSE against minutes of training.

    Args:
        cases: YAML file that maps the name of each case to the options of its ``emorl fit``, as a list; those under
            ``common``, if any, come first in every case. Checkpoints as in ``configs/base.yaml`` are taken for granted.
        out: Folder of the study.
        seeds: Number of seeds, 0 and up.
        options: Options that every case has besides its own, as a list: --options '[-c, configs/overlays/short.yaml]'.
    """
    status: int = import_module("emorl.study.run").run_study(cases, out, seeds, options)  # takes seconds
    return status


def main(args: list[str] | None = None) -> int | None:
    """Run ``emorl-study``, see `run_command`."""
    ending = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = [signal.signal(number, lambda received, _: sys.exit(128 + received)) for number in ending]
    try:
        return run_command("emorl-study", "Train configurations for several seeds each.", "emorl.study.cli:study", args)
    finally:
        for number, handler in zip(ending, before, strict=True):
            signal.signal(number, handler)
