"""The page of ``slimpose export --web`` in Debian's Chromium."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from browser import CHROMIUM

PHOTOS = sorted((Path(__file__).parents[2] / "examples" / "photos").glob("*.jpg"))
READY_MS = 120_000


@contextmanager
def opened(
    address: str, *arguments: str, query: str = "", is_ready: bool = True, allowed: str = "(none)"
) -> Iterator[tuple[Page, BrowserContext]]:
    """Open the page in a browser of its own; nothing may be logged as an error, or sent out.

    ``allowed`` is a part of the errors that are expected; ``is_ready`` whether to wait for it.
    """
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", *arguments]
        )
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: problems.append(message.text) if message.type == "error" else None,
        )
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((address, "blob:")) else problems.append(request.url)
            ),
        )
        page.goto(address + query)
        if is_ready:
            expect(page.locator("html")).to_have_attribute("data-ready", "yes", timeout=READY_MS)
        try:
            yield page, context
        finally:
            browser.close()
    left = [problem for problem in problems if allowed not in problem]
    assert left == [], left


def open_photos(page: Page, photos: list[Path]) -> list[dict[str, Any]]:
    """Open images through the page, and return the frames of its download."""
    page.locator("#canvas").evaluate("(canvas) => delete canvas.dataset.frames")
    page.set_input_files("#file", photos)
    done = page.locator(f'#canvas[data-frames="{len(photos)}"]')
    expect(done).to_be_attached(timeout=10_000 * (1 + len(photos)))
    expect(page.locator("#problem")).to_be_hidden()
    return downloaded(page)["frames"]


def downloaded(page: Page) -> dict[str, Any]:
    with page.expect_download() as download:
        page.click("#download")
    return json.loads(Path(download.value.path()).read_text())
