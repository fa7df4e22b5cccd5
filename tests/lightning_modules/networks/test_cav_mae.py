"""The encoder against a forward pass written out here, on files of the authors' layout made here."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from made_cav_mae import authors_layout, authors_weights, is_used, save, written_forward
from safetensors.torch import load_file, save_file
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.networks.cav_mae import CavMaeEncoder, sincos_positions

SMALL = {"num_frames": 256, "width": 96, "depth": 4, "num_heads": 4, "output_dim": 96}
NUM_KEYS = {"CAVMAE": 647, "CAVMAEFT": 478, "CAVMAEFTAudio": 252}


@pytest.fixture
def small_weights() -> dict[str, Tensor]:
    return authors_weights(authors_layout("CAVMAEFT", width=96, depth=4, num_tokens=128))


@pytest.mark.parametrize("kind", NUM_KEYS)
def test_the_layouts_made_here_have_as_many_keys_as_the_authors_files(kind):
    layout = authors_layout(kind, width=768, depth=12, num_tokens=512)
    assert len(layout) == NUM_KEYS[kind]
    assert sum(is_used(key) for key in layout) == 150


@pytest.mark.parametrize(("kind", "prefix"), [("CAVMAE", "module."), ("CAVMAEFTAudio", "")])
@torch.no_grad()
def test_a_full_size_checkpoint_gives_the_written_forward(kind, prefix, tmp_path):
    weights = authors_weights(authors_layout(kind, width=768, depth=12, num_tokens=512))
    path = save(weights, tmp_path / "cav-mae.pth", prefix)
    encoder = CavMaeEncoder.from_checkpoint(path).eval()
    path.unlink()
    sizes = {name: sum(p.numel() for p in module.parameters()) for name, module in encoder.named_children()}
    assert sum(p.numel() for p in encoder.parameters()) == 86_434_816
    assert sum(p.numel() for p in encoder.parameters()) - sizes["projection"] == 85_647_360
    assert encoder.pos_embed_a.shape == (1, 512, 768)

    features = torch.randn(1, 1024, 128, generator=torch.Generator().manual_seed(1))
    expected = F.linear(written_forward(weights, features, 12, 12), *encoder.projection.parameters())
    found = encoder(features)
    assert found.shape == (1, 512, 1024)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
@torch.no_grad()
def test_the_shared_block_uses_the_norms_of_sound(prefix, small_weights, tmp_path):
    """norm1 and norm2, which are for both media together, must not do for norm1_a and norm2_a."""
    random = torch.Generator().manual_seed(2)
    for which in ("norm1", "norm2"):
        for kind in ("weight", "bias"):
            small_weights[f"blocks_u.0.{which}.{kind}"] = torch.rand(96, generator=random) + 0.5
    path = save(small_weights, tmp_path / "cav-mae.pth", prefix)
    # in float64 the tolerance also tells LayerNorm's epsilon and the kind of GELU apart
    encoder = CavMaeEncoder.from_checkpoint(path, **SMALL).double()
    small_weights = {key: value.double() for key, value in small_weights.items()}
    features = torch.randn(2, 256, 128, generator=random, dtype=torch.float64)
    found = encoder(features)
    right = F.linear(written_forward(small_weights, features, 4, 4), *encoder.projection.parameters())
    wrong = F.linear(written_forward(small_weights, features, 4, 4, shared_norm=""), *encoder.projection.parameters())
    torch.testing.assert_close(found, right, rtol=0, atol=1e-9)
    assert (wrong - right).abs().mean() > 0.01


@torch.no_grad()
def test_sizes_are_read_from_the_file(tmp_path):
    """Heads are 64 wide, patches in 8 rows; a file that is no whole encoder is one of full size with faults."""
    weights = authors_weights(authors_layout("CAVMAE", width=128, depth=3, num_tokens=32))
    encoder = CavMaeEncoder.from_checkpoint(save(weights, tmp_path / "cav-mae.pth"), output_dim=24).eval()
    features = torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(3))
    expected = F.linear(written_forward(weights, features, 3, 2), *encoder.projection.parameters())
    torch.testing.assert_close(encoder(features), expected, rtol=1e-4, atol=1e-4)
    weights["pos_embed_a"] = torch.zeros(1, 511, 768)
    with pytest.raises(InputError, match=r"pos_embed_a \(1, 511, 768\) \(want \(1, 512, 768\)\)"):
        CavMaeEncoder.from_checkpoint(save(weights, tmp_path / "cut.pth"))


def test_a_missing_key_and_a_wrong_shape_are_named(small_weights, tmp_path):
    del small_weights["blocks_u.0.norm2_a.bias"]
    small_weights["blocks_a.1.attn.qkv.weight"] = torch.zeros(288, 95)
    path = save(small_weights, tmp_path / "cav-mae.pth", "module.")
    with pytest.raises(InputError, match="2 of 54") as error:
        CavMaeEncoder.from_checkpoint(path, **SMALL)
    assert "blocks_u.0.norm2_a.bias missing (want (96,))" in str(error.value)
    assert "blocks_a.1.attn.qkv.weight (288, 95) (want (288, 96))" in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_checkpoint(tmp_path):
    with pytest.raises(InputError, match="found no file"):
        CavMaeEncoder.from_checkpoint(tmp_path / "nothing.pth", **SMALL)
    text = tmp_path / "text.pth"
    text.write_text("<html>404</html>")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    for path in (text, tmp_path / "list.pth", tmp_path):
        with pytest.raises(InputError, match="found something else") as error:
            CavMaeEncoder.from_checkpoint(path, **SMALL)
        assert "\n" not in str(error.value)


def test_sizes_that_do_not_fit_each_other():
    for wrong in (
        {"num_frames": 250},
        {"num_mel_bins": 100},
        {"num_heads": 5},
        {"width": 90, "num_heads": 9},
    ):
        with pytest.raises(InputError, match="multiples of"):
            CavMaeEncoder(**SMALL | wrong)


def test_the_initial_positions_are_sines_and_cosines_of_time_then_frequency():
    positions = sincos_positions(8, 16, 96)
    assert positions.shape == (128, 96)
    for f, t, i in [(0, 0, 0), (7, 15, 23), (3, 5, 11), (2, 0, 1)]:
        row = positions[f * 16 + t]
        omega = 1 / 10000 ** (i / 24)
        expected = [math.sin(t * omega), math.cos(t * omega), math.sin(f * omega), math.cos(f * omega)]
        torch.testing.assert_close(row[i::24], torch.tensor(expected))
    assert torch.equal(CavMaeEncoder(**SMALL).pos_embed_a[0], positions)


def test_features_are_padded_before_they_are_normalised():
    encoder = CavMaeEncoder(**SMALL)
    random = torch.Generator().manual_seed(0)
    waveforms = torch.randint(-9000, 9000, (3, 60000), generator=random, dtype=torch.int16).double() / 2**15
    num_samples = torch.tensor([60000, 16000, 10])  # longer than 256 frames, 98 frames, less than one
    features = encoder.features(waveforms, num_samples)
    assert features.shape == (3, 256, 128)
    log_mel, _ = encoder.filterbank(waveforms, num_samples)
    torch.testing.assert_close(features[0], (log_mel[0, :256] + 5.081) / 4.4849)
    torch.testing.assert_close(features[1, :98], (log_mel[1, :98] + 5.081) / 4.4849)
    torch.testing.assert_close(features[1, 98:], torch.full((158, 128), 1.1329, dtype=torch.float64), rtol=0, atol=1e-4)
    torch.testing.assert_close(features[2], torch.full((256, 128), 1.1329, dtype=torch.float64), rtol=0, atol=1e-4)


def test_max_seconds_is_exactly_what_fills_the_frames():
    encoder = CavMaeEncoder(**SMALL)
    samples = round(encoder.max_seconds * encoder.sampling_rate)
    assert samples == encoder.max_seconds * encoder.sampling_rate == 255 * 160 + 400
    for length, num_frames in [(samples, 256), (samples - 1, 255)]:
        _, found = encoder.filterbank(torch.zeros(1, length), torch.tensor([length]))
        assert found.item() == num_frames


def test_augment_is_seeded_and_differs_from_clip_to_clip():
    encoder = CavMaeEncoder(**SMALL)
    features = torch.zeros(64, 256, 128)
    features[:, 0] = 10.0
    augmented = encoder.augment(features, torch.Generator().manual_seed(5))
    assert torch.equal(augmented, encoder.augment(features, torch.Generator().manual_seed(5)))
    assert not torch.equal(augmented, encoder.augment(features, torch.Generator().manual_seed(6)))

    shifts = augmented.mean(dim=2).argmax(dim=1)
    assert len(shifts.unique()) > 40  # 64 draws out of 256 leave about 57 different ones
    assert shifts.max() > 200
    assert shifts.min() < 56
    noise = augmented - torch.stack([clip.roll(int(s), 0) for clip, s in zip(features, shifts, strict=True)])
    assert noise.min() >= 0
    amounts = noise.amax(dim=(1, 2))
    assert 0.08 < amounts.max() < 0.1
    assert amounts.min() < 0.02
    torch.testing.assert_close(noise.mean(dim=(1, 2)), amounts / 2, rtol=0.03, atol=1e-4)
    assert not features[:, 1:].any()  # what came in is untouched


def test_the_small_encoder_trains_everything_and_runs_in_bfloat16():
    torch.manual_seed(0)
    encoder = CavMaeEncoder(**SMALL)
    features = torch.randn(2, 256, 128)
    tokens = encoder(features)
    assert tokens.shape == (2, 128, 96)
    tokens.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())
    half = encoder.to(torch.bfloat16)(features)
    assert half.dtype == torch.bfloat16
    assert (half.float() - tokens).norm() < 0.05 * tokens.norm()


@pytest.fixture
def folder(tmp_path) -> Path:
    CavMaeEncoder(**SMALL, mean=-4.0).save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_save_pretrained_round_trip(folder, tmp_path):
    encoder = CavMaeEncoder.from_pretrained(folder)
    assert (encoder.pos_embed_a.shape[1], encoder.mean, encoder.training) == (128, -4.0, False)
    encoder.save_pretrained(tmp_path / "again")
    again = CavMaeEncoder.from_pretrained(str(tmp_path / "again"))
    features = torch.randn(1, 256, 128)
    assert torch.equal(encoder(features), again(features))


@pytest.mark.parametrize("name", ["exports/dali_ot", "nothing", "/nothing/here"])
def test_a_missing_folder_never_asks_the_network(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the project's folder may well hold such an export
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: pytest.fail("asked the network"))
    with pytest.raises(InputError, match=f"a CAV-MAE encoder in {name}, found no such folder"):
        CavMaeEncoder.from_pretrained(name)


def test_the_hub_is_asked_when_its_prefix_is_written(folder, monkeypatch):
    asked = []

    def download(repo_id: str, filename: str, **_) -> str:
        asked.append(repo_id)
        return str(folder / filename)

    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    assert CavMaeEncoder.from_pretrained("hf://owner/name").pos_embed_a.shape[1] == 128
    assert set(asked) == {"owner/name"}


def test_folders_that_hold_something_else(folder):
    weights = load_file(folder / "model.safetensors")
    for wrong in (
        {key: value for key, value in weights.items() if key != "norm_a.bias"},
        weights | {"extra.weight": torch.zeros(1)},
        weights | {"norm_a.bias": torch.zeros(95)},
    ):
        save_file(wrong, folder / "model.safetensors")
        with pytest.raises(InputError, match=r"norm_a\.bias|extra\.weight") as error:
            CavMaeEncoder.from_pretrained(folder)
        assert "\n" not in str(error.value)
    (folder / "model.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="found none"):
        CavMaeEncoder.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="found none"):
        CavMaeEncoder.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_dalis_released_encoder_gives_the_written_forward_and_its_projection(prefix, tmp_path):
    """Saved by DataParallel, with the vision tower and the attention of the criterion beside it."""
    layout = {key: shape for key, shape in authors_layout("CAVMAE", 32, 3, 8).items() if "decoder" not in key}
    weights = authors_weights(layout)
    generator = torch.Generator().manual_seed(1)
    projection = {"proj.weight": torch.randn(24, 32, generator=generator), "proj.bias": torch.ones(24)}
    beside = {"a_k.weight": torch.zeros(24, 24), "vision_tower.vision_model.pre_layrnorm.weight": torch.zeros(24)}
    sizes = {"num_mel_bins": 32, "num_frames": 64, "width": 32, "depth": 3, "num_heads": 2, "output_dim": 24}
    path = save(weights | projection | beside, tmp_path / "audio_backbone.pth", prefix)
    encoder = CavMaeEncoder.from_checkpoint(path, aligned=True, **sizes).eval()
    features = torch.randn(2, 64, 32, generator=generator)
    with torch.no_grad():
        expected = written_forward(weights, features, 3, 2) @ projection["proj.weight"].T + 1
        torch.testing.assert_close(encoder(features), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="found DALI's aligned encoder; set aligned to true"):
        CavMaeEncoder.from_checkpoint(path, **sizes)
    plain = save(weights, tmp_path / "plain.pth")
    with pytest.raises(InputError, match=r"proj.weight missing \(want \(24, 32\)\)"):
        CavMaeEncoder.from_checkpoint(plain, aligned=True, **sizes)
    with pytest.raises(InputError, match="no file '.*none.pth'; get it from zenodo.org/records/14224316"):
        CavMaeEncoder.from_checkpoint(tmp_path / "none.pth", aligned=True, **sizes)


def test_dalis_released_encoder_at_full_size(tmp_path):
    layout = {key: shape for key, shape in authors_layout("CAVMAE", 768, 12, 512).items() if "decoder" not in key}
    layout |= {"proj.weight": (1024, 768), "proj.bias": (1024,)}
    weights = {key: torch.tensor(0.5).expand(shape) for key, shape in layout.items()}  # one number each on disk
    encoder = CavMaeEncoder.from_checkpoint(save(weights, tmp_path / "audio_backbone.pth", "module."), aligned=True)
    assert sum(value.numel() for value in encoder.parameters()) == 86_434_816
    assert all(bool((value == 0.5).all()) for value in encoder.parameters())
