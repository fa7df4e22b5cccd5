"""A sample of a corpus: the same clips always, and of them alone the audio is read."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import yaml
from conftest import MINIATURE, arguments
from safetensors.torch import load_file

from datamodules.clip_reader import ClipReader, collate
from datamodules.clips import Captions, ClipBatch, ClipFormat
from datamodules.shards import read_index, read_samples
from earshot.errors import InputError
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from train import main


def test_drawn_by_ids_whatever_the_order() -> None:
    captions = Captions([f"text {i}" for i in range(20)], [f"clip {i // 2}" for i in range(20)])
    few, more = captions.drawn(3), captions.drawn(4)
    assert len(few.texts) == 6 and set(few.clip_ids) < set(more.clip_ids)  # both captions of each clip
    assert all(captions.clip_ids[captions.texts.index(text)] == clip for text, clip in zip(few.texts, few.clip_ids))
    backwards = Captions(captions.texts[::-1], captions.clip_ids[::-1]).drawn(3)
    assert set(backwards.clip_ids) == set(few.clip_ids) and backwards.digest != captions.digest
    assert captions.drawn(None) is captions and captions.drawn(99).texts == captions.texts
    with pytest.raises(InputError, match="num_clips of at least 1, found 0"):
        captions.drawn(0)


def test_an_error_on_one_rank_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second rank's, while this one embeds; nothing is left of the file."""
    steps: list[object] = []

    def gather(ranks: list[object], own: object) -> None:
        steps.append(own)
        ranks[:] = [own, InputError("a broken clip") if len(steps) == 4 else own]

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    store = EmbeddingStore(None, {}, None, tmp_path / "cache", rank=0, world_size=2)  # type: ignore[arg-type]  # no data
    pieces = ((torch.tensor([row]), torch.zeros(1, 3)) for row in range(9))
    with pytest.raises(InputError, match="a broken clip"):
        store._write(tmp_path / "cache" / "x.f32", (9, 3), pieces)
    assert len(steps) == 4 and not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("own_node", [False, True])
def test_a_node_without_the_cache_ends_all(own_node: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing that ranks tell one another is whether each sees the file, which is gone after the first time."""
    told: list[object] = []

    def gather(ranks: list[object], own: object) -> None:
        told.append(own)
        gone = InputError("expected embeddings, found none on this node")
        ranks[:] = [own, gone if len(told) == 2 and not own_node else own]

    def cached(path: Path, shape: tuple[int, int]) -> torch.Tensor | None:
        return None if told and own_node else torch.zeros(shape)

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    monkeypatch.setattr("lightning_modules.embeddings.store.cached", cached)
    model = cast(ClapEncoder, SimpleNamespace(embedding_dim=3))
    store = EmbeddingStore(model, {"text": "a"}, None, tmp_path, rank=0, world_size=2)  # type: ignore[arg-type]  # no data
    with pytest.raises(InputError, match="none on this node"):
        store._cached("text", "b", 4, lambda: iter(()))
    assert len(told) == 2


def test_clips_without_captions_are_passed_over(tmp_path: Path) -> None:
    """A batch that has no other is not embedded; `captions_of` knows none of theirs."""
    embedded: list[int] = []
    batches = [
        ClipBatch(ids, torch.ones(len(ids), 4), torch.full((len(ids),), 4), None, [[]] * len(ids), [[]] * len(ids))
        for ids in (["a", "x"], ["y"])
    ]

    class Data:
        def captions_of(self, split: str) -> Captions:
            return Captions(["rain"], ["a"])

        def clips_of(self, split: str, clip_ids: object) -> list[ClipBatch]:
            return batches

        def audio_digest(self, split: str) -> str:
            return "0"

    class Model(torch.nn.Linear):
        embedding_dim = 3

        def embed_audio(self, waveforms: torch.Tensor, num_samples: torch.Tensor) -> torch.Tensor:
            embedded.append(len(waveforms))
            return waveforms[:, :3]

    store = EmbeddingStore(Model(1, 1), {"audio": "a"}, Data(), tmp_path)  # type: ignore[arg-type]  # parts of both
    assert store.audio("any").embeddings.tolist() == [[1.0, 1.0, 1.0]]
    assert embedded == [2]


def test_embedding_shift_from_a_sample(in_tmp_path: Path, world_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eq. 2 over five pairs, computed here from the audio and the captions of the same five clips."""
    split, shift = "audiocaps/train", "lightning_modules.strategies.embedding_shift.EmbeddingShift"
    strategy = {"class_path": shift, "init_args": {"split": split, "num_clips": 5}}
    overlay = {"model": {"init_args": {"training_strategies": [strategy]}}}
    Path("overlay.yaml").write_text(yaml.safe_dump(overlay))
    more = ("--config", "overlay.yaml", "--trainer.max_epochs", "1", "--data.batch_size", "8", "--data.val", "null",
            "--trainer.limit_val_batches", "0")  # fmt: skip
    main(["fit", *arguments(world_root, *more, config="clap_prefix.yaml")])
    assert f"from 5 clips of {split}" in capsys.readouterr().out
    gap = load_file("exports/clap_prefix/embedding_shift.safetensors")["gap"]

    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    reader = ClipReader(ClipFormat(sampling_rate=clap.sampling_rate, max_seconds=clap.max_seconds))
    (shard,) = read_index(world_root / "first-40" / split)
    clips = {clip.clip_id: clip for clip in map(reader.decode, read_samples(shard, 0, 40, reader.wanted))}
    kept = Captions([clip.captions[0] for clip in clips.values()], list(clips)).drawn(5)
    batch = collate([clips[clip_id] for clip_id in kept.clip_ids])
    assert batch.waveforms is not None and batch.num_samples is not None
    with torch.no_grad():
        expected = clap.embed_audio(batch.waveforms, batch.num_samples).mean(0) - clap.embed_text(kept.texts).mean(0)
    torch.testing.assert_close(gap, expected, rtol=1e-4, atol=1e-5)
