"""Captions of test and predict: gathered from all ranks, written batch by batch, scored once."""

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO, TypeGuard

import lightning as L
import torch.distributed
from lightning.pytorch.loggers import WandbLogger
from rich import get_console

from callbacks import wandb_logger
from callbacks.clip_table import log_clips, media_of_test
from callbacks.explanations import write_explanations
from callbacks.made_by import made_by
from callbacks.rank_sums import sum_of_ranks
from datamodules.clips import CaptionRows, ClipFormat
from datamodules.contracts import AudioTextModel, CountedTest, TestClips
from earshot.digests import model_name
from earshot.errors import InputError
from evaluation.caption_metrics import SentenceMetric
from evaluation.captions_file import COLUMNS, FILE_NAME, Clip, clips_of, rows_of, write_captions, write_submission
from evaluation.metric import NotComputed
from evaluation.references import not_scored
from evaluation.scores import Scores, captions_table, lacking, score_rows
from evaluation.text_audio import text_audio_similarity
from evaluation.word_scores import read_vocabulary
from reports.clip_pages.media import MediaBytes
from reports.clip_pages.of_run import CLIPS, write_report
from reports.clip_pages.sample import chosen

References = Literal["all", "first", "last"]
KEPT: dict[References, slice] = {"all": slice(None), "first": slice(1), "last": slice(-1, None)}
PARTIAL = "CLAP similarity is by the very CLAP that chose the captions among candidates, and favours them"
GROWING = "captions.unfinished.csv"  # of a run that was killed, a part that passes for no whole


