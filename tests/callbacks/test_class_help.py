"""`fit --help` with a configuration describes the arguments of its classes."""

import pytest

from train import main


def said(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(command))
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_describes_the_configured_classes(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "fit", "--config", "dali_ot", "--help", "--config", "criterion/attentive_ot")
    for part in (
        "--model.captioner.inputs {audio,image,audio+image} what captions are made from. (default: audio)",
        "model.criterion, lightning_modules.losses.attentive_optimal_transport.AttentiveOptimalTransport:",
        "--model.criterion.solver SOLVER",
        "--model.captioner.generation.num_beams NUM_BEAMS",
        "--model.captioner.audio_encoder.pretrained_model_name_or_path",
        "--data.train TRAIN",
        "(default: audioset/train)",
        "--run_name",
        "--help_all",
    ):
        assert part in text, part
    assert "--trainer.accelerator" not in text and "known subclasses" not in text
    assert said(capsys, "fit", "--help", "--config=dali_ot", "--config", "criterion/attentive_ot") == text


def test_help_all_adds_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--trainer.max_epochs" in said(capsys, "fit", "--help_all")


def test_help_on_commands_is_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    for command in ("fit Train a stage", "validate Validate", "test Test", "predict Apply"):
        assert command in text
    assert "dali_ot" in text and "defaults" not in text
