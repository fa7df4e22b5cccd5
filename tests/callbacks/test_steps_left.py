"""Through the real command: a finished run that is resumed with as many, fewer and more steps or epochs."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from train import main


@pytest.fixture()
def resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # noqa: ANN201
    """Resume a finished fit of two epochs of 8 steps, with more arguments: exit code and what it said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    toy = {"run_name": "toy", "model": "tests.toys.ExportingStage", "data": "tests.toys.ToyData"}
    Path("toy.yaml").write_text(yaml.safe_dump(toy | {"trainer": {"accelerator": "cpu", "max_epochs": 2}}))
    main(["fit", "--config", "toy.yaml"])

    def fit(*more: str) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            main(["fit", "--config", "toy.yaml", "--ckpt_path", "last", *more])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, "".join(capsys.readouterr())

    return fit


def test_as_many_are_a_finished_run(resume, caplog: pytest.LogCaptureFixture) -> None:  # noqa: ANN001
    """Its export is written once more, as that of a run that was killed before."""
    before = json.loads(Path("exports/toy/provenance.json").read_text())
    Path("exports").rename("gone")
    for more, said in (([], "2 epochs of max_epochs"), (["--trainer.max_steps", "16"], "16 steps of max_steps")):
        caplog.clear()
        assert resume(*more)[0] == 0
        assert f"nothing is left to train: runs/toy/fit-1/checkpoints/last.ckpt has the {said}" in caplog.text
        after = json.loads(Path("exports/toy/provenance.json").read_text())
        assert [after[key] for key in ("checkpoint", "step", "epoch")] == [
            before[key] for key in ("checkpoint", "step", "epoch")
        ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trainer.max_steps", "12"], "max_steps above the 16 steps that runs/toy/fit-1/checkpoints/last.ckpt has"),
        (["--trainer.max_steps", "0"], "max_steps above the 16 steps"),
        (["--trainer.max_epochs", "1"], "max_epochs above the 2 epochs"),
        (["--trainer.max_epochs", "0"], "max_epochs above the 2 epochs"),
    ],
)
def test_fewer_are_refused_and_leave_the_export(resume, more: list[str], said: str) -> None:  # noqa: ANN001
    before = {path: path.stat().st_mtime_ns for path in Path("exports").rglob("*")}
    code, told = resume(*more)
    assert code == 2 and f"error: expected trainer.{said}" in told and "raise max_" in told
    assert "Traceback" not in told and told.count("error: ") == 1
    assert {path: path.stat().st_mtime_ns for path in Path("exports").rglob("*")} == before


def test_more_are_trained(resume) -> None:  # noqa: ANN001
    assert resume("--trainer.max_epochs", "3")[0] == 0
    with open("runs/toy/fit-1/metrics.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["val/loss"]] == ["0", "1", "2"]
