"""What WSAC's stage keeps and refuses: caches, exports, checkpoints, defaults."""

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
from safetensors.torch import load_file, save_file
from wsac_command import CONFIG, SHORT, command, stage

from datamodules.caption_datamodule import CaptionDataModule
from datamodules.clips import Captions, ClipBatch
from earshot.errors import InputError
from lightning_modules.clap_prefix_decoder import ClapPrefixDecoder
from lightning_modules.contracts import Embedded
from lightning_modules.embeddings.store import EmbeddingStore
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.strategies.embedding_shift import EmbeddingShift
from lightning_modules.strategies.nearest_neighbour import NearestNeighbour
from lightning_modules.strategies.noise_injection import NoiseInjection
from miniature import ensure_split
from train import main

NOISE = "lightning_modules.strategies.noise_injection.NoiseInjection"


def test_the_cache_of_sounds_is_of_these_sounds(tmp_path: Path) -> None:
    """Another world has the same ids."""
    digests = []
    for seed in (0, 1):
        ensure_split(tmp_path / str(seed), "clotho/val", seed, max_clips=3)
        digests.append(CaptionDataModule(str(tmp_path / str(seed))).audio_digest("clotho/val"))
    assert digests[0] != digests[1]


def test_an_export_is_of_its_clap_and_training(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    source = ("--export.source", "exports/clap_prefix")
    for more, strategies, found in (
        (("--model.clap.init_args.pretrained_model_name_or_path", other_clap()), (), "trained with clap"),
        ((), ("supervised",), "trained with supervised True, found supervised False"),
        ((), ("supervised", "projection"), "or strategies or references, found both"),
        (("--model.max_caption_tokens", "2"), (), "max_caption_tokens of at least 3"),
        (("--model.width", "130"), (), "a width that num_heads divides"),
    ):
        with pytest.raises(SystemExit) as ended:
            command("test", captions_root, *source, *more, strategies=strategies)
        assert ended.value.code == 2 and found in capsys.readouterr().err
    weights = load_file(path := Path("exports/clap_prefix/model.safetensors"))
    save_file({name: value for name, value in weights.items() if name != "mapping.0.weight"}, path)
    with pytest.raises(SystemExit) as ended:
        command("test", captions_root)
    assert ended.value.code == 2 and "mapping.0.weight" in capsys.readouterr().err
    save_file(weights, path)
    command("test", captions_root, "--model.max_new_tokens", "3")
    with open("runs/clap_prefix/test-3/captions.csv") as file:
        assert all(len(row["caption"].split()) <= 2 for row in csv.DictReader(file))  # [CLS] is the third


def test_an_export_from_elsewhere_is_scored_without_the_captions_that_it_was_trained_on(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    (folder := in_tmp_path / "world/first-40/audiocaps").mkdir(parents=True)
    (folder / "test").symlink_to(captions_root / "first-40/audiocaps/test")
    command("test", in_tmp_path / "world")
    assert "the figure is drawn without training captions: expected " in capsys.readouterr().out
    assert all(Path("runs/clap_prefix/test-1", name).is_file() for name in ("scores.json", "modality_gap.png"))
    assert not (folder / "train").exists()


def test_a_checkpoint_is_of_its_training_and_needs_no_export(
    in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command("fit", captions_root, *SHORT)
    shutil.rmtree("exports")  # as where fit was killed
    best = ("--ckpt_path", "runs/clap_prefix/fit-1/checkpoints/best.ckpt")
    command("test", captions_root, *best)
    assert Path("runs/clap_prefix/test-1/scores.json").is_file()
    told = {"fit": "expected model.init_args.supervised", "test": "expected a checkpoint trained with"}
    for name, strategies in (("fit", ("supervised",)), ("test", ("embedding_shift",))):
        with pytest.raises(SystemExit) as ended:
            command(name, captions_root, *SHORT, *best, strategies=strategies)
        assert ended.value.code == 2 and told[name] in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command("test", captions_root)
    assert "found nothing; run: python train.py fit --config configs/clap_prefix.yaml" in capsys.readouterr().err


def test_an_export_is_of_one_scale(in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A strategy that scales to norm 1 does so at inference too; what earlier versions exported does not tell."""
    scaled = {"class_path": NOISE, "init_args": {"variance": 0.1, "renormalise": True}}
    Path("scaled.yaml").write_text(json.dumps({"model": {"init_args": {"training_strategies": [scaled]}}}))
    plain = ("--config", str(REPOSITORY / "configs/strategy/noise_injection.yaml"), "--run_name", "one")
    command("fit", captions_root, *SHORT, "--config", "scaled.yaml", "--run_name", "one")
    with pytest.raises(SystemExit):
        command("test", captions_root, *plain)
    said = capsys.readouterr().err
    assert "trained with renormalised [], found renormalised ['noise_injection']" in said
    note = Path("exports/one/trained_with.json")
    settings = json.loads(note.read_text())
    assert settings.pop("renormalised") == ["noise_injection"]
    note.write_text(json.dumps(settings))
    command("test", captions_root, *plain)
    assert list(Path("runs").glob("one/test-*/scores.json"))


@pytest.mark.parametrize("config", ["clap_prefix", "drcap", "guided"])
def test_stages_that_need_32_bits_refuse_others_at_once(
    config: str, in_tmp_path: Path, captions_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = () if config == "guided" else ("--data.batch_size", "8")
    given = ["fit" if fit else "test", "--config", str(REPOSITORY / f"configs/{config}.yaml"), *fit]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--data.root", str(captions_root), "--data.max_clips", "40", "--trainer.precision", "bf16-true"])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "found bf16-true; set trainer.precision to bf16-mixed" in said


def test_a_checkpoint_of_another_stage_is_told() -> None:
    with pytest.raises(InputError, match="expected a checkpoint of ClapPrefixDecoder, found that of another stage"):
        stage().on_load_checkpoint({"state_dict": {}})
    with pytest.raises(InputError, match="expected a checkpoint with the settings of its training by name, found a li"):
        stage().on_load_checkpoint({"state_dict": {}, "trained_with": []})


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


@pytest.mark.slow
def test_two_ranks_share_the_embedding_and_one_cache(in_tmp_path: Path, captions_root: Path) -> None:
    """Each embeds a half, and all is as one process has it; the exported weights are one rank's."""
    shift, root = CONFIG.parent / "strategy" / "embedding_shift.yaml", str(captions_root)
    done = subprocess.run(
        [
            sys.executable, str(REPOSITORY / "train.py"), "fit", "--config", str(CONFIG), "--config", str(shift),
            "--data.root", root, "--data.max_clips", "40", "--data.eval_batch_size", "7",
            "--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp", *SHORT,
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, cwd=in_tmp_path, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("40 captions of audiocaps/train", "the audio of 40 clips of wavcaps/train"):
        assert done.stdout.count(f"embedding {what}") == 1
    command("fit", captions_root, *SHORT, "--model.cache", "alone", strategies=("embedding_shift",))
    files = sorted(path.name for path in Path("alone").iterdir())
    assert [name[:4] for name in files] == ["audi", "text", "text", "text"]
    assert sorted(path.name for path in Path("data/embeddings").iterdir()) == files
    for name in files:
        together, alone = (np.fromfile(Path(folder, name), np.float32) for folder in ("data/embeddings", "alone"))
        np.testing.assert_allclose(together, alone, atol=1e-5)
    assert (in_tmp_path / "exports/clap_prefix_embedding_shift/model.safetensors").exists()


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
    store = EmbeddingStore(None, {}, data, Path())
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
    assert (paper["trainer"]["max_epochs"], paper["data"]["init_args"]["global_batch_size"]) == (30, 64)


def test_a_strategy_of_inference_goes_through_the_shift_too() -> None:
    """What was moved among the texts is shifted as the texts were in training."""
    shift = EmbeddingShift()
    shift.gap = torch.full((128,), 0.5)
    module = stage(training_strategies=[shift], inference_strategy=NearestNeighbour()).eval()
    memory = torch.nn.functional.normalize(torch.randn(5, 128), dim=1)
    module.searched.strategy.remember(memory)
    decoded: list[torch.Tensor] = []
    module.decoder.generate = lambda x, longest, prompts: decoded.append(x) or torch.zeros(len(x), 1, dtype=torch.long)  # type: ignore
    module.clap.network.embed_audio = lambda waveforms, num_samples: memory[[3, 0]]
    audio = torch.zeros(2, 10, dtype=torch.int16), torch.full((2,), 10)
    module.test_step(ClipBatch(["a", "b"], *audio, None, [["x"], ["y"]], [[], []]), 0)
    torch.testing.assert_close(decoded[0], memory[[3, 0]] + 0.5)


def test_references_are_embedded_as_the_captions_that_were_learnt() -> None:
    """Not in the half precision of a trainer."""
    module = stage(caption_from="reference").eval()
    audio = torch.zeros(2, 48000, dtype=torch.int16), torch.full((2,), 48000)
    texts = ["rain falls", "a dog barks"]
    batch = ClipBatch(["a", "b"], *audio, None, [[text] for text in texts], [[], []])
    with torch.autocast("cpu", torch.bfloat16):
        decoded = module.test_step(batch, 0)["decoded"]
    torch.testing.assert_close(decoded, module.clap.network.embed_text(texts), rtol=0, atol=1e-6)


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
