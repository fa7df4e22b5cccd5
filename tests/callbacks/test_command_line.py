"""What the command line says to wrong commands, and what it prints."""

from pathlib import Path

import lightning  # noqa: F401 (its handler of logs takes the stderr of its first import, which a test closes)
import pytest
import yaml
from toy_command import run

from train import main

pytestmark = pytest.mark.usefixtures("toy_folder")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fit --trainer.max_epoch 3", "unrecognized arguments: --trainer.max_epoch"),
        (
            "fit --model.init_args.width three",
            "Parser key \"width\": Expected a <class 'int'>. Got value: three",
        ),
        ("fit --model.init_args.depth 3", "Option 'depth' is not accepted"),
        ("fit --model.class_path tests.toys.Nothing", "has no attribute 'Nothing'"),
        ("fit --trainer.max_epochs many", "Expected a <class 'int'> (found many)"),
        ("fit --trainer.max_epochs many.more", "Expected a <class 'int'> (found many.more)"),
        ("fit --trainer.callbacks many", "Expected a <class 'list'> (found many)"),
        ("fit --config missing.yaml", "File does not exist"),
        ("fit --config criterion/mdm", "configs/criterion are attentive_ot, "),
        ("fit --config configs/criterion/mdm.yaml", ", fused, mmd; see: "),
        ("fit other.yaml", "every YAML needs a --config before it"),
        ("fit --run_name a/b", "found 'a/b'"),
        ("fit --run_name=", "found ''"),
        ("fit --ckpt_path last", "expected runs/toy/fit-<n>/checkpoints/last.ckpt, found none"),
        ("test --ckpt_path missing.ckpt", "found no file missing.ckpt"),
        ("test --ckpt_path toy.yaml", "found another file: toy.yaml"),
        ("test", "expected exports/toy/, found nothing; run: python train.py fit"),
        ("fit --model.init_args.fail true", "expected a stage, found a failure"),
        ("fit --data.init_args.folder empty", "expected shards in empty, found none"),
    ],
)
def test_bad_input_is_one_line(command: str, said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(command)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.split("error: ")
    assert said in error[-1]
    assert len(error[-1].strip().splitlines()) == 1
    assert "Traceback" not in "".join(error)
    assert not [path for path in Path().rglob("runs/toy/*") if not list(path.iterdir())], "an empty run folder"


def test_a_wrong_argument_of_an_optimizer_is_no_path(capsys: pytest.CaptureFixture) -> None:
    tuned = "--model tests.campaigns.bad_commands.Tuned --model.optimizer torch.optim.Adam"
    with pytest.raises(SystemExit):
        run(f"fit {tuned} --model.optimizer.lr many")
    assert "Parser key \"lr\": Expected a <class 'float'> (found many)" in capsys.readouterr().err


def test_a_class_without_type_hints_is_told_what_a_contract_asks_for(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    Path("mine.py").write_text(
        "from torch import nn\n\n\nclass Mine(nn.Module):\n    def forward(self, audio, image):\n        return audio\n"
    )
    with pytest.raises(SystemExit):
        main(["fit", "--config", "dali_ot", "--model.criterion", "mine.Mine"])
    assert "give the class's methods the same as Criterion's" in capsys.readouterr().err


def test_a_command_without_a_yaml_says_so(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["fit"])
    assert stopped.value.code == 2
    assert "expected a stage and its data, found none; name a YAML" in capsys.readouterr().err


def test_a_checkpoint_of_other_weights_is_one_line(capsys: pytest.CaptureFixture) -> None:
    run("fit --trainer.max_epochs 1")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run("test --ckpt_path last --model.init_args.width 5")
    assert stopped.value.code == 2
    error = capsys.readouterr().err.split("error: ")[-1]
    assert "expected the state of ExportingStage with these settings in runs/toy/fit-1/checkpoints/last.ckpt" in error
    assert "size mismatch for layer.weight" in error
    assert len(error.strip().splitlines()) == 1


def test_print_config_and_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("fit --print_config")
    assert stopped.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["run_name"] == "toy"
    classes = [callback["class_path"] for callback in printed["trainer"]["callbacks"]]
    assert classes[-1] == "callbacks.resuming.LastCheckpoint", "callbacks+: appends"
    assert "callbacks.resuming.SeedSteps" in classes

    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--help"])
    assert stopped.value.code == 0
    assert "--run_name" in capsys.readouterr().out


def test_defaults_are_found_from_anywhere(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["test", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["use_distributed_sampler"] is False


def test_a_run_suffix_stays_in_runs(capsys: pytest.CaptureFixture[str]) -> None:
    run("fit")
    with pytest.raises(SystemExit) as ended:
        run("test --run_suffix /../../x")
    assert ended.value.code == 2
    assert "expected a run_name with its run_suffix of letters, digits" in capsys.readouterr().err