class CaptionEvaluation(L.Callback):
    """Writes and scores the `CaptionRows` that `test_step` and `predict_step` return.

    captions.unfinished.csv in the run folder grows with every batch, so that a killed run loses little, and becomes
    captions.csv when all are there. At the end of test, rank 0 scores the captions of all ranks together, each clip
    once; clips without references keep their captions, are named, and count in no score. The scores go to the terminal,
    to scores.json and to the loggers (as test/cider_d ...), the captions to a W&B table as well, a sample of the clips
    to another. What the stage itself logged as `test/<name>`, such as metric A of audibility guidance, stands in
    scores.json beside them.
    Every rank must run the same number of batches; a filler batch returns empty lists. Steps that return anything else
    are ignored.

    Args:
        vocabulary: JSON file of event words and visual words (`evaluation.word_scores`); adds the scores by words.
        java: False leaves out METEOR, SPICE, SPIDEr and the PTB tokenizer even where Java is installed.
        shown: how many captions the terminal shows.
        models: metrics that need a model, such as FENSE's two (configs/metrics/fense.yaml).
        clap: embeds audio and text; adds how near each caption is to its audio, which is read once more from the test
            split, in the model's own format (configs/metrics/clap_similarity.yaml).
        submission: also write submission.csv, the captions as DCASE takes them.
        references: which of a clip's references are written and count: all, or one, the first or the last.
        report_clips: how many clips of report.html, the page of the test, have sound and image; None writes no page.
        wandb_clips: how many clips of the same sample go to W&B's table `test/clips`, with sound and image.
    """

    def __init__(
        self,
        vocabulary: Path | None = None,
        java: bool = True,
        shown: int = 5,
        models: Sequence[SentenceMetric] = (),
        clap: AudioTextModel | None = None,
        submission: bool = False,
        references: References = "all",
        report_clips: int | None = CLIPS,
        wandb_clips: int = 50,
    ) -> None:
        self.report_clips = report_clips
        self.wandb_clips = wandb_clips
        self.models = models
        self.clap = clap
        self.submission = submission
        self.vocabulary = None if vocabulary is None else read_vocabulary(vocabulary)
        self.java = java
        self.shown = shown
        self.kept = KEPT[references]
        self.clips: dict[str, Clip] = {}  # by id; on rank 0
        self.earlier: list[Clip] = []  # of an interrupted predict that this one goes on with
        self.file: TextIO | None = None
        self.headline = ""  # the score that matters, once there is one

    def _collect(self, trainer: L.Trainer, pl_module: Any, outputs: Any, *args: Any, **kwargs: Any) -> None:
        """Append the captions of a batch of all ranks to the file."""
        if not are_captions(outputs):
            return
        kept = {key: value for key, value in outputs.items() if key in CaptionRows.__required_keys__}  # no embeddings
        batches = gathered(trainer, kept)
        if not trainer.is_global_zero:
            return
        if self.file is None:
            self.clips = {}
            path = Path(trainer.default_root_dir, GROWING)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115 (open until the end)
            csv.writer(self.file).writerow(COLUMNS)
        for clip in (clip for rows in batches for clip in clips_of(rows)):
            if clip.clip_id not in self.clips:  # a sampler may repeat clips to give all ranks as many
                clip = clip._replace(references=clip.references[self.kept])
                self.clips[clip.clip_id] = clip
                csv.writer(self.file).writerow([*clip.cells(), ""])
        self.file.flush()

    on_test_batch_end = on_predict_batch_end = _collect

    def _close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None

    def _sort(self) -> None:
        """By id: the order of the batches depends on the number of ranks and workers."""
        self.clips = dict(sorted(self.clips.items()))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Score once, on rank 0. No rank waits for it: Java may outlast NCCL's patience."""
        expected = num_clips(trainer)
        if self.file is None:  # not rank 0, or no captions
            return
        self._close()
        self._sort()
        if expected is not None and len(self.clips) != expected:
            raise InputError(
                f"expected captions of {expected} clips, as the index of the test split promises without those that "
                f"could not be read, found {len(self.clips)} ids; pack the split again, each clip with an id of its own"
            )
        folder = Path(trainer.default_root_dir)
        (folder / GROWING).replace(folder / FILE_NAME)
        rows = rows_of(list(self.clips.values()))
        similarity = None if self.clap is None else partial(self._similarity, trainer)
        scores = score_rows(rows, folder, self.vocabulary, self.java, self.models, similarity)
        if self.clap is not None:
            scores.models["clap_sim"] = model_name(self.clap)
        numbers = {f"test/{name}": value for name, value in scores.values.items() if value is not None}
        for name, value in trainer.callback_metrics.items():  # over all clips of all ranks
            if name.startswith("test/"):
                scores.values[name.removeprefix("test/")] = float(value)
        cider_d = scores.cider_d
        write_captions(folder / FILE_NAME, rows, cider_d)
        self._submit(folder, rows)
        origin = made_by(trainer, pl_module, rows["clip_ids"])
        chosen_by, judge = origin["captions"].get("chosen_by"), scores.models.get("clap_sim")
        if chosen_by is not None and chosen_by == judge:
            origin["warning"] = "; ".join([*filter(None, [origin.get("warning")]), PARTIAL])
        scores_file = scores.write(folder / FILE_NAME, origin)
        for logger in trainer.loggers:
            logger.log_metrics({**numbers, "test/num_clips": scores.num_clips}, step=trainer.global_step)
            logger.save()
            if isinstance(logger, WandbLogger):
                data = [[*clip.cells(), score] for clip, score in zip(self.clips.values(), cider_d)]
                logger.log_table("test/captions", columns=list(COLUMNS), data=data, step=trainer.global_step)
        self.headline = scores.headline()
        console = get_console()  # that of the progress bar, which stays below
        console.print(captions_table(rows, self.shown, cider_d))
        console.print(scores.table("scores"))
        for line in lacking(scores.not_computed):
            console.print(line, soft_wrap=True, markup=False)
        if scores.without_references:
            console.print(not_scored(scores.without_references, scores.num_clips), soft_wrap=True, markup=False)
        if "warning" in origin:
            console.print(f"warning: {origin['warning']}", soft_wrap=True, markup=False)
        console.print(f"written to {folder / FILE_NAME} and {scores_file}", soft_wrap=True, markup=False)
        media = self._show(trainer, scores, origin)
        if self.report_clips is not None:
            if (missing := write_explanations(trainer, pl_module, rows, cider_d, self.report_clips)) is not None:
                console.print(missing, soft_wrap=True, markup=False)
            console.print(report_line(folder / FILE_NAME, self.report_clips, media), soft_wrap=True, markup=False)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show where the captions are, and the first few of them."""
        if self.file is not None:
            self._close()
            self.clips |= {clip.clip_id: clip for clip in self.earlier}
            self._sort()
            console = get_console()
            rows = rows_of(list(self.clips.values()))
            path = Path(trainer.default_root_dir, FILE_NAME)
            path.with_name(GROWING).replace(path)
            write_captions(path, rows)
            self._submit(path.parent, rows)
            console.print(captions_table(rows, self.shown))
            number = f"{len(self.clips)} caption{'s' * (len(self.clips) != 1)}"
            console.print(f"{number} in {path}", soft_wrap=True, markup=False)

    def _show(self, trainer: L.Trainer, scores: Scores, origin: dict[str, Any]) -> dict[str, MediaBytes] | None:
        """Read the sound and the frame of a sample of clips once, for the report and for W&B, which gets its table."""
        loggers = [each for each in trainer.loggers if isinstance(each, wandb_logger.WandbLogger) and each.records]
        wanted = chosen(scores.cider_d, max(self.report_clips or 0, self.wandb_clips if loggers else 0))
        media = media_of_test(origin, [scores.rows["clip_ids"][place] for place in wanted]) if wanted else None
        for logger in loggers:
            logger.log_hyperparams({"made_by": origin})
            if self.wandb_clips:
                log_clips(logger, scores, wanted[: self.wandb_clips], media or {}, trainer.global_step)
        return media

    def _similarity(self, trainer: L.Trainer, captions: Mapping[str, str]) -> dict[str, float]:
        """The cosine of each caption and its audio, by clip id; on rank 0 alone, as the audio is read anew."""
        assert self.clap is not None
        data, clap = vars(trainer).get("datamodule"), self.clap
        if not isinstance(data, TestClips):
            raise NotComputed("the datamodule has no `test_clips`, as that of packed splits has")
        batches = data.test_clips(captions, ClipFormat(clap.sampling_rate, clap.max_seconds))
        try:
            return text_audio_similarity(clap, batches, captions, trainer.strategy.root_device)
        except InputError as error:
            raise NotComputed(str(error)) from None

    def _submit(self, folder: Path, rows: CaptionRows) -> None:
        if self.submission:
            write_submission(folder / "submission.csv", rows)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the file; the captions so far are in it."""
        self._close()


