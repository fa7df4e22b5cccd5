"""WavCaps' CLAP at full size, on files of the authors' layout that are written here, and the other doors."""

import hashlib
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import MINIATURE
from made_clap import AUDIO, TEXT, cnn14, file_of, htsat, laion
from plain_htsat import plain_htsat
from plain_log_mel import plain_log_mel
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizer

from earshot.errors import InputError
from lightning_modules.networks.clap.checkpoint import load_authors, report_training_data
from lightning_modules.networks.clap.encoder import DECISIVE, ClapEncoder
from lightning_modules.networks.digests import module_digest, tokenizer_json


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """BERT's tokenizer, of its size, with other words."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "loudly", ",", "."]
    words += [f"word{i}" for i in range(30522 - len(words))]
    BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def cnn14_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict]]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clap") / "cnn14.pt"
    config = {"json_files": ["data/BBC/bbc.json", "data/AudioCaps/train.json"], "lr": 5e-5}
    checkpoint = file_of(cnn14(), 2048, config)
    torch.save(checkpoint, path)
    yield path, checkpoint["model"]
    path.unlink()


@pytest.fixture(scope="module")
def cnn14_clap(cnn14_file: tuple[Path, dict], bert_folder: str) -> ClapEncoder:
    with pytest.warns(UserWarning, match="trained on audiocaps"):
        return ClapEncoder.from_checkpoint(cnn14_file[0], bert_folder)


def head(tensors: dict[str, np.ndarray], side: str, x: np.ndarray) -> np.ndarray:
    hidden = np.maximum(tensors[f"{side}.0.weight"] @ x + tensors[f"{side}.0.bias"], 0)
    out = tensors[f"{side}.2.weight"] @ hidden + tensors[f"{side}.2.bias"]
    return out / np.sqrt((out**2).sum())


def in_float64(tensors: dict[str, Tensor], *starts: str) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in tensors.items() if name.startswith(starts)}


def batch_norm(tensors: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    """x (C, ...)."""
    mean, var, weight, bias = (
        tensors[f"{name}.{part}"].reshape(-1, *[1] * (x.ndim - 1))
        for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * weight + bias


def convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x (C, F, M), 3 x 3 with zeros around."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    shifted = [padded[:, i : i + x.shape[1], j : j + x.shape[2]] for i in range(3) for j in range(3)]
    columns = np.stack(shifted, 1).reshape(x.shape[0] * 9, -1)  # in the order of weight (O, C, 3, 3)
    return (weight.reshape(len(weight), -1) @ columns).reshape(-1, *x.shape[1:])


def plain_cnn14(tensors: dict[str, np.ndarray], wave: np.ndarray) -> np.ndarray:
    x = batch_norm(tensors, AUDIO + "bn0", plain_log_mel(wave, 32000, 320).T).T[None]  # over mels: (1, F, 64)
    for i in range(1, 7):
        for j in (1, 2):
            x = convolve(x, tensors[f"{AUDIO}conv_block{i}.conv{j}.weight"])
            x = np.maximum(batch_norm(tensors, f"{AUDIO}conv_block{i}.bn{j}", x), 0)
        x = x[:, : x.shape[1] // 2 * 2]
        x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2).mean((2, 4))
    x = x.mean(2)
    return head(tensors, "audio_proj", x.max(1) + x.mean(1))


def test_cnn14_and_its_head_in_float64(cnn14_file: tuple[Path, dict], cnn14_clap: ClapEncoder) -> None:
    """A batch of two lengths, each clip as the slow forward has it alone."""
    tensors = in_float64(cnn14_file[1], AUDIO + "bn0", AUDIO + "conv", "audio_proj")
    rng = np.random.default_rng(1)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (32000, 45000)]
    batch = torch.zeros(2, 45000)
    for row, wave in zip(batch, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    with torch.no_grad():
        found = cnn14_clap.embed_audio(batch, torch.tensor([32000, 45000]))
    assert found.shape == (2, 1024)
    for embedding, wave in zip(found.numpy(), waves):
        np.testing.assert_allclose(embedding, plain_cnn14(tensors, wave), rtol=0, atol=2e-5)


def test_an_embedding_is_its_clips_alone(cnn14_clap: ClapEncoder) -> None:
    batch = torch.randint(-8000, 8000, (3, 60000), dtype=torch.int16)
    lengths = torch.tensor([60000, 30011, 900])  # the last is shorter than the halvings allow
    with torch.no_grad():
        together = cnn14_clap.embed_audio(batch, lengths)
        for row in range(3):
            alone = cnn14_clap.embed_audio(batch[row : row + 1, : lengths[row]], lengths[row : row + 1])
            torch.testing.assert_close(together[row], alone[0], rtol=0, atol=1e-5)


def test_text_and_its_head(cnn14_file: tuple[Path, dict], cnn14_clap: ClapEncoder, bert_folder: str) -> None:
    """[CLS] of a BERT with the file's weights; sentences are cleaned as in CLAP's training, and cut at 30 tokens."""
    tensors = cnn14_file[1]
    bert = BertModel(BertConfig(), add_pooling_layer=False).eval()
    state = {name.removeprefix(TEXT): value for name, value in tensors.items() if name.startswith(TEXT)}
    state.pop("embeddings.position_ids")
    bert.load_state_dict(state)
    heads = in_float64(tensors, "text_proj")
    with torch.no_grad():
        found = cnn14_clap.embed_text(["A dog, barks LOUDLY.", "dog " * 50])
        ids = [[2, 5, 6, 7, 8, 3], [2, *[6] * 28, 3]]
        for embedding, words in zip(found, ids):
            state_of_cls = bert(input_ids=torch.tensor([words])).last_hidden_state[0, 0].double().numpy()
            np.testing.assert_allclose(embedding, head(heads, "text_proj", state_of_cls), rtol=0, atol=1e-5)
    assert found.norm(dim=1).tolist() == pytest.approx([1, 1])


CLEANED = {  # by the authors' own `text_preprocess` of the WavCaps repository, with runs of spaces as one
    "A dog barks.": "a dog barks",
    "A man speaks, then a dog barks loudly!": "a man speaks then a dog barks loudly",
    "clickety-clack of a train": "clickety-clack of a train",
    "A 3.5 second beep": "a 3 5 second beep",
    "louder,then quieter": "louder then quieter",
    "A woman's voice": "a woman's voice",
    "Wind/rain noise": "wind/rain noise",
    "Birds (sparrows) chirp": "birds sparrows chirp",
    'A man says "hello" twice': "a man says hello twice",
    "An engine idles; a horn honks": "an engine idles a horn honks",
    "Time: 10:30 a.m.": "time 10 30 a m",
    "beep | beep|beep": "beep beep beep",
    "*static* and music": "static and music",
    "Rain ... thunder": "rain thunder",
    "Is that a bell?": "is that a bell",
    "Ding!Dong!": "ding dong",
    "TV & radio at 50% volume": "tv & radio at 50% volume",
    "a 'clank' of metal_plates": "a 'clank' of metal_plates",
    "  A bell rings , softly .  ": "a bell rings softly",
    "Tick-tock;tick-tock": "tick-tock tick-tock",
}


def test_texts_are_cleaned_as_in_claps_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text tower gets the authors' words; one of LAION's models gets the text as it is."""
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    given: list[str] = []
    tokenize = clap.tokenizer
    monkeypatch.setattr(
        clap, "tokenizer", lambda texts, **arguments: given.extend(texts) or tokenize(texts, **arguments)
    )
    with torch.no_grad():
        clap.embed_text(list(CLEANED))
    assert given == list(CLEANED.values()) and len(given) == 20
    raw = ClapEncoder(clap.audio_encoder, clap.text_encoder, tokenize, clap.embedding_dim, clean_text=False)
    assert [raw.cleaned(text) for text in CLEANED] == list(CLEANED)


