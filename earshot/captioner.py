"""Captions of anybody's sounds from Python, by any export or configuration that captions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml

from datamodules.clip_reader import Clip, collate
from datamodules.clips import ClipBatch, ClipFormat, Explanation
from datamodules.contracts import (
    AudioEmbedder,
    CaptioningStage,
    ExplainingStage,
    ExportingStage,
    RankingStage,
    expect,
)
from datamodules.media import Audio, MediaError
from datamodules.media_clips import Part, Unusable, as_taken, list_media, read_beginning, read_windows
from earshot.errors import InputError, command_that_makes
from earshot.paths import config_file, located
from earshot.settings import read_settings
from earshot.stage import find_stage, load_export, parse_stage

SHIPPED = "assets/miniature/"


@dataclass(frozen=True)
class Caption:
    """A caption of a file or of a part of it.

    Attributes:
        file: name of the file.
        start: in seconds.
        end: in seconds.
        caption: the best of `candidates`, where there are several; empty where there is an `error`.
        cut: whether the file goes on after `end` and the rest was not read.
        candidates: captions and their scores, the best first; empty where none were asked for.
        error: why there is no caption.
        explanation: how it came about, where that was asked for and the captioner knows it.
    """

    file: str
    start: float = 0.0
    end: float = 0.0
    caption: str = ""
    cut: bool = False
    candidates: tuple[tuple[str, float], ...] = ()
    error: str = ""
    explanation: Explanation = field(default_factory=Explanation)


class Captioner:
    """Captions audio and video files, and waveforms.

    Args:
        stage: a stage that captions, ready to do so.
        name: where it comes from, for messages.
        miniature: whether it knows only the synthetic sounds of the miniature.
    """

    def __init__(self, stage: Any, name: str, miniature: bool = False) -> None:
        expect(CaptioningStage, stage, "the captioner")
        self.stage = stage.eval()
        self.name = name
        self.miniature = miniature

    @classmethod
    def from_pretrained(cls, name: str | Path, overlays: Sequence[str | Path] = (), device: str | None = None) -> Self:
        """Load a captioner.

        Args:
            name: an export, as a folder or by its run_name (`dali_ot` is exports/dali_ot), or a configuration of a
                method that needs no training, such as `keywords`.
            overlays: configurations whose settings of the model come on top, such as `strategy/nearest_neighbour`.
            device: such as "cuda:1"; by default a GPU where there is one.

        Raises:
            InputError: there is no such captioner, or something that it needs is missing.
        """
        path, folder = find_stage(name)
        settings = [read_settings(file) for file in (path, *(config_file(str(each)) for each in overlays))]
        if "model" not in settings[0]:
            raise InputError(f"expected the configuration of a stage that captions, found none in {path}; name another")
        models = [located(each["model"], folder and folder.parent.parent) for each in settings if "model" in each]
        stage = parse_stage(models, str(folder or path))
        if folder is None and isinstance(stage, ExportingStage):
            command = command_that_makes(settings[0].get("run_name", path.stem))
            raise InputError(f"expected an export of {path}, found none; run: {command}, or name another captioner")
        stage.setup("predict")
        if folder is not None and isinstance(stage, ExportingStage):
            load_export(stage, folder)
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            stage.to(device)
        except (RuntimeError, AssertionError) as error:  # no such device, or one that is full
            reason = str(error).splitlines()[0]
            raise InputError(f"expected the device {device}, found: {reason}; name another") from error
        return cls(stage, str(folder or name), any(SHIPPED in yaml.safe_dump(model) for model in models))

    @property
    def clip_format(self) -> ClipFormat:
        """What is read of every clip."""
        wanted: ClipFormat = self.stage.clip_format("predict")
        return wanted

    @property
    def ranks(self) -> bool:
        """Whether it finds several captions of a clip and ranks them."""
        return isinstance(self.stage, RankingStage)

    def __call__(
        self, audio: str | Path | np.ndarray | Sequence[str | Path | np.ndarray], sampling_rate: int | None = None
    ) -> Any:
        """The caption of a file or waveform, or a list of captions of several.

        Args:
            audio: a path, or a waveform in -1 to 1 or of 16-bit integers, (T,) or (channels, T), or a list of these.
                Of a file longer than the captioner's longest clip, the beginning is captioned.
            sampling_rate: of the waveforms, in Hz.

        Raises:
            InputError: audio that cannot be read, or a waveform of another form or without a sampling rate.
        """
        batch = self._batch(audio, sampling_rate)
        captions = self._captions(batch)
        return captions if isinstance(audio, list | tuple) else captions[0]

    def embed(
        self, audio: str | Path | np.ndarray | Sequence[str | Path | np.ndarray], sampling_rate: int | None = None
    ) -> Any:
        """Embeddings (B, D) of the audio, or DALI's audio tokens (B, N, D), as a tensor; arguments as above.

        Raises:
            InputError: see above, or the captioner does not embed audio.
        """
        embedder = expect(AudioEmbedder, self.stage, "the captioner")
        with torch.inference_mode():
            return embedder.embed(self._on_device(self._batch(audio, sampling_rate)))

    def caption_files(
        self, paths: Sequence[str | Path], window: float | None = None, candidates: int = 1, batch_size: int = 8
    ) -> Iterator[Caption]:
        """Captions of files and folders as they come, in order; a file that cannot be read gives one with an error.

        Args:
            paths: media files, and folders, whose subfolders are read, too.
            window: caption longer files in parts of so many seconds; None captions their beginning.
            candidates: captions of each part, with scores.
            batch_size: parts that are captioned at once.

        Raises:
            InputError: no such file, a window longer than the captioner's longest clip, or no candidates to be had.
        """
        files, _ = list_media([Path(path) for path in paths])
        yield from self.caption_listed(files, window, candidates, batch_size)

    def caption_listed(
        self,
        files: Mapping[str, Path],
        window: float | None = None,
        candidates: int = 1,
        batch_size: int = 8,
        explain: bool = False,
    ) -> Iterator[Caption]:
        """`caption_files` of files by name, as `datamodules.media_clips.list_media` gives them; with `explain` each
        caption says what guided it."""
        longest = self.clip_format.max_seconds
        if window is not None and not 0 < window <= (longest or np.finfo(np.float32).max):
            limit = f" and of at most {longest:g} s, the longest clip of {self.name}" if longest else ""
            raise InputError(f"expected a window above 0{limit}, found {window:g} s; correct it")
        if candidates > 1 and not self.ranks:
            raise InputError(
                f"expected one caption of each, as {type(self.stage).__name__} finds no others, found {candidates} "
                "candidates; ask for one, or take a captioner that is trained"
            )
        waiting: list[Caption | Part] = []
        for each in chain.from_iterable(self._read(name, path, window) for name, path in files.items()):
            waiting.append(each)
            if sum(isinstance(one, Part) for one in waiting) >= batch_size:
                yield from self._finish(waiting, batch_size, candidates, explain)
        while waiting:
            yield from self._finish(waiting, batch_size, candidates, explain)

    def _read(self, name: str, path: Path, window: float | None) -> Iterator[Part | Caption]:
        try:
            if window is None or self.clip_format.sampling_rate is None:
                yield read_beginning(name, path, self.clip_format)
                return
            for part in read_windows(name, path, self.clip_format, window):
                if isinstance(part, Unusable):
                    yield Caption(name, part.start, part.end, error=f"{part.error.reason}: {part.error}")
                else:
                    yield part
        except (MediaError, OSError) as error:
            reason = error.reason if isinstance(error, MediaError) else "broken"
            yield Caption(name, error=f"{reason}: {error}")

    def _finish(
        self, waiting: list[Caption | Part], batch_size: int, candidates: int, explain: bool
    ) -> Iterator[Caption]:
        """Caption the first parts of those that wait, and take them off."""
        count = parts = 0
        while count < len(waiting) and parts < batch_size:
            parts += isinstance(waiting[count], Part)
            count += 1
        taken = waiting[:count]
        del waiting[:count]
        clips = [each.clip for each in taken if isinstance(each, Part)]
        ranked_clips = self._ranked(clips, candidates) if clips else []
        captions = iter(ranked_clips)
        explanations = iter(self._explanations(clips, [ranked[0][0] for ranked in ranked_clips], explain))
        for each in taken:
            if isinstance(each, Part):
                ranked = next(captions)
                shown = tuple(ranked) if candidates > 1 else ()
                each = Caption(
                    each.clip.clip_id, each.start, each.end, ranked[0][0], each.cut, shown,
                    explanation=next(explanations),
                )  # fmt: skip
            yield each

    def _ranked(self, clips: list[Clip], candidates: int) -> list[list[tuple[str, float]]]:
        batch = collate(clips)
        if candidates == 1:
            return [[(caption, 0.0)] for caption in self._captions(batch)]
        with torch.inference_mode():
            ranked: list[list[tuple[str, float]]] = self.stage.candidates(self._on_device(batch), candidates)
        return ranked

    def _explanations(self, clips: list[Clip], captions: list[str], explain: bool) -> list[Explanation]:
        if not (explain and clips and isinstance(self.stage, ExplainingStage)):
            return [{} for _ in clips]
        with torch.inference_mode():
            return self.stage.explain(self._on_device(collate(clips)), captions)

    def _captions(self, batch: ClipBatch) -> list[str]:
        with torch.inference_mode():
            captions: list[str] = self.stage.predict_step(self._on_device(batch), 0)["captions"]
        return captions

    def _on_device(self, batch: ClipBatch) -> ClipBatch:
        moved: ClipBatch = self.stage.transfer_batch_to_device(batch, self.stage.device, 0)
        return moved

    def _batch(self, audio: Any, sampling_rate: int | None) -> ClipBatch:
        items = audio if isinstance(audio, list | tuple) else [audio]
        return collate([self._clip(item, str(number), sampling_rate) for number, item in enumerate(items)])

    def _clip(self, item: str | Path | np.ndarray, name: str, sampling_rate: int | None) -> Clip:
        wanted = self.clip_format
        if not isinstance(item, str | Path | np.ndarray):
            raise InputError(f"expected paths or NumPy arrays, found a {type(item).__name__}; convert it")
        try:
            if not isinstance(item, np.ndarray):
                return read_beginning(str(item), Path(item), wanted).clip
            if sampling_rate is None or wanted.sampling_rate is None or wanted.image_size is not None:
                needs = "a video file, as it captions images" if wanted.image_size else "a sampling_rate"
                raise InputError(f"expected {needs}, found a waveform without; give one")
            flat = item.ndim == 1 or (item.ndim == 2 and len(item) <= item.shape[1])
            if not flat or not (item.dtype.kind == "f" or item.dtype == np.int16) or sampling_rate <= 0:
                raise InputError(
                    "expected a waveform (T,) or (channels, T) of floats or 16-bit integers and a sampling_rate above "
                    f"0, found {item.dtype} {item.shape} at {sampling_rate} Hz; convert it, or transpose it by .T"
                )
            waveform = np.atleast_2d(item).astype(np.float32).mean(0) / (32768 if item.dtype == np.int16 else 1)
            if wanted.max_seconds is not None:
                waveform = waveform[: int(np.ceil(wanted.max_seconds * sampling_rate))]
            Audio(waveform, sampling_rate, 0.0).require_usable()
            own, also = (each and as_taken(waveform, sampling_rate, each) for each in wanted.audio)
            return Clip(name, own, None, [], [], also)
        except (MediaError, OSError) as error:
            what = "a waveform" if isinstance(item, np.ndarray) else str(item)
            raise InputError(f"expected audio that can be read in {what}, found: {error}; give another") from error