def num_clips(trainer: L.Trainer) -> int | None:
    """How many clips a test has captions of, over all ranks, which call this together; None where that is not known."""
    data = vars(trainer).get("datamodule")
    limited = isinstance(trainer.limit_test_batches, int) or trainer.limit_test_batches < 1  # 1 is one batch, 1.0 all
    if limited or not isinstance(data, CountedTest):
        return None
    return data.num_test_clips() - round(sum_of_ranks(trainer, data.num_broken_test_clips()))


def report_line(captions: Path, clips: int, media: dict[str, MediaBytes] | None) -> str:
    """Write the page of a test and say where it is; the scores are there already, and no fault here takes them away."""
    try:
        return f"report: {write_report(captions, clips, media=media)}"
    except Exception as error:
        return f"warning: no report was written ({error}); try: python -m reports html {captions.parent}"


def gathered(trainer: L.Trainer, outputs: object) -> list[Any]:
    """The outputs of every rank, on rank 0, and only None elsewhere; all ranks must call this together."""
    if trainer.world_size == 1:
        return [outputs]
    batches: list[Any] = [None] * trainer.world_size
    torch.distributed.gather_object(outputs, batches if trainer.is_global_zero else None, dst=0)
    return batches


def are_captions(outputs: object) -> TypeGuard[CaptionRows]:
    """Whether a step returned `CaptionRows`."""
    return isinstance(outputs, dict) and CaptionRows.__required_keys__ <= outputs.keys()
