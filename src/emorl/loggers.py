"""A CSV logger that keeps the curve of a resumed run."""

from __future__ import annotations

import csv
import io

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter


class AppendingCSVLogger(CSVLogger):
    """A `CSVLogger` that appends to an existing ``metrics.csv``, which Lightning's logger deletes.

    A resumed run keeps its curve in this way. Steps after the last checkpoint, which it repeats, have two rows. The
    arguments are those of `CSVLogger`.

    >>> AppendingCSVLogger("runs", name="", version="mine").log_dir
    'runs/mine'
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of ``metrics.csv`` and ``hparams.yaml``."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        return self._experiment  # type: ignore[return-value]


class _AppendingWriter(ExperimentWriter):
    """Writes the file anew, with a new column or without an incomplete line, in one step: a killed run keeps it."""

    def _check_log_dir_exists(self) -> None:
        """Keep the existing file, except an incomplete last line; Lightning deletes the file here."""
        if self._fs.isfile(self.metrics_file_path):
            with self._fs.open(self.metrics_file_path, "r", newline="") as file:
                text = file.read()
            if whole := text[: text.rfind("\n") + 1]:
                self.metrics_keys = next(csv.reader(whole.splitlines()))
            if whole != text:
                self._replace(whole)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        with self._fs.open(self.metrics_file_path, "r", newline="") as file:
            rows = list(csv.DictReader(file))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames)
        writer.writeheader()
        writer.writerows(rows)
        self._replace(text.getvalue())

    def _replace(self, text: str) -> None:
        temporary = f"{self.metrics_file_path}.tmp"
        with self._fs.open(temporary, "w", newline="") as file:
            file.write(text)
        self._fs.mv(temporary, self.metrics_file_path)
