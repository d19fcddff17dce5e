"""Train several configurations with several seeds each, one after another, and tabulate their scores."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import IO, Any, NamedTuple

from emorl.configurations import chosen, find, settings, studies
from emorl.errors import DataError
from emorl.evaluation.outputs import show, write_figure, write_table
from emorl.files import atomic, locked
from emorl.history import read_record
from emorl.paths import expand_home
from emorl.study.curves import training_figure
from emorl.study.table import Scored, score_rows, seeds_figure, summary_rows

COMMON = "common"


class Run(NamedTuple):
    """One training run of a study, and the folder of its results.

    >>> run = Run("full", ("-c", "configs/base.yaml"), seed=0, folder=Path("runs/study/full/seed_0"))
    >>> [command[0] for command in run.commands()]
    ['fit', 'test']
    """

    case: str
    options: tuple[str, ...]  # options of ``emorl fit``
    seed: int
    folder: Path

    @property
    def scores(self) -> Path:
        """The file of scores, which exists once the run is finished."""
        return self.folder / "metrics.json"

    @property
    def log(self) -> Path:
        """The log file, which exists once the run has started."""
        return self.folder / "log.txt"

    @property
    def ended(self) -> Path:
        """The empty file that exists once training has ended by itself, also before its last step or epoch."""
        return self.folder / ".ended"

    def commands(self) -> Iterator[list[str]]:
        """Yield the command that trains, or resumes training, and the one that tests, in float32."""
        last = self.folder / "checkpoints" / "last.ckpt"
        logger = (
            "--trainer.logger=emorl.loggers.AppendingCSVLogger",  # another logger would change the folder
            f"--trainer.logger.save_dir={self.folder.parent}",
            "--trainer.logger.name=null",
            f"--trainer.logger.version={self.folder.name}",
        )
        resumed = [f"--ckpt_path={last}"] if last.exists() else []
        yield ["fit", *self.options, f"--seed_everything={self.seed}", *logger, *resumed]
        test = "--trainer.logger=false", "--trainer.precision=32-true", f"--output_dir={self.folder}"
        yield ["test", *self.options, *test, f"--ckpt_path={last}", "--pretrained=null"]

    def trained(self) -> bool:
        """Return whether training is finished: it ended by itself, or ``emorl fit`` refuses to resume it."""
        last, config = self.folder / "checkpoints" / "last.ckpt", self.folder / "config.yaml"
        if not (last.exists() and config.exists()):
            return False
        if self.ended.exists():
            return True
        import torch  # slow to import, and not needed otherwise

        from emorl.released import UNREADABLE
        from emorl.resume import ended

        try:
            checkpoint = torch.load(last, weights_only=True, mmap=True, map_location="cpu")
        except (OSError, *UNREADABLE):
            return False  # ``emorl fit`` reports the error
        return ended(checkpoint, **read_record(config, _limits)) is not None

    def begin(self) -> None:
        """Store the options of the run, and the contents of its configuration files.

        Raises:
            DataError: if the run was started with others, if their record is damaged, or if a configuration is not a
                file, not a name or not YAML.
        """
        kept, remedy = self.folder / "options.json", "give the study another folder, or delete this run's"
        files = {name: settings(path) for name, path in chosen(self.options).items()}
        text = json.dumps({"options": self.options, "files": files}, indent=2, default=str)
        if not kept.exists() or not self.log.exists():
            with atomic(kept) as stream:
                stream.write(text.encode())
        before = read_record(kept, _begun)
        if before["options"] != list(self.options):
            expected, got = (" ".join(each) for each in (before["options"], self.options))
            raise DataError.of(self.folder, expected=expected, got=got, remedy=remedy)
        now = json.loads(text)["files"]  # with numeric keys as strings, as in the file
        if changed := [name for name, content in now.items() if content != before["files"].get(name)]:
            expected, got = "the configuration files that the run started with", f"changes in {', '.join(changed)}"
            raise DataError.of(self.folder, expected=expected, got=got, remedy=remedy)

    def finish(self, lock: int) -> bool:
        """Run the remaining commands in processes that hold the study's lock; return whether all succeeded."""
        if self.scores.exists():
            return True
        commands = islice(self.commands(), 1 if self.trained() else 0, None)
        with self.log.open("a") as log:
            for command in commands:
                if _call([sys.executable, "-m", "emorl", *command], log, lock) != 0:
                    return False
                self.ended.touch()
        return True

    def scored(self, failed: bool) -> Scored:
        """Return the run's scores by I and name; empty if it is not finished.

        Raises:
            DataError: if their file is damaged.
        """
        stages = read_record(self.scores, _stages) if self.scores.exists() else {}
        return Scored(self.case, self.seed, stages, failed)


