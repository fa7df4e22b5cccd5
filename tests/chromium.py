"""A browser for the tests of pages: the system's Chromium, driven by Playwright; skipped where either is missing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser, which plays sounds without being clicked first."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield browser
        browser.close()


@pytest.fixture()
def tab(chromium: Any) -> Iterator[Any]:
    """A page of a fresh profile; at the end nothing was fetched from elsewhere, and the console had no error."""
    context = chromium.new_context(accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    fetched: list[str] = []
    errors: list[str] = []
    local = ("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:", "ws://127.0.0.1:")
    page.on("request", lambda request: fetched.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not [url for url in fetched if not url.startswith(local)]
    assert not errors


def violations(page: Any) -> list[tuple[str, str]]:
    """What axe-core finds that is serious: the rule, and the first element."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], each["nodes"][0]["html"][:200]) for each in found if each["impact"] in ("serious", "critical")]


@contextmanager
def audited(chromium: Any, file: Path, width: int, scheme: str) -> Iterator[Any]:
    """A page of clips, opened; at the end nothing is wider than the screen, and axe-core finds nothing serious."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector("#rows tr")
    yield page
    wide, found = page.evaluate("document.documentElement.scrollWidth"), violations(page)
    context.close()
    assert wide <= width and not found
