"""earshot app, driven by a browser from upload to caption; skipped without Gradio or Chromium."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY
from odd_media import write_video

from earshot import Captioner
from earshot.__main__ import main
from miniature.scene import write_scene

CARD = "#results .card:not(.waiting)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The command, running in a folder without exports; its address and the folder."""
    pytest.importorskip("gradio")
    folder = tmp_path_factory.mktemp("app")
    (folder / "assets").symlink_to(REPOSITORY / "assets")
    port = free_port()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    # a proxy that answers nothing, and a folder of temporary files that is to be empty at the end
    environment |= {
        "http_proxy": "http://127.0.0.1:9",
        "all_proxy": "http://127.0.0.1:9",
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "earshot", "app", "--port", str(port), "--device", "cpu"]
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while "open http" not in (log_text := (folder / "log.txt").read_text()):
            assert process.poll() is None and time.monotonic() < deadline, log_text
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", folder
        assert "Traceback" not in (folder / "log.txt").read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert not list((folder / "tmp").glob("earshot-app-*"))  # with what was uploaded


def upload(tab: Any, address: str, file: Path) -> None:
    """Choose a file, and press the button."""
    tab.goto(address)
    tab.locator("#file input[type=file]").set_input_files(file)
    tab.locator("#file .file-preview").wait_for()
    tab.get_by_role("button", name="Caption the file").click()


@pytest.mark.slow
def test_a_video_is_captioned(served: tuple[str, Path], tab: Any, tmp_path: Path) -> None:
    address, folder = served
    write_video(tmp_path / "a video.mp4", "libx264", "aac", seconds=3)
    upload(tab, address, tmp_path / "a video.mp4")
    tab.locator(CARD).wait_for()
    captioner = Captioner.from_pretrained(REPOSITORY / "configs" / "keywords.yaml", device="cpu")
    assert tab.locator(f"{CARD} .caption").text_content() == captioner(tmp_path / "a video.mp4")
    assert tab.locator(f"{CARD} h3").text_content().split() == ["keywords", "miniature"]
    assert "know only the synthetic sounds" in tab.locator("#results .note").text_content()
    for picture in tab.locator("#results img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 50
        assert picture.get_attribute("alt")
    assert tab.locator("#results img").count() == 2  # the spectrogram, and a frame
    tab.locator("summary").click()
    guided_by = tab.locator("details").inner_text()
    keywords = re.findall(r"^(\w+) (\d\.\d+)$", guided_by.partition("The caption itself")[0], re.MULTILINE)
    assert len(keywords) == 2 and float(keywords[0][1]) >= float(keywords[1][1])
    bank = (REPOSITORY / "assets" / "miniature" / "keywords.txt").read_text().splitlines()
    assert {word for word, _ in keywords} <= set(bank)


@pytest.mark.slow
def test_a_sound_of_three_minutes_is_captioned_in_parts(served: tuple[str, Path], tab: Any, tmp_path: Path) -> None:
    """A dog for one minute, rain for the next, the dog again: captions change where the sound does."""
    dog, rain = (soundfile.read(write_scene(tmp_path, [name], [], "grass"))[0] for name in ("dog", "rain"))
    minutes = [np.tile(each, 24) for each in (dog, rain, dog)]
    soundfile.write(tmp_path / "long.mp3", np.concatenate(minutes), 16000)
    upload(tab, served[0], tmp_path / "long.mp3")
    tab.locator(CARD).wait_for()
    times = [tuple(map(float, re.findall(r"[\d.]+", text))) for text in tab.locator(".time").all_text_contents()]
    assert times[0][0] == 0 and times[-1][1] == pytest.approx(180, abs=0.5)
    assert all(one[1] == other[0] for one, other in zip(times, times[1:]))
    captions = tab.locator(f"{CARD} .caption").all_text_contents()
    assert all(one != other for one, other in zip(captions, captions[1:]))
    at = {second: captions[next(i for i, (a, b) in enumerate(times) if a <= second < b)] for second in (35, 95, 155)}
    assert "bark" in at[35] and "rain" in at[95] and "bark" in at[155]


@pytest.mark.slow
def test_wrong_files_get_one_sentence(served: tuple[str, Path], tab: Any, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a sound\n" * 100)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    write_video(tmp_path / "mute.mp4", "libx264", None)
    for name, reason in (("text.wav", "broken: "), ("silence.wav", "silent: "), ("mute.mp4", "no audio: ")):
        upload(tab, served[0], tmp_path / name)
        tab.locator("#results .problem").wait_for()
        assert tab.locator("#results").inner_text().startswith(f"{name} cannot be captioned: {reason}")
        assert len(tab.locator("#results").inner_text().splitlines()) == 1
    tab.goto(served[0])
    tab.get_by_role("button", name="Caption the file").click()
    tab.locator("#results .problem", has_text="Choose a sound").wait_for()


@pytest.mark.slow
def test_a_scene_is_put_together(served: tuple[str, Path], tab: Any) -> None:
    tab.goto(served[0])
    tab.get_by_role("tab", name="A scene").click()
    for phrase in ("a dog barks", "rain falls"):
        tab.get_by_label(phrase).uncheck()
    tab.get_by_role("button", name="Caption the scene").click()
    tab.locator("#results .problem", has_text="expected one thing or more that sound").wait_for()
    tab.get_by_label("a bell rings").check()
    tab.get_by_role("button", name="Caption the scene").click()
    tab.locator(CARD).wait_for()
    assert "rings" in tab.locator(f"{CARD} .caption").text_content()
    tab.get_by_text("0:03").wait_for()  # the player has the clip of 2.5 s, and plays it
    tab.get_by_label("Play", exact=True).first.click()
    tab.get_by_text("0:01").wait_for()


@pytest.mark.slow
def test_it_is_served_on_this_machine_only(served: tuple[str, Path]) -> None:
    port = int(served[0].rpartition(":")[2])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {fields[1] for fields in listening if fields[3] == "0A" and fields[1].endswith(f":{port:04X}")}
    assert addresses == {f"0100007F:{port:04X}"}  # 127.0.0.1
    six = Path("/proc/net/tcp6")
    assert not six.exists() or f":{port:04X} 0000" not in six.read_text()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--with", "nonsense"], "expected an export or a configuration, found no nonsense"),
        (["--port", "{taken}"], "expected a free port, found {taken} taken"),
        (["--port", "99999"], "expected a --port from 1 to 65535, found 99999"),
        (["--port", "0"], "expected a --port from 1 to 65535, found 0"),
    ],
)
def test_mistakes_end_with_one_line(
    args: list[str], message: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit) as end:
            main(["app", *(arg.replace("{taken}", port) for arg in args)])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 2 and message.replace("{taken}", port) in line


def test_without_gradio_it_says_how_to_get_it(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as end:
        main(["app"])
    assert end.value.code == 2 and "pip install 'earshot[app]'" in capsys.readouterr().err


def test_captions_show_as_text() -> None:
    from earshot.app_captions import CARDS, problem

    hostile = "<img src=x onerror=alert(1)> {{ 7*7 }}"
    told = {"reasons": [(hostile, [(hostile, 0.5)])], "tokens": {"scores": [hostile], "tokens": [[(hostile, [0.5])]]}}
    row = {"start": 0, "end": 1, "caption": hostile, "candidates": [(hostile, -1.0)], "explanation": told, "error": ""}
    page = CARDS.render(name=hostile, spectrogram="data:,", cards=[{"name": hostile, "rows": [row]}]) + problem(hostile)
    assert "<img src=x" not in page and page.count("&lt;img src=x onerror=alert(1)&gt; {{ 7*7 }}") == 9
