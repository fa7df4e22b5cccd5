"""metrics.csv in the run folder; nothing is lost when a run is killed and resumed."""

import csv
import math
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import loggers
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from earshot.atomic import atomic_path


class MetricsFile(ExperimentWriter):
    """Unlike Lightning's writer, keeps the rows of the file it finds, up to the first step that is logged anew.

    A run resumed from step 100 after a kill at step 130 repeats 101 to 130: those rows are replaced.

    Attributes:
        in_validation: the run is resumed in the validation after a step, whose other rows stay.
    """

    in_validation = False

    def _check_log_dir_exists(self) -> None:  # Lightning's deletes the file
        self.resumed = Path(self.metrics_file_path).is_file()

    def _rewrite_with_new_header(self, fieldnames: list[str], before: float = math.inf) -> None:
        """Add columns to the file, atomically, and keep the rows of steps below `before`."""
        path = Path(self.metrics_file_path)
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            self.metrics_keys = sorted({*fieldnames, *(reader.fieldnames or ())})
            # a row that a kill or a full disk cut short has too few cells, or too many with the next one behind it
            whole = [row for row in reader if None not in row and None not in row.values()]
            rows = [row for row in whole if row["step"].isdigit() and self._stays(row, before)]
        with atomic_path(path) as partial, open(partial, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)

    def _stays(self, row: dict[str, str], before: float) -> bool:
        """Whether a row is of an earlier step, or of the step before the validation that a resumed run begins with."""
        if (step := int(row["step"])) != before or not self.in_validation:
            return step < before
        return not any(row.get(name) for name in self.metrics[0] if name not in ("step", "epoch"))

    def save(self) -> None:
        """Append the rows logged since the last call."""
        if self.resumed and self.metrics:
            self._rewrite_with_new_header([], before=min(row["step"] for row in self.metrics))
            self.resumed = False
        super().save()


class CSVLogger(loggers.CSVLogger):
    """Lightning's, with its files directly in `save_dir`, the run folder.

    Args:
        save_dir: the run folder; train.py fills it in.
        flush_logs_every_n_steps: how many steps go to disk together; 1, so that a kill loses none.
    """

    root_dir = log_dir = loggers.CSVLogger.save_dir

    def __init__(self, save_dir: str = ".", flush_logs_every_n_steps: int = 1) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=flush_logs_every_n_steps)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of metrics.csv, on rank 0."""
        if self._experiment is None:
            self._experiment = MetricsFile(self.save_dir)
        return self._experiment  # type: ignore[return-value]
