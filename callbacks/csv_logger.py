"""metrics.csv in the run folder; nothing is lost when a run is killed and resumed."""

import csv
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from earshot.atomic import atomic_path


class MetricsFile(ExperimentWriter):
    """Unlike Lightning's writer, keeps the rows of the file it finds, up to the first step that is logged anew.

    A run resumed from step 100 after a kill at step 130 repeats 101 to 130: those rows are replaced.
    """

    def _check_log_dir_exists(self) -> None:
        self.resumed = Path(self.metrics_file_path).is_file()
        if self.resumed:
            self.metrics_keys = self._rows()[0]

    def _rows(self) -> tuple[list[str], list[dict[str, str]]]:
        with open(self.metrics_file_path, newline="") as file:
            reader = csv.DictReader(file)
            return list(reader.fieldnames or []), list(reader)

    def _rewrite(self, fieldnames: list[str], rows: list[dict[str, str]]) -> None:
        with atomic_path(Path(self.metrics_file_path)) as partial, open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(rows)

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self._rewrite(fieldnames, self._rows()[1])

    def save(self) -> None:
        """Append the rows logged since the last call."""
        if self.resumed and self.metrics:
            first = min(row["step"] for row in self.metrics)
            rows = [row for row in self._rows()[1] if row["step"]]  # one that the kill cut short has none
            self._rewrite(self.metrics_keys, [row for row in rows if int(row["step"]) < first])
            self.resumed = False
        super().save()


class CSVLogger(loggers.CSVLogger):
    """Lightning's, with its files directly in `save_dir`, the run folder.

    Args:
        save_dir: the run folder; train.py fills it in.
        flush_logs_every_n_steps: how many steps go to disk together; 1, so that a kill loses none.
    """

    def __init__(self, save_dir: str = ".", flush_logs_every_n_steps: int = 1) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)

    @property
    def root_dir(self) -> str:
        """The run folder."""
        return self.save_dir

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return self.save_dir

    @property
    @rank_zero_experiment
    def experiment(self) -> MetricsFile:
        """The writer of metrics.csv, on rank 0."""
        if self._experiment is None:
            self._experiment = MetricsFile(self.save_dir)
        assert isinstance(self._experiment, MetricsFile)
        return self._experiment
