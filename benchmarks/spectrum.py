"""python -m benchmarks.spectrum: how much of CLAP's space texts and audio share, and the gap that COMET leaves by rank.

The axes come from the pairs of one corpus, by PLS-SVD (`lightning_modules.strategies.paired_axes`); the gap is measured
on those of another: the mean distance of a caption's embedding to its clip's, and the distance of the means, as they
are and as `CometText` and `CometAudio` change them. A figure of the singular values and the gap goes beside the page.
"""

import argparse
import contextlib
import hashlib
import io
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from datamodules.clip_loader import EvalLoader
from datamodules.clips import Captions, ClipFormat
from datamodules.kept_clips import shards_with
from datamodules.shards import read_index, records
from earshot.drawing import AUDIO, OTHER, TEXT, drawn
from earshot.errors import InputError, one_line_errors
from lightning_modules.contracts import Embedded
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.strategies.comet import CometAudio, CometText
from lightning_modules.strategies.paired_axes import paired, pls_svd
from reports.page import add_page, write_page
from reports.table import at_least


@dataclass
class Pairs:
    """Packed splits with pairs, read without a trainer; a `datamodules.contracts.CaptionSource`."""

    root: Path
    clip_format: ClipFormat
    train: str | None = None
    val: str | None = None
    read: dict[str, Captions] = field(default_factory=dict)

    def captions_of(self, split: str) -> Captions:
        """All captions of a split."""
        if split not in self.read:
            table = {record["id"]: record["captions"] for record in records(read_index(self.root / split))}
            rows = [(text, clip_id) for clip_id, texts in table.items() for text in texts]
            if not rows:
                raise InputError(f"expected captions in {split}, found none; name another split")
            self.read[split] = Captions([text for text, _ in rows], [clip_id for _, clip_id in rows])
        return self.read[split]

    def clips_of(self, split: str, clip_ids: Collection[str] | None = None) -> EvalLoader:
        """All clips of a split, or those of these ids."""
        shards = read_index(self.root / split)
        return EvalLoader(shards if clip_ids is None else shards_with(shards, clip_ids), self.clip_format, 64)

    def audio_digest(self, split: str) -> str:
        """A digest of the ids and the audio."""
        digest = hashlib.sha256()
        for record in records(read_index(self.root / split)):
            digest.update(f"{record['id']} {record['crc32']}\n".encode())
        return digest.hexdigest()


def load(path: str, tokenizer: str) -> ClapEncoder:
    """A CLAP from a folder, a hub id, or a file of WavCaps' authors."""
    if Path(path).is_file():
        return ClapEncoder.from_checkpoint(path, tokenizer=tokenizer).eval()
    return ClapEncoder.from_pretrained(path).eval()


def gap(text: Tensor, audio: Tensor) -> tuple[float, float]:
    """The mean distance of pairs (N, D), and the distance of their means."""
    return (text - audio).norm(dim=1).mean().item(), (text.mean(0) - audio.mean(0)).norm().item()


def measure(
    text: Embedded, audio: Embedded, held_out: tuple[Tensor, Tensor], ranks: Sequence[int]
) -> list[dict[str, float]]:
    """For each rank, 0 for embeddings as they are: what is left of the gap, and what a text loses."""
    texts, sounds = (side.float() for side in held_out)
    values = pls_svd(*paired(text, audio))[1]
    found = []
    for rank in ranks:
        moved = {"text": texts, "audio": sounds, "matched": sounds}
        if rank:
            with contextlib.redirect_stdout(io.StringIO()):
                for name, strategy, rows in (
                    ("text", CometText(rank), texts),
                    ("audio", CometAudio(rank), sounds),
                    ("matched", CometAudio(rank, match_scale=True), sounds),
                ):
                    strategy.prepare(lambda *_: text, lambda *_: audio)
                    moved[name] = strategy.eval()(rows)
        kept = (values[:rank].sum() / values.sum()).item() if rank else 1.0
        lost = (texts - moved["text"]).norm(dim=1).mean().item()
        distance, means = gap(moved["text"], moved["audio"])
        matched = gap(moved["text"], moved["matched"])[0]
        found.append(
            {"rank": rank, "kept": kept, "distance": distance, "matched": matched, "means": means, "lost": lost}
        )
    return found