def _begun(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    return {"options": list(record["options"]), "files": dict(record["files"].items())}


def _limits(path: Path) -> dict[str, Any]:
    trainer = settings(path)["trainer"]
    return {name: trainer[name] for name in ("max_steps", "max_epochs")}


def _stages(path: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    record = json.loads(path.read_text(encoding="utf-8"))
    return {
        f"I={int(stage.removeprefix('I='))}": {name: dict(score.items()) for name, score in scores.items()}
        for stage, scores in record.items()
    }


def run_study(cases: str, out: Path, seeds: int, options: Sequence[str]) -> int:
    """Run a study, see `emorl.study.cli.study`; return its exit status.

    Example:
        ```python
        run_study("seeds", Path("runs/seeds"), seeds=3, options=["-c", "short"])  # trains for hours
        ```
    """
    runs = [
        Run(case, (*own, *options), seed, out / case / f"seed_{seed}")
        for (case, own), seed in product(read_cases(find(cases, studies(), "study")).items(), range(seeds))
    ]
    failed = []
    out.mkdir(parents=True, exist_ok=True)
    with locked(out) as lock:
        for run in runs:
            run.begin()
        for number, run in enumerate(runs, start=1):
            print(f"{number} of {len(runs)}: {run.case}, seed {run.seed}", flush=True)
            if not run.finish(lock):
                failed.append(run)
                print(f"failed: see {run.log}", flush=True)
            scored = [run.scored(run in failed) for run in runs]
            summary = summary_rows(scored)
            write_table(score_rows(scored), out, "scores")
            write_table(summary, out, "summary")
            write_figure(seeds_figure(scored), out, "summary")
            write_figure(training_figure(histories(runs)), out, "curves")
    wanted = ("case", "I", "runs", "failed seeds", "fg_ari", "fg_ari_sd", "mse", "mse_sd")
    shown = [{name: row[name] for name in wanted if name in row} for row in summary]
    show(shown, "Mean ± standard deviation over seeds")
    return 1 if failed else 0


def read_cases(path: Path) -> dict[str, list[str]]:
    """Read the options of each case of a study, including the common ones.

    Returns:
        The options by name of the case.

    Raises:
        DataError: if the file is not in the format of `emorl.study.cli.study`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "cases.yaml")
    >>> _ = path.write_text("{common: [-c, configs/base.yaml], full: [], batch-32: [--data.batch_size, 32]}")
    >>> read_cases(path)["batch-32"]
    ['-c', 'configs/base.yaml', '--data.batch_size', '32']
    """
    cases = settings(path)
    lists = all(isinstance(options, list) for options in cases.values())
    if not lists or not set(cases) - {COMMON}:
        remedy = "write 'name: [-c, RECIPE, ...]' for each case"
        raise DataError.of(path, expected="lists of options by name", got=f"{cases!r:.100}", remedy=remedy)
    if unfit := [case for case in cases if not (isinstance(case, str) and re.fullmatch(r"[^/]*[^/.][^/]*", case))]:
        expected, remedy = "names of cases that are names of folders", "choose another, in quotes if it is a number"
        raise DataError.of(path, expected=expected, got=f"{unfit[0]!r}", remedy=remedy)
    common = cases.pop(COMMON, [])
    return {case: [_word(option) for option in (*common, *options)] for case, options in cases.items()}


def _word(option: Any) -> str:
    return "null" if option is None else str(expand_home(option))


def histories(runs: Iterable[Run]) -> dict[str, dict[int, Path]]:
    """Return the existing files of logged values of runs, by case and seed.

    >>> histories([Run("full", (), seed=0, folder=Path("/no/such/run"))])
    {}
    """
    found: dict[str, dict[int, Path]] = {}
    for run in runs:
        if (curve := run.folder / "metrics.csv").exists():
            found.setdefault(run.case, {})[run.seed] = curve
    return found


def _call(command: list[str], log: IO[str], lock: int) -> int:
    """Run a command; if this process is stopped, also by Ctrl-C, send it SIGTERM, so that it saves and ends.

    A second Ctrl-C ends the command without saving, as it does in ``emorl fit``. The command also holds the lock, so
    that no second study starts while it runs if this process is killed.
    """
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, process_group=0, pass_fds=[lock])
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        try:
            process.wait()
        finally:
            process.kill()  # does nothing if it has ended
            process.wait()
        raise
