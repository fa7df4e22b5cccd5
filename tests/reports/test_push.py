"""Exports on their way to the hub: the card, the files, and a stand-in of the hub's API that takes them."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from datamodules.clips import CaptionRows
from earshot.digests import path_digest
from evaluation.captions_file import write_captions
from reports.push import main

STAGE = {"model": {"class_path": "x.Stage", "init_args": {"llava": "llava-hf/llava-1.5-7b-hf", "prefix": None}}}
MADE_BY = {
    "clips": {"split": "audiocaps/test", "digest": "0c6f"},
    "captions": {"question": "What?", "llava": ["llava-hf/x", "0c6f05ef"]},
}


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits as huggingface_hub sends them, and keeps the files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, bool] = {}  # private or not
        self.files: dict[str, bytes] = {}
        self.refuses = False
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lines = [json.loads(line) for line in body.splitlines()] if "commit" in self.path else [json.loads(body)]
        if self.server.refuses:
            return self.answer({"error": "you shall not"}, 403)
        if self.path == "/api/repos/create":
            self.server.repos[lines[0]["name"]] = lines[0].get("visibility") == "private" or lines[0].get("private")
            return self.answer({"url": f"{self.server.address}/u/r", "name": "u/r"})
        if self.path.endswith("/preupload/main"):
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for file in lines[0]["files"]]  # fmt: skip
            return self.answer({"files": files})
        if self.path.endswith("/commit/main"):
            for line in (line["value"] for line in lines if line["key"] == "file"):
                self.server.files[line["path"]] = base64.b64decode(line["content"])
            return self.answer(
                {
                    "success": True,
                    "commitOid": "0" * 40,
                    "commitUrl": f"{self.server.address}/u/r/commit/0",
                    "hookOutput": "",
                }
            )
        self.answer({}, 200)

    def do_GET(self) -> None:
        self.answer(
            {"name": "u"} if "whoami" in self.path else {"error": "nothing"}, 200 if "whoami" in self.path else 404
        )

    def answer(self, content: object, code: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield server
    server.shutdown()


@pytest.fixture
def export(tmp_path: Path, by_hand: CaptionRows) -> Path:
    """An export as a fit leaves it, and a test of it."""
    folder = tmp_path / "exports" / "toy"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlibrary_name: peft\n---\n# toy\n\nWhat it was trained with.\n")
    (folder / "provenance.json").write_text("{}")
    (folder / "stage.yaml").write_text(yaml.safe_dump(STAGE))
    (folder / "model.safetensors").write_bytes(b"\0weights")
    run = tmp_path / "runs" / "toy" / "test-1"
    run.mkdir(parents=True)
    write_captions(run / "captions.csv", by_hand)
    (run / "scores.json").write_text(json.dumps({"made_by": MADE_BY}))
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"test": "audiocaps/test"}}}))
    return folder


def test_the_hub_gets_every_file_and_a_card_that_it_reads(
    export: Path, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = export.parents[1] / "runs" / "toy"
    main([str(export), "u/r", "--run", str(run), "--license", "cc-by-4.0", "--no-java", "--samples", "100"])
    assert hub.repos == {"r": True} and sorted(hub.files) == [
        "README.md", "model.safetensors", "provenance.json", "stage.yaml",
    ]  # fmt: skip
    assert hub.files["model.safetensors"] == b"\0weights"
    assert (export / "README.md").read_text().startswith("---\nlibrary_name: peft")  # the export stays as it was
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.library_name == "earshot" and card.data.license == "cc-by-4.0"
    assert card.data.base_model == ["llava-hf/llava-1.5-7b-hf"] and card.data.datasets == ["audiocaps"]
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    shown = dict(line.strip("| ").split(" | ")[:2] for line in card.text.splitlines() if line.startswith("| CIDEr-D"))
    assert shown["CIDEr-D"].startswith(f"{results['cider_d']:.3f} [") and "What it was trained with." in card.text
    assert "N = " in card.text and "2000 samples" not in card.text
    noted = card.text.partition("## How its captions were made")[2].split("```")[1].removeprefix("yaml")
    assert yaml.safe_load(noted) == MADE_BY and "scores.json" not in card.text  # which the hub does not get
    assert "uploaded to http" in capsys.readouterr().out


def test_an_export_is_named_from_the_working_folder(export: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(export.parents[1])
    main(["exports/toy", "u/r"])
    assert hub.files["model.safetensors"] == b"\0weights" and len(hub.files) == 4


def test_a_dry_run_shows_all_and_sends_nothing(export: Path, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(export), "u/r", "--dry-run"])
    out, err = capsys.readouterr()
    assert not hub.repos and not hub.files
    assert out.startswith("---\nlibrary_name: earshot") and "Not scored" in out and "model.safetensors" in err


def test_splits_of_the_miniature_are_not_the_corpora_that_they_are_called_like(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = export.parents[1] / "runs" / "toy"
    made_by = {"made_by": {"clips": MADE_BY["clips"] | {"synthetic": True}}}
    (run / "test-1" / "scores.json").write_text(json.dumps(made_by))
    main([str(export), "u/r", "--run", str(run), "--no-java", "--samples", "100", "--dry-run"])
    card = ModelCard(capsys.readouterr().out)
    assert card.data.datasets is None
    assert {result.dataset_type for result in card.data.eval_results} == {"miniature/audiocaps/test"}


def test_scores_are_of_the_export_as_it_is_now(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = export.parents[1] / "runs" / "toy" / "test-1"
    command = [str(export), "u/r", "--run", str(run), "--no-java", "--samples", "100", "--dry-run"]
    of_export = {"weights": {"export": "exports/toy"}, "made_from": {"exports/toy": {"digest": path_digest(export)}}}
    (run / "scores.json").write_text(json.dumps({"made_by": MADE_BY | of_export}))
    main(command)
    assert "## Scores on audiocaps/test" in capsys.readouterr().out
    (export / "model.safetensors").write_bytes(b"trained anew")
    of_checkpoint = {"weights": {"checkpoint": "runs/toy/fit-1/checkpoints/best.ckpt"}, "made_from": {}}
    for made_by, found in (
        (of_export, f"those of exports/toy/ (digest {of_export['made_from']['exports/toy']['digest']}); test the"),
        (of_checkpoint, "those of runs/toy/fit-1/checkpoints/best.ckpt; test the"),
        ({"weights": {}, "made_from": {}}, "those of pretrained weights; test the"),
    ):
        (run / "scores.json").write_text(json.dumps({"made_by": MADE_BY | made_by}))
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2 and found in capsys.readouterr().err


def test_settings_that_are_damaged_are_told(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = export.parents[1] / "runs" / "toy" / "test-1"
    for path in (run / "config.yaml", export / "stage.yaml"):
        path.write_text("model: [")
        with pytest.raises(SystemExit) as ended:
            main([str(export), "u/r", "--run", str(run), "--no-java", "--samples", "100", "--dry-run"])
        assert ended.value.code == 2 and f"expected a configuration in {path}, found: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"export": "nothing"}, "expected an export in nothing, found no provenance.json"),
        ({"repo": "r"}, "expected a repository as user/name, found 'r'"),
        ({"repo": "u/r x"}, "expected a repository as user/name, found: Repo id must use alphanumeric chars"),
        ({"repo": "/r", "dry_run": ["--dry-run"]}, "expected a repository as user/name, found: Repo id must use"),
        ({"refuses": True}, "expected the hub to take u/r, found: "),
        ({"endpoint": "http://127.0.0.1:9"}, "expected the hub to take u/r, found: [Errno "),
    ],
)
def test_mistakes_end_with_one_line(
    change: dict,
    message: str,
    export: Path,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.refuses = change.get("refuses", False)
    monkeypatch.setenv("HF_ENDPOINT", change.get("endpoint", hub.address))
    with pytest.raises(SystemExit) as ended:
        main([str(change.get("export", export)), change.get("repo", "u/r"), *change.get("dry_run", [])])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and message in err and "Traceback" not in err