def draw(path: Path, title: str, values: np.ndarray, found: Sequence[dict[str, float]], rank: int) -> None:
    """The singular values with the rank that is taken, and the gap by rank."""
    with drawn(path, title, 8.4, 3.2, columns=2) as axes:
        spectrum, left = axes[0]
        shown = values / values[0]
        spectrum.semilogy(np.arange(1, len(shown) + 1), shown, "-o", color=OTHER, markersize=3)
        spectrum.axvline(rank, color=TEXT, linestyle="--", label=f"rank {rank}")
        spectrum.set(xlabel="axis", ylabel="singular value, the first is 1", xscale="log", ylim=(1e-5, 2))
        spectrum.legend(loc="lower left")
        whole, *rows = found
        at = [row["rank"] for row in rows]
        for name, colour, label in (
            ("distance", AUDIO, "caption and audio"),
            ("matched", TEXT, "the same, scale matched"),
            ("lost", OTHER, "caption and truncated caption"),
        ):
            left.plot(at, [row[name] for row in rows], "-o", color=colour, markersize=3, label=label)
        left.axhline(whole["distance"], color=AUDIO, linestyle=":", label="caption and audio as they are")
        left.axvline(rank, color=TEXT, linestyle="--")
        left.set(xlabel="rank", ylabel="mean distance", xscale="log", ylim=(0, None))
        left.set_xticks(at, [str(each) for each in at])
        left.minorticks_off()
        left.legend(loc="best")


def main(args: Sequence[str] | None = None) -> None:
    """Measure, draw, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spectrum", description=main.__doc__)
    parser.add_argument("--root", type=Path, default=Path("data/miniature"), help="folder of splits (%(default)s)")
    parser.add_argument("--pairs", default="wavcaps/train", help="split that the axes come from (%(default)s)")
    parser.add_argument("--held-out", default="audiocaps/val", help="split that the gap is measured on (%(default)s)")
    parser.add_argument("--rank", type=at_least(1), default=10, help="the one that is marked (%(default)s)")
    parser.add_argument(
        "--clap", default="assets/miniature/clap", help="folder, hub id, or file of WavCaps' authors (%(default)s)"
    )
    parser.add_argument("--tokenizer", default="bert-base-uncased", help="of such a file (%(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("data/embeddings"), help="of embeddings (%(default)s)")
    add_page(parser, "runs/spectrum.md", "Markdown file; a CSV and the figure go beside it")
    args = list(sys.argv[1:] if args is None else args)
    with one_line_errors():
        options = parser.parse_args(args)
        options.command = ["python", "-m", "benchmarks.spectrum", *args]
        clap = load(options.clap, options.tokenizer)
        data = Pairs(options.root, ClipFormat(sampling_rate=clap.sampling_rate, max_seconds=clap.max_seconds))
        digests = {part: clap.fingerprint(part) for part in ("text", "audio")}
        store = EmbeddingStore(clap, digests, data, options.cache)
        text, audio = store.captions(options.pairs), store.audio(options.pairs)
        held_out = paired(store.captions(options.held_out), store.audio(options.held_out))
        most = min(text.embeddings.shape[1], len(text.clip_ids) - 1)
        ranks = sorted({each for each in (2**power for power in range(20)) if each <= most} | {min(options.rank, most)})
        found = measure(text, audio, held_out, [0, *ranks])
        values = pls_svd(*paired(text, audio))[1].numpy()
    figure = options.output.with_suffix(".png")
    (chosen,) = (row for row in found if row["rank"] == min(options.rank, most))
    title = (
        f"Axes that texts and audio share: {chosen['kept']:.0%} of the singular values on the first "
        f"{chosen['rank']} of {len(values)}\nN = {len(text.clip_ids)} pairs, gap on {len(held_out[0])} others"
    )
    draw(figure.with_suffix(""), title, values, found, chosen["rank"])
    lines = [
        {
            "rank": str(row["rank"]) if row["rank"] else "none",
            "singular values": f"{row['kept']:.1%}",
            "distance of pairs": f"{row['distance']:.3f}",
            "scale matched": f"{row['matched']:.3f}",
            "distance of means": f"{row['means']:.3f}",
            "text lost": f"{row['lost']:.3f}",
        }
        for row in found
    ]
    notes = [
        "rank none: the embeddings as they are, of norm 1",
        "singular values: share of their sum on the axes that are kept",
        "distance of pairs: mean distance of a caption's embedding to its clip's, both truncated; scale matched: audio "
        "by `match_scale`",
        "text lost: mean distance of a caption's embedding to its truncated one",
    ]
    measured = [
        f"axes from {len(text.clip_ids)} pairs of {options.pairs}, distances on {len(held_out[0])} pairs of "
        f"{options.held_out}; CLAP: {options.clap}",
        "nothing is drawn at random, so there is no interval",
    ]
    write_page(options, lines, {}, notes, measured, figure)


if __name__ == "__main__":
    main()
