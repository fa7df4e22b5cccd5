"""CLAP-Refine: of several candidates, the caption that CLAP puts nearest to the audio (Chen et al., 2024, SLAM-AAC).

Paper: arXiv 2410.09503. Its text was not available to us; what is here follows the authors' code (SLAM-LLM,
examples/slam_aac: scripts/inference_*_CLAP_Refine.sh, utils/clap_refine.py), which takes the best caption of beam
searches of 2 to 8 beams and keeps the one with the highest product of normalised embeddings.
"""

from collections.abc import Callable
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn

from earshot.digests import model_name, trained_on
from earshot.errors import InputError
from lightning_modules.contracts import Matcher, Media, ReadyClips, Sampling
from lightning_modules.decoding.contracts import OwnClap


class ClapRefine(nn.Module):
    """Gathers candidates of any captioner and ranks them by their cosine with the audio (`decoding.contracts.Refine`).

    Args:
        clap: embeds audio and captions. None takes the one that a stage has itself, such as WSAC's CLAP or guidance's
            matcher, and nothing is loaded for it.
        beams: widths of the beam searches; the authors' 2 to 8. 1 is the caption that the stage makes without this.
        per_search: how many captions of each search count, the best first; the authors' 1.
        samples: how many sampled captions count beside them; the authors' none.
        temperature: of the samples. It, `top_p` and `seed` have no source, as the authors do not sample.
        top_p: samples among the likeliest tokens that together have this probability.
        seed: of the samples; a clip's depend on this, its id and their number, not on the other clips of its batch.

    Raises:
        InputError: values that make no sense, or no candidates.
    """

    what = "Candidates, the nearest taken (CLAP's cosine similarity with the audio)"

    def __init__(
        self,
        clap: Matcher | None = None,
        beams: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8),
        per_search: int = 1,
        samples: int = 0,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        beams = tuple(beams)
        if min((per_search, *beams)) < 1 or samples < 0 or not temperature > 0 or not 0 < top_p <= 1:
            raise InputError(
                "expected beams and per_search of at least 1, samples of at least 0, a temperature above 0 and top_p "
                f"in (0, 1], found {list(beams)}, {per_search}, {samples}, {temperature} and {top_p}; correct "
                "model.refine"
            )
        if not beams and not samples:
            raise InputError("expected candidates to choose among, found no beams and no samples; set model.refine")
        self.beams, self.per_search, self.samples = beams, per_search, samples
        self.sampling = Sampling(temperature, top_p, seed)
        self._clap = None if clap is None else (clap.eval().requires_grad_(False),)  # in no checkpoint

    @property
    def clap(self) -> Matcher | None:
        """The CLAP of its own."""
        return self._clap[0] if self._clap else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        if self.clap is not None:  # it follows to a device, as no submodule
            self.clap._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def require_clap(self) -> Self:
        """Check that there is one of its own.

        Raises:
            InputError: there is none, and the stage that asks has none either.
        """
        if self.clap is None:
            raise InputError(
                "expected a CLAP that chooses among the candidates, as this stage has none, found none; set "
                "model.refine.init_args.clap, as configs/refine/clap.yaml does"
            )
        return self

    @torch.no_grad()
    def forward(self, clips: ReadyClips, media: Media, own: OwnClap | None = None) -> list[list[tuple[str, float]]]:
        """The distinct candidates of each of B clips with their cosines, the nearest first.

        All texts are embedded in one call, each once, and the audio once.

        Args:
            clips: make the candidates.
            media: the same clips, with their audio.
            own: the stage's CLAP for texts, and its embeddings of the audio (B, D); taken where there is no other.
        """
        proposed = self.proposed(clips)
        if self.clap is not None:
            waveforms, num_samples = media.also or (media.waveforms, media.num_samples)
            assert waveforms is not None and num_samples is not None  # the stage's clip_format asked for them
            with torch.autocast(waveforms.device.type, enabled=False):
                own = self.clap.embed_text, self.clap.embed_audio(waveforms, num_samples)
        assert own is not None, "call require_clap() first"
        match, audio = own
        texts = list(dict.fromkeys(chain.from_iterable(proposed)))
        with torch.autocast(audio.device.type, enabled=False):  # half precision makes ties of near captions
            cosines = (audio.float() @ match(texts).float().T).tolist()  # (B, texts)
        column = {text: place for place, text in enumerate(texts)}
        scored = [[(text, row[column[text]]) for text in some] for some, row in zip(proposed, cosines)]
        return [sorted(some, key=lambda pair: -pair[1]) for some in scored]

    def proposed(self, clips: ReadyClips) -> list[list[str]]:
        """The distinct candidates of each of B clips: by beam search, from narrow to wide, and then the samples."""
        found: list[list[list[str]]] = []  # by source, by clip
        for width in self.beams:
            found.append([[text for text, _ in best[: self.per_search]] for best in clips.beams(width)])
        if self.samples:
            found.append(clips.samples(self.samples, self.sampling))
        return [list(dict.fromkeys(chain.from_iterable(of_clip))) for of_clip in zip(*found)]

    def made_by(self, own: Matcher | None = None) -> dict[str, Any]:
        """What decides the choice, as JSON, for `datamodules.contracts.CaptioningStage`; `own` is the stage's CLAP."""
        clap = self.clap or own
        settings = {"beams": self.beams, "per_search": self.per_search, "samples": self.samples}
        if self.samples:
            settings |= vars(self.sampling)
        data = dict.fromkeys([*trained_on(own), *trained_on(self.clap)])
        return {"refine": settings, "chosen_by": clap and model_name(clap), "trained_on": list(data)}
