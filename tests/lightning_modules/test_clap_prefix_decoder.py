"""WSAC's stage through the real command, on a few captions of the miniature."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from conftest import MINIATURE, REPOSITORY
from safetensors.torch import load_file

from datamodules.caption_datamodule import CaptionDataModule
from datamodules.clip_loader import EvalLoader
from datamodules.clips import Captions, ClipBatch, ClipFormat
from datamodules.shards import read_index, read_samples
from earshot.errors import InputError
from lightning_modules.clap_prefix_decoder import ClapPrefixDecoder
from lightning_modules.contracts import Embedded
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from lightning_modules.strategies.embedding_shift import EmbeddingShift
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour
from lightning_modules.strategies.noise_injection import NoiseInjection
from miniature import ensure_split
from train import main

CONFIG = REPOSITORY / "configs/clap_prefix.yaml"
SHORT = ("--trainer.max_epochs", "1", "--data.batch_size", "8", "--trainer.limit_train_batches", "2")


@pytest.fixture(scope="module")
def captions_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("captions")
    for split in ("audiocaps/train", "audiocaps/val", "audiocaps/test", "wavcaps/train"):
        ensure_split(root / "first-40", split, max_clips=40)
    return root


def command(name: str, root: Path, *more: str, strategies: tuple[str, ...] = ()) -> None:
    overlays = [x for s in strategies for x in ("--config", str(REPOSITORY / f"configs/strategy/{s}.yaml"))]
    main([
        name, "--config", str(CONFIG), *overlays, "--data.root", str(root), "--data.max_clips", "40",
        "--data.num_workers", "0", "--trainer.accelerator", "cpu", "--evaluation.java", "false", *more,
    ])  # fmt: skip


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


def test_a_table_of_audiocaps_size(
    in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """49,274 captions, some not ASCII, a name that begins with a space, and the header once more in the middle."""
    rows = [f"Y{i}.wav,caf\u00e9 {i}" for i in range(49273)]
    rows[1000:1000] = ["file_name,caption", " Ambience.wav,a dog\u2019s bark"]
    Path("train.csv").write_text("file_name,caption\n" + "\n".join(rows), encoding="utf-8")
    embedded: list[str] = []

    def random_embeddings(self: ClapEncoder, texts: list[str]) -> torch.Tensor:
        embedded.extend(texts)
        return torch.nn.functional.normalize(torch.randn(len(texts), 128), dim=1)

    monkeypatch.setattr(ClapEncoder, "embed_text", random_embeddings)
    command("fit", captions_root, *SHORT, "--data.train", "train.csv")
    assert "train.csv: N = 49274 captions of 49274 clips" in capsys.readouterr().out
    assert sorted(embedded[:49274]) == sorted([*(f"caf\u00e9 {i}" for i in range(49273)), "a dog\u2019s bark"])
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
    for embeddings, tokens in given:
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


def test_the_cache_of_sounds_is_of_these_sounds(tmp_path: Path) -> None:
    """Another world has the same ids."""
    digests = []
    for seed in (0, 1):
        ensure_split(tmp_path / str(seed), "clotho/val", seed, max_clips=3)
        digests.append(CaptionDataModule(str(tmp_path / str(seed))).sounds_digest("clotho/val"))
    assert digests[0] != digests[1]


def test_an_export_is_of_its_clap_and_training(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    source = ("--export.source", "exports/clap_prefix")
    for more, strategies, found in (
        (("--model.clap.init_args.pretrained_model_name_or_path", other_clap()), (), "trained with clap"),
        ((), ("supervised",), "trained with supervised True, found supervised False"),
        ((), ("supervised", "projection"), "found an inference strategy or references"),
        (("--model.max_caption_tokens", "2"), (), "max_caption_tokens of at least 3"),
        (("--model.width", "130"), (), "a width that num_heads divides"),
    ):
        with pytest.raises(SystemExit) as ended:
            command("test", captions_root, *source, *more, strategies=strategies)
        assert ended.value.code == 2 and found in capsys.readouterr().err
    command("test", captions_root, "--model.max_new_tokens", "3")
    with open("runs/clap_prefix/test-2/captions.csv") as file:
        assert all(len(row["caption"].split()) <= 2 for row in csv.DictReader(file))  # [CLS] is the third


def test_a_checkpoint_is_of_its_training_and_needs_no_export(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    shutil.rmtree("exports")  # as where fit was killed
    best = ("--ckpt_path", "runs/clap_prefix/fit-1/checkpoints/best.ckpt")
    command("test", captions_root, *best)
    assert Path("runs/clap_prefix/test-1/scores.json").is_file()
    for name, strategies in (("fit", ("supervised",)), ("test", ("embedding_shift",))):
        with pytest.raises(SystemExit) as ended:
            command(name, captions_root, *SHORT, *best, strategies=strategies)
        assert ended.value.code == 2 and "expected a checkpoint trained with" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("test", captions_root)
    assert "found nothing; run: python train.py fit --config configs/clap_prefix.yaml" in capsys.readouterr().err


def test_a_checkpoint_of_another_stage_is_told() -> None:
    with pytest.raises(InputError, match="expected a checkpoint of ClapPrefixDecoder, found that of another stage"):
        stage().on_load_checkpoint({"state_dict": {}})


def test_the_towers_are_hashed_once(in_tmp_path: Path, captions_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many captions are looked up in the cache and checkpoints are written."""
    hashed: list[str] = []
    plain = ClapEncoder.fingerprint

    def counted(self: ClapEncoder, part: str) -> str:
        hashed.append(part)
        return plain(self, part)

    monkeypatch.setattr(ClapEncoder, "fingerprint", counted)
    command("fit", captions_root, *SHORT)
    assert sorted(hashed) == ["audio", "text"]


