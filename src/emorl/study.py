"""``emorl-study``: train configurations for several seeds each, one after another, and put their scores in a table."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse.typing import PositiveInt
from rich.console import Console
from rich.table import Table

from emorl.command import run_command
from emorl.data.errors import DataError
from emorl.evaluation.outputs import cell, write_figure, write_table
from emorl.evaluation.training_figure import training_figure

_SEEDS = PositiveInt(3)
COLUMNS = ("case", "I", "score", "mean", "standard deviation", "runs", "failed")


class Run(NamedTuple):
    """One training run of a study, and where it leaves its results."""

    case: str
    options: tuple[str, ...]  # of ``emorl fit``
    seed: int
    folder: Path

    @property
    def scores(self) -> Path:
        """The file that tells that the run is finished."""
        return self.folder / "metrics.json"

    def commands(self) -> Iterator[list[str]]:
        """Yield the command that trains, from where it stopped if it did, and the one that tests."""
        last = self.folder / "checkpoints" / "last.ckpt"
        logger = f"--trainer.logger.save_dir={self.folder.parent}", f"--trainer.logger.version={self.folder.name}"
        resumed = [f"--ckpt_path={last}"] if last.exists() else []
        yield ["fit", *self.options, f"--seed_everything={self.seed}", *logger, *resumed]
        yield ["test", *self.options, "--trainer.logger=false", f"--ckpt_path={last}", f"--output_dir={self.folder}"]

    def finish(self) -> bool:
        """Do what is left to do; return whether it worked."""
        if not self.scores.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "log.txt").open("a") as log:
                for command in self.commands():
                    program = [sys.executable, "-m", "emorl", *command]
                    if subprocess.run(program, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
                        return False
        return True


def study(cases: Path, out: Path, seeds: PositiveInt = _SEEDS, options: Sequence[str] = ()) -> int:
    """Train every case for every seed, test it, and write the scores' mean and spread over seeds.

    An interrupted study goes on where it stopped when it is started again; a run that fails is listed, and the others
    go on. ``OUT/CASE/seed_N`` holds a run with its log, ``OUT/scores.csv`` and ``scores.md`` the table, and
    ``OUT/curves.png`` FG-ARI and MSE against minutes of training.

    Args:
        cases: YAML file that maps the name of each case to the options of its ``emorl fit``, as a list.
        out: Folder of the study.
        seeds: Number of seeds, 0 and up.
        options: Options that every case has besides its own, as a list: --options '[-c, configs/ablations/short.yaml]'.
    """
    runs = [
        Run(case, (*own, *options), seed, out / case / f"seed_{seed}")
        for (case, own), seed in product(read_cases(cases).items(), range(seeds))
    ]
    failed = []
    for number, run in enumerate(runs, start=1):
        print(f"{number} of {len(runs)}: {run.case}, seed {run.seed}", flush=True)
        if not run.finish():
            failed.append(run)
            print(f"failed: {run.folder / 'log.txt'} tells why", flush=True)
        write_table(table(runs, failed), out, "scores")
        write_figure(training_figure(histories(runs)), out, "curves")
    show(table(runs, failed))
    return 1 if failed else 0


def read_cases(path: Path) -> dict[str, list[str]]:
    """Return the cases of a study.

    Raises:
        DataError: if the file is not as `study` wants it.
    """
    try:
        cases = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DataError.of(path, expected="a YAML file of cases", got=f"{error}", remedy="check the path") from error
    lists = isinstance(cases, dict) and all(isinstance(options, list) for options in cases.values())
    if not lists or not cases:
        remedy = "write 'name: [-c, configs/base.yaml, -c, configs/demo.yaml]' for each case"
        raise DataError.of(path, expected="lists of options by name", got=f"{cases!r:.100}", remedy=remedy)
    return {str(case): [str(option) for option in options] for case, options in cases.items()}


def table(runs: Sequence[Run], failed: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row for each case, I and score: mean and standard deviation over the finished runs."""
    rows = []
    for case in dict.fromkeys(run.case for run in runs):
        bad = " ".join(str(run.seed) for run in failed if run.case == case)
        for (steps, score), values in scores_of(run for run in runs if run.case == case).items():
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            row = case, steps.removeprefix("I="), score, statistics.fmean(values), spread, len(values), bad
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def scores_of(runs: Iterable[Run]) -> dict[tuple[str, str], list[float]]:
    """Return the means of the finished runs, by I and score; an undefined score does not count."""
    found: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        stages = json.loads(run.scores.read_text()) if run.scores.exists() else {}
        for steps, scores in stages.items():
            for name, summary in scores.items():
                if summary["mean"] is not None:
                    found.setdefault((steps, name), []).append(summary["mean"])
    return found


def histories(runs: Iterable[Run]) -> dict[str, list[Path]]:
    """Return the curves of the runs so far, by case."""
    found: dict[str, list[Path]] = {}
    for run in runs:
        if (curve := run.folder / "metrics.csv").exists():
            found.setdefault(run.case, []).append(curve)
    return found


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    drawn = Table(*COLUMNS, title="mean and standard deviation over seeds")
    for row in rows:
        drawn.add_row(*map(cell, row.values()))
    Console().print(drawn)


def main(args: list[str] | None = None) -> int | None:
    """Run ``emorl-study``, see `run_command`."""
    return run_command("emorl-study", "Train configurations for several seeds each.", study, args)
