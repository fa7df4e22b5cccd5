"""What a resumed fit may change of its settings: through the real command, after a short alignment."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, arguments

from callbacks.same_settings import differences, require_same_settings
from train import main

LR = "model.init_args.optimizer.init_args.lr"
CRITERION = "model.init_args.criterion"


@pytest.fixture()
def resume(in_tmp_path: Path, world_root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Resume a fit of two steps, up to a third, with more arguments."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    few = ["--trainer.limit_val_batches", "1", "--trainer.max_steps"]

    def fit(steps: int, *more: str) -> None:
        main(["fit", *arguments(world_root, *few, str(steps)), *more])

    fit(2)
    return lambda *more: fit(3, "--ckpt_path", "last", *more)


def test_another_learning_rate_criterion_or_world_is_refused(
    resume: Callable[..., None], world_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world_root, tmp_path / "other")
    mmd = str(REPOSITORY / "configs" / "criterion" / "mmd.yaml")
    found = {
        f"expected {LR} 0.001, with which runs/dali_ot/fit-1/ began, found 0.01;": ["--model.optimizer.lr", "0.01"],
        f"expected {CRITERION} lightning_modules.losses.optimal_transport.OptimalTransport, with": [
            "--config", mmd, "--run_name", "dali_ot",
        ],
        "expected trainer.gradient_clip_val None, with which runs/dali_ot/fit-1/ began, found 0.5;": [
            "--trainer.gradient_clip_val", "0.5",
        ],
        "expected trainer.precision None, with which runs/dali_ot/fit-1/ began, found bf16-mixed;": [
            "--trainer.precision", "bf16-mixed",
        ],
        f"expected data.init_args.root {world_root}, with": ["--data.root", str(tmp_path / "other")],
    }  # fmt: skip
    for said, changed in found.items():
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            resume(*changed)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    (tmp_path / "link").symlink_to(world_root)
    resume("--data.root", str(tmp_path / "link"), "--data.num_workers", "1")


def test_data_may_have_moved(tmp_path: Path) -> None:
    gone, other = str(tmp_path / "gone"), str(tmp_path)
    assert not list(differences("data.init_args.root", gone, other))
    assert list(differences("data.init_args.root", other, gone)) == [("data.init_args.root", other, gone)]


def test_what_differs_is_found_at_any_depth() -> None:
    def stage(gamma: float, name: str = "Chain", more: int = 0) -> dict:
        parts = [{"class_path": "Noise", "init_args": {"gamma": gamma}}] * 2 + [None] * more
        return {"class_path": name, "init_args": {"strategies": parts, "num_workers": gamma}}

    assert not list(differences("model", stage(1.0), stage(1.0)))
    assert next(differences("model", stage(1.0), stage(2.0))) == (
        "model.init_args.strategies.0.init_args.gamma",
        1.0,
        2.0,
    )
    assert list(differences("model", stage(1.0), stage(2.0, "Other"))) == [("model", "Chain", "Other")]
    assert [name for name, *_ in differences("model", stage(1.0), stage(1.0, more=1))] == ["model.init_args.strategies"]


def test_a_checkpoint_without_a_run_folder_has_nothing_to_compare(tmp_path: Path) -> None:
    require_same_settings(tmp_path / "moved" / "last.ckpt", yaml.safe_load("model: {class_path: Stage}"))


def test_a_kill_while_the_settings_are_written_leaves_the_older_ones(
    resume: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("runs/dali_ot/fit-1/config.yaml")
    began = path.read_bytes()

    class Killed(BaseException):
        """Python ends here."""

    def killed(source: object, target: object) -> None:
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("earshot.atomic.os.replace", killed)
        resume()
    assert path.read_bytes() == began and yaml.safe_load(began)["model"]["class_path"]
    path.write_text("")  # as versions before this one may have left it
    resume()
    assert yaml.safe_load(path.read_text())["model"] == yaml.safe_load(began)["model"]