def test_a_memory_that_is_no_split_of_the_miniatures(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    with pytest.raises(SystemExit) as ended:
        command("test", captions_root, "--data.train", "mine/train", strategies=("projection",))
    assert ended.value.code == 2 and "mine/train" in capsys.readouterr().err


def test_a_table_without_any_sound(in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp_path / "some.csv").write_text("file_name,caption\n" + "\n".join(f"{i}.wav,a bell rings" for i in range(20)))
    command("fit", captions_root, *SHORT, "--data.train", "some.csv", "--data.val", "some.csv")
    assert "some.csv: N = 20 captions of 20 clips" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command("fit", captions_root, *SHORT, "--data.train", "some.csv", strategies=("supervised",))
    assert "expected a packed split with sounds, found the table some.csv" in capsys.readouterr().err


def test_two_ranks_share_one_cache(in_tmp_path: Path, captions_root: Path) -> None:
    """Rank 0 embeds, both read; the exported weights are one rank's."""
    done = subprocess.run(
        [
            sys.executable, str(REPOSITORY / "train.py"), "fit", "--config", str(CONFIG), "--data.root",
            str(captions_root), "--data.max_clips", "40", "--trainer.accelerator", "cpu", "--trainer.devices", "2",
            "--trainer.strategy", "ddp", *SHORT,
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=in_tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("embedding 40 captions of audiocaps/train") == 1
    assert len(list((in_tmp_path / "data/embeddings").iterdir())) == 2
    assert (in_tmp_path / "exports/clap_prefix/model.safetensors").exists()


def stage(**more: object) -> ClapPrefixDecoder:
    return ClapPrefixDecoder(ClapEncoder.from_pretrained(MINIATURE / "clap"), width=16, depth=1, num_heads=2, **more)


def test_a_caption_that_is_cut_keeps_its_end() -> None:
    words = stage().clap.network.tokenizer
    tokens = stage(max_caption_tokens=6).tokens(["a bell rings and a dog barks loudly", "rain falls"])
    assert tokens.shape == (2, 6)
    assert words.decode(tokens[0]) == "[CLS] a bell rings and [SEP]"
    assert words.decode(tokens[1]) == "[CLS] rain falls [SEP] [PAD] [PAD]"


def test_supervised_trains_on_the_sound_of_the_captions_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = Embedded(torch.arange(6.0).view(3, 2), ["b", "a", "c"])
    data = SimpleNamespace(captions_of=lambda split: Captions(["1", "2", "3", "4"], ["a", "b", "b", "c"]))
    monkeypatch.setattr(EmbeddingStore, "audio", lambda self, split: sounds)
    store = EmbeddingStore(None, {}, data, Path(), True, lambda x: x)
    embeddings, row_of = store.of_captions("x", audio=True)
    assert embeddings[row_of].tolist() == [[2, 3], [0, 1], [0, 1], [4, 5]]
    with pytest.raises(InputError, match="found both"):
        stage(supervised=True, training_strategies=[NoiseInjection()])


def test_class_defaults_are_the_papers() -> None:
    """Adam to 2e-5 over five epochs, times 0.2 every ten (4.2); configs/paper gives the same."""
    module = ClapPrefixDecoder(ClapEncoder.from_pretrained(MINIATURE / "clap"))
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    rates = []
    for _ in range(30):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [0.4e-5, 0.8e-5, 1.2e-5, 1.6e-5, *[2e-5] * 6, *[4e-6] * 10, *[8e-7] * 10]
    np.testing.assert_allclose(rates, expected)
    gpt = module.decoder.language_model.config
    assert (gpt.n_layer, gpt.n_head, gpt.n_embd) == (4, 4, 768)
    paper = yaml.safe_load((REPOSITORY / "configs/paper/clap_prefix.yaml").read_text())
    given = paper["model"]["init_args"]
    assert (given["width"], given["optimizer"]["init_args"]["lr"]) == (768, 2e-5)
    assert given["lr_scheduler"]["init_args"] == {"warmup": 5, "step_size": 10}
    assert paper["trainer"]["max_epochs"] == 30


def test_a_strategy_of_inference_goes_through_the_shift_too() -> None:
    """What was moved among the texts is shifted as the texts were in training."""
    shift = EmbeddingShift()
    shift.gap = torch.full((128,), 0.5)
    module = stage(training_strategies=[shift], inference_strategy=NearestNeighbour()).eval()
    memory = torch.nn.functional.normalize(torch.randn(5, 128), dim=1)
    module.inference_strategy.remember(memory)
    decoded: list[torch.Tensor] = []
    module.decoder.generate = lambda x, longest: decoded.append(x) or torch.zeros(len(x), 1, dtype=torch.long)  # type: ignore
    module.clap.network.embed_audio = lambda waveforms, num_samples: memory[[3, 0]]
    audio = torch.zeros(2, 10, dtype=torch.int16), torch.full((2,), 10)
    module.test_step(ClipBatch(["a", "b"], *audio, None, [["x"], ["y"]], [[], []]), 0)
    torch.testing.assert_close(decoded[0], memory[[3, 0]] + 0.5)


def test_the_cache_is_of_these_captions_and_this_clap(in_tmp_path: Path, captions_root: Path) -> None:
    command("fit", captions_root, *SHORT)
    before = set(Path("data/embeddings").iterdir())
    command("fit", captions_root, *SHORT, "--model.clap.init_args.pretrained_model_name_or_path", other_clap())
    assert len(set(Path("data/embeddings").iterdir()) - before) == 2


def other_clap() -> str:
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    with torch.no_grad():
        clap.text_proj[2].bias += 0.01
    clap.save_pretrained("other_clap")
    return "other_clap"
