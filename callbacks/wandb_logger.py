"""Weights & Biases without an account, inside the run folder, and never a reason for a run to stop."""

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import loggers
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from wandb.sdk.lib import wbauth

from earshot.atomic import write_text
from earshot.digests import path_digest

SMALL = 20_000_000  # bytes of a file that an artifact holds itself


class WandbLogger(loggers.WandbLogger):
    """Lightning's logger, online where W&B finds a key (WANDB_API_KEY or `wandb login`), otherwise offline.

    The id of the W&B run is kept in the run folder, so that a resumed run continues the same W&B run. W&B's folders for
    staged media and its cache move into the run folder too. The first error is reported in one line and switches W&B
    off; the run goes on, with its metrics in metrics.csv.

    Args:
        save_dir: the run folder; train.py fills it in.
        project: the W&B project.
        name: shown in W&B; by default that of the run folder, as in `dali_ot/fit-1`.
        tags: shown in W&B.
        group: of the runs that belong together; by default WANDB_RUN_GROUP, which the graphs of pipelines/ set to
            their name, or else the run name.
        job_type: by default the command and the stage, as in `fit-TokenAlignment`; train.py fills it in.
    """

    def __init__(
        self,
        save_dir: str = ".",
        project: str = "earshot",
        name: str | None = None,
        tags: list[str] | None = None,
        group: str | None = None,
        job_type: str | None = None,
    ) -> None:
        folder = Path(save_dir)
        super().__init__(
            name=name or f"{folder.parent.name}/{folder.name}",
            save_dir=save_dir,
            project=project,
            group=group or os.environ.get("WANDB_RUN_GROUP") or folder.parent.name,
            job_type=job_type or folder.name.partition("-")[0],  # fit, validate, test or predict
            tags=tags,
            settings=wandb.Settings(silent=True, init_timeout=30, finish_timeout=120),
        )
        self.stopped = False
        self._wandb_init.pop("anonymous", None)  # W&B warns of it, whatever its value

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, on rank 0; offline where online fails, and one that does nothing where that fails too."""
        if self._experiment is None:
            try:
                self._start()
            except Exception as error:
                tell(f"cannot start, trying offline: {first_line(error)}")
                try:
                    wandb.teardown()  # its service holds on to the id of the run that did not start
                    self._start(offline=True)
                except Exception as offline_error:
                    self._stop(offline_error)
        return self._experiment

    def _start(self, offline: bool = False) -> None:
        if os.environ.get("WANDB_MODE") == "disabled":
            return self._disable()
        folder = Path(self.save_dir or ".").absolute() / "wandb"
        for part in ("data", "cache"):
            os.environ[f"WANDB_{part.upper()}_DIR"] = str(folder / part)
            (folder / part).mkdir(parents=True, exist_ok=True)
        mode = "offline" if offline else choose_mode()  # W&B writes to its folders when it is asked for a key
        id_file = folder / "run_id.txt"
        if not id_file.exists():
            write_text(id_file, secrets.token_hex(4))
        self._wandb_init.update(id=id_file.read_text(), mode=mode)
        run = super().experiment  # Lightning makes trainer/global_step the axis of all that is logged
        run.define_metric("val/loss", step_metric="trainer/global_step", summary="min,last")
        if mode == "offline":
            reason = "WANDB_MODE" if os.environ.get("WANDB_MODE") else "no key or no connection"
            tell(f"offline ({reason}); to send it later: wandb sync {run.settings.sync_dir}")
        else:
            tell(run.url)

    def _stop(self, error: Exception) -> None:
        if not self.stopped:
            tell(f"stopped, the run goes on without it: {first_line(error)}")
        self.stopped = True
        self._disable()

    def _disable(self) -> None:
        self._experiment = wandb.init(mode="disabled", settings=wandb.Settings(silent=True))

    @contextmanager
    def survived(self) -> Iterator[None]:
        """What fails in the block switches W&B off, and the run goes on."""
        try:
            yield
        except Exception as error:
            self._stop(error)

    @property
    def records(self) -> bool:
        """Whether anything is recorded, on rank 0, online or offline: nothing is after an error, or when disabled."""
        return getattr(rank_zero_only, "rank", 0) == 0 and not self.experiment.disabled

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, and the media that log_table and log_image pass on to this method."""
        with self.survived():
            super().log_metrics(metrics, step)

    @rank_zero_only
    def log_table(self, *args: Any, **kwargs: Any) -> None:
        """Log a table: its media are copied before log_metrics is called."""
        with self.survived():
            super().log_table(*args, **kwargs)

    @rank_zero_only
    def log_image(self, *args: Any, **kwargs: Any) -> None:
        """Log images: they are read before log_metrics is called."""
        with self.survived():
            super().log_image(*args, **kwargs)

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """Have W&B tell the owner of the run, who may not look at the terminal."""
        with self.survived():
            self.experiment.alert(title=title, text=text)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log the configuration."""
        with self.survived():
            super().log_hyperparams(params)

    @rank_zero_only
    def log_export(self, folder: Path, kind: str, metadata: Mapping[str, Any]) -> None:
        """Log the files of an export as an artifact of its name, with its digest as alias and in the metadata.

        Files above SMALL bytes are logged by reference: W&B notes where they are, and their checksum.

        Args:
            folder: the export.
            kind: the type of the artifact, "model" or "dataset".
            metadata: the note of where the export comes from.
        """
        if not self.records:
            return
        with self.survived():
            digest = path_digest(folder)
            artifact = wandb.Artifact(folder.name, type=kind, metadata={"digest": digest, **metadata})
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                if path.stat().st_size <= SMALL:
                    artifact.add_file(str(path))
                else:
                    artifact.add_reference(path.absolute().as_uri())
            self.experiment.log_artifact(artifact, aliases=[digest])

    @rank_zero_only
    def use_exports(self, exports: Mapping[str, Mapping[str, Any]]) -> None:
        """Draw lines from the artifacts of exports (`callbacks.lineage.made_from`) to this run in W&B's graph.

        Only online: W&B has no such thing offline, and the configuration has names and digests either way.
        """
        if not self.records or self.experiment.offline:
            return
        for path, export in exports.items():
            try:
                self.experiment.use_artifact(f"{Path(path).name}:{export['digest']}")
            except Exception as error:  # made elsewhere, offline, or before artifacts were logged
                tell(f"no artifact of {path} to draw a line from: {first_line(error)}")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the W&B run, so that the next run of this process does not log into it."""
        with self.survived():
            super().finalize(status)
        if self._experiment is not None:
            with suppress(Exception):
                self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None
        if self.stopped:  # otherwise W&B does so when Python exits, and shows the same error again
            with suppress(Exception):
                wandb.teardown()


def tell(text: str) -> None:
    """One line on stderr."""
    print(f"W&B: {text}", file=sys.stderr)


def first_line(error: Exception) -> str:
    """The first line of W&B's long message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def choose_mode() -> str:
    """The mode of WANDB_MODE where it is set; otherwise `online` with a key and `offline` without one."""
    mode = os.environ.get("WANDB_MODE", "online").replace("dryrun", "offline")
    if mode != "online":
        return mode
    host = wandb.setup().settings.base_url
    found = wbauth.authenticate_session(host=host, source="earshot", prompt=False, update_session=False)
    return "online" if found else "offline"
