"""The words of a hard prompt against cosines in float64, and through the real command."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MINIATURE
from wsac_command import SHORT, command

from earshot.errors import InputError
from lightning_modules.decoding.sound_event_prompt import SoundEventPrompt
from lightning_modules.networks.clap.encoder import ClapEncoder
from lightning_modules.networks.prefix_decoder import PrefixDecoder
from miniature import ensure_split

BANK = MINIATURE / "keywords.txt"
WORDS = BANK.read_text().split()


def clap() -> ClapEncoder:
    return ClapEncoder.from_pretrained(MINIATURE / "clap").eval()


def prompt(**more: object) -> SoundEventPrompt:
    return SoundEventPrompt(str(BANK), beginning="a ", between=" and a ", ending="", max_tokens=8, **more)  # type: ignore[arg-type]


def plain_prompts(embeddings: torch.Tensor, number: int) -> list[str]:
    """The nearest sound events, the nearest first."""
    with torch.no_grad():
        bank = clap().embed_text(WORDS).double().numpy()
    found = []
    for row in embeddings.double().numpy():
        cosines = [row @ word / np.linalg.norm(row) / np.linalg.norm(word) for word in bank]
        found.append("a " + " and a ".join(WORDS[place] for place in np.argsort(cosines)[::-1][:number]))
    return found


@pytest.mark.parametrize("number", [1, 3])
def test_the_nearest_sound_events_are_named(number: int) -> None:
    network = clap()
    with torch.no_grad():
        captions = network.embed_text(["a bell rings while rain falls", "a dog barks"])
    embeddings = torch.cat((captions, torch.nn.functional.normalize(torch.randn(6, 128), dim=1)))
    tokens = prompt(num_keywords=number).tokens(network, embeddings)
    assert tokens.shape == (8, 8)
    assert network.tokenizer.batch_decode(tokens, skip_special_tokens=True) == plain_prompts(embeddings, number)
    assert "dog" in network.tokenizer.decode(tokens[1])


def test_mixed_precision_chooses_the_same_words() -> None:
    """Of sounds as near to one word as to another, half precision would take any."""
    network, made = clap(), prompt(num_keywords=1)
    with torch.no_grad():
        bank = torch.nn.functional.normalize(network.embed_text(WORDS), dim=1)
        weights = torch.rand(400, 2, generator=torch.Generator().manual_seed(0)) * 0.01 + 1
        places = torch.randint(len(WORDS), (400, 2), generator=torch.Generator().manual_seed(1))
        mixed = (weights[..., None] * bank[places]).sum(1)
    expected = made.tokens(network, mixed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made.tokens(network, mixed), expected)
        assert torch.equal(prompt(num_keywords=1).tokens(network, mixed), expected)


def test_a_prompt_has_its_length_whatever_stands_beside_it(tmp_path: Path) -> None:
    network, embeddings = clap(), torch.randn(5, 128)
    made = prompt()
    together = made.tokens(network, embeddings)
    assert all(torch.equal(made.tokens(network, embeddings[i : i + 1])[0], together[i]) for i in range(5))
    assert SoundEventPrompt(str(BANK), num_keywords=9, max_tokens=4).tokens(network, embeddings).shape == (5, 4)
    with pytest.raises(InputError, match="num_keywords and max_tokens of at least 1, found 2 and 0"):
        SoundEventPrompt(str(BANK), max_tokens=0)
    (tmp_path / "latin.txt").write_text("café", encoding="latin-1")
    with pytest.raises(InputError, match="expected keywords in .*as UTF-8 text, found: .*correct the bank"):
        SoundEventPrompt(str(tmp_path / "latin.txt"))
    with pytest.raises(InputError, match="expected keywords in nowhere.txt"):
        SoundEventPrompt("nowhere.txt")


def test_captions_in_training_and_audio_in_test_choose_the_words(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = in_tmp_path / "world"
    for split in ("audiocaps/train", "audiocaps/val", "audiocaps/test"):
        ensure_split(root / "first-40", split, max_clips=40)
    learnt: list[tuple] = []
    plain = PrefixDecoder.forward
    monkeypatch.setattr(PrefixDecoder, "forward", lambda self, *args: learnt.append(args) or plain(self, *args))
    asked: list[int] = []
    find = SoundEventPrompt.prompts
    monkeypatch.setattr(
        SoundEventPrompt, "prompts", lambda self, match, found: asked.append(len(found)) or find(self, match, found)
    )
    command("fit", root, *SHORT, strategies=("hard_prompt",))
    assert len(asked) == 2 and sum(asked) > len(learnt)  # of all captions of train and of val, once
    network = clap()
    for embeddings, tokens, prompts in learnt:
        said = network.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        with torch.no_grad():
            torch.testing.assert_close(embeddings, network.embed_text(said), rtol=0, atol=1e-5)
        assert network.tokenizer.batch_decode(prompts, skip_special_tokens=True) == plain_prompts(embeddings, 2)

    decoded: list[tuple] = []
    greedy = PrefixDecoder.generate
    monkeypatch.setattr(PrefixDecoder, "generate", lambda self, *args: decoded.append(args) or greedy(self, *args))
    command("test", root, strategies=("hard_prompt",))
    audio, _, prompts = decoded[0]
    assert network.tokenizer.batch_decode(prompts, skip_special_tokens=True) == plain_prompts(audio, 2)
    report = Path("runs/clap_prefix_hard_prompt/test-1/report.html").read_text()
    assert "Sound events in the prompt" in report
    with pytest.raises(SystemExit) as ended:  # trained with a prompt, tested without
        command("test", root, "--export.source", "exports/clap_prefix_hard_prompt")
    assert ended.value.code == 2 and "trained with hard_prompt None, found hard_prompt" in capsys.readouterr().err
