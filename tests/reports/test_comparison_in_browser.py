"""The page of several runs in headless Chromium, where there is one: heard, ranked by difference, audited."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import audited
from scored_run import HOSTILE, run_folder

from datamodules.clips import CaptionRows
from evaluation.captions_file import FILE_NAME, read_captions, write_captions
from reports.__main__ import main

pytestmark = pytest.mark.browser
SYSTEMS = ["dali_ot_seed1", "audiocaps_attentive_ot_image_distilled_seed1", "constant"]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs on the same 30 clips; the second says the same of all, the third what the first says, reversed."""
    root = tmp_path_factory.mktemp("comparison")
    first = run_folder(root, [*HOSTILE, *["a bell rings loudly"] * 11, *["a dog barks"] * 11])
    rows = read_captions(first)
    for name, captions in ((SYSTEMS[1], ["a bell rings"] * 30), (SYSTEMS[2], rows["captions"][::-1])):
        folder = root / "runs" / name / "test-1"
        shutil.copytree(first, folder)
        write_captions(folder / FILE_NAME, CaptionRows(**{**rows, "captions": captions}))  # type: ignore[typeddict-item]
    output = root / "page.md"
    runs = [f"{name}={root / 'runs' / name}" for name in SYSTEMS]
    main(["compare", *runs, "--html", "--no-java", "--samples", "50", "--output", str(output)])
    return output.with_suffix(".html")


@pytest.fixture
def opened(tab: Any, page_file: Path) -> Iterator[Any]:
    tab.goto(page_file.as_uri())
    tab.wait_for_selector("#rows tr")
    yield tab


def test_each_clip_has_the_captions_of_all_and_a_sound(opened: Any) -> None:
    names = opened.locator("#rows tr").first.locator(".caption .system").all_text_contents()
    assert [name.partition(" · ")[0] for name in names] == SYSTEMS
    for _ in range(100):
        if opened.evaluate("[...document.querySelectorAll('audio')].every((audio) => audio.duration > 0.9)"):
            break
        opened.wait_for_timeout(50)
    else:
        pytest.fail("a player has no duration")
    assert opened.locator("audio").count() == 20


def test_clips_are_ranked_by_difference(opened: Any) -> None:
    title = f"CIDEr-D: {SYSTEMS[1]} minus {SYSTEMS[0]}"
    assert opened.locator("#score option").first.text_content() == title
    opened.get_by_role("radio", name="lowest 20").check()
    cells = [float(cell) for cell in opened.locator("#rows td.score:nth-of-type(2)").all_text_contents()]
    assert cells == sorted(cells) and cells[0] < 0
    opened.get_by_role("radio", name="highest 20").check()
    cells = [float(cell) for cell in opened.locator("#rows td.score:nth-of-type(2)").all_text_contents()]
    assert cells == sorted(cells, reverse=True) and cells[0] > cells[-1]
    assert opened.title() == "Comparison of runs · earshot"  # no caption ran as a script


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_serious_violation_and_nothing_wider_than_the_screen(
    chromium: Any, page_file: Path, width: int, scheme: str
) -> None:
    with audited(chromium, page_file, width, scheme):
        pass
