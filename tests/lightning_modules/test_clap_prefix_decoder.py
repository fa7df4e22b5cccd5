"""WSAC's stage through the real command, on a few captions of the miniature."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import MINIATURE
from safetensors.torch import load_file
from wsac_command import SHORT, command, stage

from datamodules.clip_loader import EvalLoader
from datamodules.clips import ClipFormat
from datamodules.shards import read_index, read_samples
from lightning_modules.clap_prefix_decoder import ClapPrefixDecoder
from lightning_modules.contracts import Embedded
from lightning_modules.embeddings import embedded_splits
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour


def no_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.clip_reader.decode_audio", lambda *_: pytest.fail("a sound was read"))


@pytest.mark.parametrize("strategies", [(), ("noise_injection",)])
def test_fit_opens_no_sound_and_chooses_by_caption_loss(
    strategies: tuple, in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_sounds(monkeypatch)
    command("fit", captions_root, *SHORT, strategies=strategies)
    run = "_".join(("clap_prefix", *strategies))
    checkpoint = torch.load(f"runs/{run}/fit-1/checkpoints/best.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} <= {"decoder", "training_strategies", "val_loss"}
    provenance = json.loads(Path(f"exports/{run}/provenance.json").read_text())
    assert provenance["val/loss"] > 0


@pytest.mark.parametrize("strategy", ["embedding_shift", "supervised"])
def test_where_sounds_are_needed_it_says_so(
    strategy: str, in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT, strategies=(strategy,))
    split = {"embedding_shift": "wavcaps/train", "supervised": "audiocaps/train"}[strategy]
    assert f"embedding the audio of 40 clips of {split}" in capsys.readouterr().out
    command("validate", captions_root, strategies=(strategy,))


def test_test_with_each_strategy_and_figures(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("noise_injection_embedding_shift",)
    command("fit", captions_root, *SHORT, strategies=both)
    exported = {path.name for path in Path("exports/clap_prefix_noise_injection_embedding_shift").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "embedding_shift.safetensors",
        "noise_injection.safetensors",
    } <= exported
    for last in ("nearest_neighbour", "projection", "reference"):
        command("test", captions_root, strategies=(*both, last))
        run = Path(f"runs/clap_prefix_noise_injection_embedding_shift_{last}/test-1")
        assert json.loads((run / "scores.json").read_text())["num_clips"] == 40
        assert (run / "modality_gap.png").read_bytes()[:4] == b"\x89PNG"
        with open(run / "metrics.csv") as file:
            logged = next(csv.DictReader(file))
        assert float(logged["gap/norm_after"]) < float(logged["gap/norm_before"])
    with pytest.raises(SystemExit):  # trained otherwise
        command("test", captions_root, "--export.source", "exports/clap_prefix_noise_injection_embedding_shift")
    said = capsys.readouterr().err
    assert (
        "expected a decoder in exports/clap_prefix_noise_injection_embedding_shift trained with strategies []" in said
    )


def test_the_text_tower_is_called_once_a_caption_and_then_never(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []
    embed_text = ClapEncoder.embed_text

    def counted(self: ClapEncoder, texts: list[str]) -> torch.Tensor:
        embedded.extend(texts)
        return embed_text(self, texts)

    monkeypatch.setattr(ClapEncoder, "embed_text", counted)
    command("fit", captions_root, *SHORT)
    assert len(embedded) == 40 + 200  # one caption a clip in train, five in val
    embedded.clear()
    command("fit", captions_root, "--trainer.max_epochs", "2", "--data.batch_size", "8")
    command("validate", captions_root)
    assert embedded == []


@pytest.mark.slow
def test_a_table_of_audiocaps_size(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """49,274 captions, some not ASCII, a name that begins with a space, and the header once more in the middle."""
    rows = [f"Y{i}.wav,a dog barks while a bell rings caf\u00e9 {i}" for i in range(49273)]
    rows[1000:1000] = ["file_name,caption", " Ambience.wav,a dog\u2019s bark"]
    Path("train.csv").write_text("file_name,caption\n" + "\n".join(rows), encoding="utf-8")
    embedded: list[str] = []

    def random_embeddings(self: ClapEncoder, texts: list[str]) -> torch.Tensor:
        embedded.extend(texts)
        return torch.nn.functional.normalize(torch.randn(len(texts), 128), dim=1)

    monkeypatch.setattr(ClapEncoder, "embed_text", random_embeddings)
    command("fit", captions_root, *SHORT, "--data.train", "train.csv")
    assert "train.csv: N = 49274 captions of 49274 clips" in capsys.readouterr().out
    assert sorted(embedded[:49274]) == sorted(
        [*(f"a dog barks while a bell rings caf\u00e9 {i}" for i in range(49273)), "a dog\u2019s bark"]
    )
    embedded.clear()
    command("fit", captions_root, *SHORT, "--data.train", "train.csv")
    assert embedded == []


def embeddings_given(monkeypatch: pytest.MonkeyPatch, method: str) -> list[tuple]:
    """What a method of the decoder is called with from here on."""
    given: list[tuple] = []
    plain = getattr(PrefixDecoder, method)
    monkeypatch.setattr(PrefixDecoder, method, lambda self, *args: given.append(args) or plain(self, *args))
    return given


def texts_of(captions: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return ClapEncoder.from_pretrained(MINIATURE / "clap").embed_text(captions)


def split_of(root: Path, split: str) -> list[dict]:
    shards = read_index(root / "first-40" / split)
    return [sample.record for shard in shards for sample in read_samples(shard, 0, shard.num_samples, lambda _: ())]


def test_each_caption_is_learnt_from_its_own_embedding_moved_by_the_strategy(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = embeddings_given(monkeypatch, "forward")
    command("fit", captions_root, *SHORT, strategies=("embedding_shift",))
    gap = load_file("exports/clap_prefix_embedding_shift/embedding_shift.safetensors")["gap"]
    words = stage().clap.network.tokenizer
    assert gap.norm() > 0.5 and len(given) >= 3
    for embeddings, tokens, _ in given:
        assert (tokens[:, -1] != words.pad_token_id).any()  # no longer than the longest of the batch
        expected = texts_of(words.batch_decode(tokens, skip_special_tokens=True)) + gap
        torch.testing.assert_close(embeddings, expected, rtol=0, atol=1e-5)

    decoded = embeddings_given(monkeypatch, "generate")
    command("test", captions_root, strategies=("embedding_shift", "reference"))
    first = [record["captions"][0] for record in split_of(captions_root, "audiocaps/test")]
    torch.testing.assert_close(decoded[0][0], texts_of(first) + gap, rtol=0, atol=1e-5)
    command("test", captions_root, strategies=("embedding_shift",))
    heard = decoded[1][0]  # the sounds, as they are
    with open("runs/clap_prefix_embedding_shift/test-1/metrics.csv") as file:
        logged = next(csv.DictReader(file))
    before = (heard.mean(0) - texts_of(first).mean(0)).norm().item()
    assert float(logged["gap/norm_before"]) == pytest.approx(before, abs=1e-4)


def test_captions_are_made_into_tokens_once(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    tokens = ClapPrefixDecoder.tokens
    monkeypatch.setattr(ClapPrefixDecoder, "tokens", lambda self, some: made.extend(some) or tokens(self, some))
    monkeypatch.setattr(embedded_splits, "AT_ONCE", 7)
    command("fit", captions_root, "--trainer.max_epochs", "3", "--data.batch_size", "8")
    train, val = (split_of(captions_root, f"audiocaps/{name}") for name in ("train", "val"))
    assert made == [caption for record in (*train, *val) for caption in record["captions"]]


def test_the_memory_is_the_whole_training_set(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("fit", captions_root, *SHORT)
    remembered: list[torch.Tensor] = []
    remember = NearestNeighbour.remember

    def spy(self: NearestNeighbour, embeddings: torch.Tensor) -> None:
        remembered.append(embeddings)
        remember(self, embeddings)

    monkeypatch.setattr(NearestNeighbour, "remember", spy)
    command("test", captions_root, strategies=("nearest_neighbour",))
    captions = [text for record in split_of(captions_root, "audiocaps/train") for text in record["captions"]]
    torch.testing.assert_close(remembered[0], texts_of(captions), rtol=0, atol=1e-5)


def test_each_sound_has_its_own_embedding(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Embedded] = []
    plain = EmbeddingStore.audio
    monkeypatch.setattr(EmbeddingStore, "audio", lambda self, split: found.append(plain(self, split)) or found[-1])
    command("fit", captions_root, *SHORT, "--data.eval_batch_size", "7", strategies=("supervised",))
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    rows = dict(zip(found[0].clip_ids, found[0].embeddings))
    shards = read_index(captions_root / "first-40/audiocaps/train")
    with torch.no_grad():
        for batch in EvalLoader(shards, ClipFormat(sampling_rate=clap.sampling_rate), 1):
            alone = clap.embed_audio(batch.waveforms, batch.num_samples)[0]
            torch.testing.assert_close(rows[batch.clip_ids[0]], alone, rtol=0, atol=1e-5)


def test_validation_is_a_mean_over_tokens(in_tmp_path: Path, captions_root: Path) -> None:
    command("fit", captions_root, *SHORT)
    losses = []
    for number, size in enumerate(("200", "7"), 1):
        command("validate", captions_root, "--data.eval_batch_size", size)
        with open(f"runs/clap_prefix/validate-{number}/metrics.csv") as file:
            losses.append(float(next(csv.DictReader(file))["val/loss"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_real_captions_are_refused_by_the_miniatures_clap_and_some_strange_words_told(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = [
        "A woman talks nearby as water pours",
        "Multiple clanging and clanking sounds",
        "People laugh and whistle",
    ]
    Path("real.csv").write_text("file name;caption\n" + "".join(f"Y{i}.wav;{spoken[i % 3]}\n" for i in range(30)))
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingStore, "captions", lambda *_: pytest.fail("captions were embedded"))
        with pytest.raises(SystemExit) as stopped:
            command("fit", captions_root, *SHORT, "--data.train", "real.csv")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert stopped.value.code == 2
    assert "% unknown words, such as '" in line and "--config configs/paper/clap_prefix.yaml for the real CLAP" in line
    Path("mixed.csv").write_text("filename,text\n" + "".join(f"Y{i}.wav,a dog barks giraffe\n" for i in range(30)))
    command("fit", captions_root, *SHORT, "--data.train", "mixed.csv")
    assert "warning: 25% of the words in the training captions are unknown" in (said := capsys.readouterr().out)
    assert "such as 'giraffe'; " in said
    command("fit", captions_root, *SHORT)
    assert "unknown to the tokenizer" not in capsys.readouterr().out