def test_embeddings_of_another_cleaning_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches and captions made under another rule have another digest; embeddings of audio are what they were."""
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    now, module = {part: clap.fingerprint(part) for part in ("text", "audio")}, module_digest(clap)
    monkeypatch.setattr("lightning_modules.networks.clap.encoder.PUNCTUATION", string.punctuation)
    other = ClapEncoder.from_pretrained(MINIATURE / "clap")
    assert other.cleaned("clickety-clack") == "clickety clack"
    assert other.fingerprint("text") != now["text"] and module_digest(other) != module
    assert other.fingerprint("audio") == now["audio"]
    before = hashlib.sha256(f"text {clap.max_text_tokens} True {clap.sampling_rate}".encode())  # version 0.2's
    before.update(tokenizer_json(clap.tokenizer).encode())
    before.update(repr([getattr(clap.text_encoder.config, name, None) for name in DECISIVE]).encode())
    for name, value in sorted(clap.state_dict().items()):
        if name.startswith("text"):
            before.update(name.encode())
            before.update(value.numpy().tobytes())
    assert before.hexdigest() != now["text"]


def test_training_data_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="trained on clotho: scores there"):
        report_training_data({"data_args": {"json_files": ["a/bbc.json", "Clotho/train.json"]}, "lr": 1e-5}, "x.pt")
    with pytest.warns(UserWarning, match="trained on audiocaps and clotho"):
        report_training_data({"data_args": {"dataset": "Clotho"}, "pretrain_path": "out/audiocaps_best.pt"}, "z.pt")
    report_training_data(None, "y.pt")
    assert capsys.readouterr().out == (
        "x.pt was trained on a/bbc.json, Clotho/train.json\nz.pt was trained on Clotho, out/audiocaps_best.pt\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop(AUDIO + "conv_block3.conv1.weight"), "conv_block3.conv1.weight missing"),
        (lambda m: m.update({AUDIO + "fc1.weight": torch.zeros(2)}), "fc1.weight left over"),
        (lambda m: m.update({"text_proj.0.bias": torch.zeros(2)}), r"text_proj.0.bias \(2,\) \(want \(1024,\)\)"),
    ],
)
def test_names_are_checked(change, message: str, cnn14_file, cnn14_clap: ClapEncoder) -> None:
    tensors = dict(cnn14_file[1])
    change(tensors)
    with pytest.raises(InputError, match=message):
        load_authors(cnn14_clap, tensors, "some.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in (b"no checkpoint", b""):
        (tmp_path / "x.pt").write_bytes(content)
        with pytest.raises(InputError, match="expected WavCaps' CLAP"):
            ClapEncoder.from_checkpoint(tmp_path / "x.pt")
    torch.save({"weights": 1}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="expected WavCaps' CLAP"):
        ClapEncoder.from_checkpoint(tmp_path / "x.pt")
    with pytest.raises(InputError, match="no file"):
        ClapEncoder.from_checkpoint(tmp_path / "y.pt")
    with pytest.raises(InputError, match="expected a CLAP"):
        ClapEncoder.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a CLAP"):
        ClapEncoder.from_pretrained(MINIATURE / "llava")


def test_htsat_and_its_head_in_float64(tmp_path: Path, bert_folder: str) -> None:
    """A short clip that is stretched, in a batch with a longer one, as the slow forward has it alone."""
    tensors = htsat()
    checkpoint = file_of(tensors, 768, {})
    torch.save(checkpoint, tmp_path / "htsat.pt")
    clap = ClapEncoder.from_checkpoint(tmp_path / "htsat.pt", bert_folder)
    assert clap.max_seconds * 32000 == 327679
    waves, lengths = torch.randn(2, 40000) * 0.1, torch.tensor([40000, 20000])
    with torch.no_grad():
        together = clap.embed_audio(waves, lengths)
        alone = clap.embed_audio(waves[1:, :20000], lengths[1:])
    torch.testing.assert_close(together[1], alone[0], rtol=0, atol=1e-5)
    width = plain_htsat(tensors, torch.from_numpy(plain_log_mel(waves[1, :20000].numpy(), 32000, 320)))
    expected = head(in_float64(checkpoint["model"], "audio_proj"), "audio_proj", width.numpy())
    np.testing.assert_allclose(alone[0].numpy(), expected, rtol=0, atol=5e-5)


@pytest.mark.parametrize("fusion", [False, True], ids=["unfused", "fused"])
def test_laion(tmp_path: Path, fusion: bool) -> None:
    """transformers' own model and features, for clips that are shorter than ten seconds."""
    model, extractor = laion(tmp_path, fusion)
    clap = ClapEncoder.from_pretrained(tmp_path)
    assert (clap.sampling_rate, clap.embedding_dim, clap.max_seconds) == (48000, 48, 10)
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.1, n).astype(np.float32) for n in (100000, 170000)]
    batch = torch.zeros(2, 170000)
    for row, wave in zip(batch, waves):
        row[: len(wave)] = torch.from_numpy(wave)
    inputs = extractor(waves, sampling_rate=48000, return_tensors="pt")
    with torch.no_grad():
        is_longer = torch.zeros(2, 1, dtype=torch.bool)
        expected = model.get_audio_features(input_features=inputs["input_features"], is_longer=is_longer).pooler_output
        found = clap.embed_audio(batch, torch.tensor([100000, 170000]))
        torch.testing.assert_close(found, F.normalize(expected, dim=-1), rtol=0, atol=1e-4)
        tokens = clap.tokenizer(["a dog"], return_tensors="pt")
        expected = model.get_text_features(**tokens).pooler_output
        torch.testing.assert_close(clap.embed_text(["a dog"]), F.normalize(expected, dim=-1), rtol=0, atol=1e-5)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    clap = ClapEncoder.from_pretrained(MINIATURE / "clap")
    clap.save_pretrained(tmp_path)
    again = ClapEncoder.from_pretrained(tmp_path)
    sounds, lengths = torch.randint(-9000, 9000, (2, 20000), dtype=torch.int16), torch.tensor([20000, 9000])
    with torch.no_grad():
        assert torch.equal(clap.embed_audio(sounds, lengths), again.embed_audio(sounds, lengths))
        assert torch.equal(clap.embed_text(["a bell rings"]), again.embed_text(["a bell rings"]))
    again.embed_text(["a bell"] * 2)
    assert clap.fingerprint("text") == again.fingerprint("text")  # used or not
    again.text_encoder.config.transformers_version = "99"  # a later one has other, and more, settings
    assert clap.fingerprint("text") == again.fingerprint("text")
    again.tokenizer.add_tokens(["zebra"])
    assert clap.fingerprint("text") != again.fingerprint("text")
    again = ClapEncoder.from_pretrained(tmp_path)
    with torch.no_grad():
        again.text_proj[0].bias[0] += 1
    assert clap.fingerprint("text") != again.fingerprint("text")
    assert clap.fingerprint("audio") == again.fingerprint("audio")
    again.audio_encoder.settings["hop_length"] = 320
    assert clap.fingerprint("audio") != again.fingerprint("audio")
