"""The page of a test in headless Chromium, where there is one: played, sorted, searched, audited."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import audited
from scored_run import HOSTILE, run_folder

from reports.__main__ import main

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser
CAPTIONS = [*HOSTILE, *["a bell rings"] * 12, *["a dog barks loudly"] * 12]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = run_folder(tmp_path_factory.mktemp("page"), CAPTIONS)
    plan = {
        "audio_grid": [2, 4], "seconds": 1.0, "hz": [20, 8000], "image_grid": [2, 2], "padded": False,
        "masses": [[token, 3 if token == 5 else token % 3, 1 / 8] for token in range(8)],
    }  # fmt: skip
    told = {
        "transport": plan,
        "reasons": [["nearest <captions>", [["a <b>bell</b>", 0.9]]]],
        "tokens": {
            "scores": ["unguided <u>", "guided"],
            "tokens": [[["<i>", [0.5, float("nan")]], ["bell", [0.25, 0.1]]]],
        },
    }
    (folder / "explanations.json").write_text(json.dumps({f"clip-{number:03d}": told for number in range(32)}))
    main(["html", str(folder)])
    return folder / "report.html"


@pytest.fixture
def page(chromium: Any, page_file: Path) -> Iterator[Any]:
    """The opened page; at the end, nothing was fetched and the console is empty."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    opened.goto(page_file.as_uri())
    opened.wait_for_selector("#rows tr")
    yield opened
    context.close()
    assert not said


def ids(page: Any) -> list[str]:
    return page.locator("#rows .id").all_text_contents()


def column(page: Any, number: int = 0) -> list[float]:
    cells = page.locator(f"#rows tr > td.score:nth-of-type({number + 2})").all_text_contents()
    return [float(cell) for cell in cells]


def until(page: Any, condition: str) -> None:
    """Wait for a condition; playwright's own way is `eval`, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"{condition} did not become true")


def choose(page: Any, name: str) -> None:
    page.get_by_role("radio", name=name).check()


def test_players_play_and_the_playhead_moves(page: Any) -> None:
    until(page, "[...document.querySelectorAll('audio')].every((audio) => audio.duration > 0.9)")
    assert page.locator("audio").count() == 20
    page.evaluate("document.querySelector('audio').play()")
    until(page, "document.querySelector('audio').currentTime > 0.2")
    assert page.evaluate("parseFloat(document.querySelector('.playhead').style.left)") > 15
    page.locator(".picture").first.click(position={"x": 150, "y": 20})
    until(page, "parseFloat(document.querySelector('.playhead').style.left) > 30")
    page.evaluate("document.querySelectorAll('audio')[1].play()")
    until(page, "document.querySelector('audio').paused && !document.querySelectorAll('audio')[1].paused")


def test_sorting_by_click_and_by_keyboard(page: Any) -> None:
    choose(page, "all 32")
    button = page.get_by_role("columnheader", name="CIDEr-D").get_by_role("button")
    button.click()
    assert column(page) == sorted(column(page), reverse=True) and len(set(column(page))) > 2
    assert page.get_by_role("columnheader", name="CIDEr-D").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")  # the button keeps the focus
    assert column(page) == sorted(column(page))
    assert page.get_by_role("columnheader", name="CIDEr-D").get_attribute("aria-sort") == "ascending"


def test_search_and_filters_change_the_rows(page: Any) -> None:
    assert len(ids(page)) == 20 and "20 of 32 clips" in page.locator("#status").text_content()
    random = ids(page)
    choose(page, "worst 20")
    assert column(page) == sorted(column(page))
    lowest = column(page)
    choose(page, "best 20")
    assert column(page) == sorted(column(page), reverse=True) and sum(column(page)) > sum(lowest)
    choose(page, "at random")
    assert sorted(ids(page)) == sorted(random)
    choose(page, "all 32")
    assert len(ids(page)) == 30
    page.get_by_role("button", name="Show more (2 left)").click()
    assert len(ids(page)) == 32
    page.get_by_label("Search ids").fill("DOG loudly")
    assert len(ids(page)) == 12 and "12 of 32 clips" in page.locator("#status").text_content()
    page.get_by_label("Search ids").fill("no such word")
    assert ids(page) == []


def test_another_score_is_ranked_and_drawn(page: Any) -> None:
    page.get_by_label("Score shown, and ranked by").select_option(label="BLEU-1")
    assert page.locator("#quartiles").text_content().startswith("BLEU-1 of 32 clips")
    choose(page, "worst 20")
    assert page.get_by_role("columnheader", name="BLEU-1").get_attribute("aria-sort") == "ascending"


def test_hostile_captions_are_text(page: Any) -> None:
    choose(page, "all 32")
    shown = page.locator("#rows .caption").all_text_contents()
    assert shown[: len(HOSTILE)] == [caption or "(no words)" for caption in HOSTILE]
    assert page.evaluate("document.querySelectorAll('#rows img:not([src^=\"data:\"]), #rows script').length") == 0
    assert page.title() == "dali_ot_seed1 · earshot"


def test_words_shared_with_a_reference_are_marked(page: Any) -> None:
    page.get_by_label("Search ids").fill("dog barks loudly")
    assert page.locator("#rows .caption").first.locator("mark").all_text_contents() == ["dog", "barks", "loudly"]
    assert page.locator("#rows .references mark").first.text_content() == "dog"


def test_the_plan_is_looked_at_by_pointing_and_by_keyboard(page: Any) -> None:
    page.locator("#rows details.how > summary").first.click()
    said = page.locator("#rows details.how [role=status]").first
    frame = page.locator(".panel.frame").first
    frame.hover(position={"x": 130, "y": 130})  # the patch at the bottom right gets its mass from token 5 alone
    assert said.text_content().startswith("Frame, row 2, column 2: its mass comes from 1 of 8 patches of the sound")
    assert "(100%) from 0.25 to 0.50 s" in said.text_content()
    page.locator(".panel.spectrogram").first.focus()  # begins in the middle: the lower row, token 2
    assert "to row 2, column 1" in said.text_content() and said.text_content().startswith("Sound, 0.50 to 0.75 s, 0.0")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert said.text_content().startswith("Sound, 0.25 to 0.50 s, ") and "to row 2, column 2" in said.text_content()
    for number, text in ((1, "a <b>bell</b>"), (2, '"<i>"')):
        page.locator("#rows tr").first.locator("details.how > summary").nth(number).click()
        playwright.expect(page.locator("#rows tr").first).to_contain_text(text)  # waits: details open by and by
    values = page.locator("#rows tr").first.locator("tr", has=page.get_by_text('"<i>"')).locator("td")
    assert values.all_text_contents() == ["0.500", "-"]  # a score that is no number


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_serious_violation_and_nothing_wider_than_the_screen(
    chromium: Any, page_file: Path, width: int, scheme: str
) -> None:
    with audited(chromium, page_file, width, scheme) as opened:
        for number in range(3):
            opened.locator("#rows tr").first.locator("details.how > summary").nth(number).click()
