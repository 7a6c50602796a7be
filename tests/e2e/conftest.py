"""A real Chromium on the real web server and worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.fixtures import EVAL
from tests.processes import WebServer, Worker

# Playwright keeps an event loop in this thread; the tests themselves are plain synchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
RESULTS = ROOT / "test-results"
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    assert program, "The end-to-end tests need Chromium on the PATH. On Debian: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield started
        started.close()


class Visit:
    """One person's browser window, signed in as ``user`` unless it is None. Fails the test on an error in the page."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "request",
            lambda request: (
                None if request.url.startswith((url, "blob:", "data:")) else self.outside.append(request.url)
            ),
        )

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.url}{path}")
        return self.page

    def sign_in(self, user: Any) -> Page:
        page = self.open("/login")
        page.get_by_label("Name").fill(user.username)
        page.get_by_label("Password").fill(f"{user.username}-password")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Datasets").wait_for()
        return page

    def violations(self) -> list[str]:
        """What axe-core finds wrong on the page as it stands, one line each."""
        # What is dimmed or fading is read with the contrast of that moment.
        self.page.wait_for_function("() => !document.querySelector('[aria-busy=true]')")
        self.page.wait_for_timeout(250)
        self.page.evaluate(f"() => {{ {AXE.read_text()} }}")
        found = self.page.evaluate("async () => (await window.axe.run(document)).violations")
        return [
            f"{one['id']}: {one['help']}: {node['html'][:160]} {node.get('failureSummary', '')}"
            for one in found
            for node in one["nodes"]
        ]

    def screenshot(self, name: str) -> Path:
        self.page.wait_for_function("() => [...document.images].every((image) => image.complete)")
        path = RESULTS / f"{name}.png"
        self.page.screenshot(path=path)
        return path


VisitFactory = Callable[..., Visit]


@contextmanager
def visits_to(url: str, browser: Browser) -> Iterator[VisitFactory]:
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def start(width: int = 1440, height: int = 900, theme: str = "light") -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, reduced_motion="reduce", locale="en-GB"
        )
        context.set_default_timeout(20_000)
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        contexts.append(context)
        visits.append(Visit(context, url))
        return visits[-1]

    yield start
    for context in contexts:
        context.close()
    for one in visits:
        assert one.errors == []
        assert one.outside == [], "The page asks other servers for something."


@pytest.fixture
def visit(browser: Browser, server: WebServer, worker: Worker) -> Iterator[VisitFactory]:
    with visits_to(server.url, browser) as start:
        yield start


@pytest.fixture
def sixty(tmp_path: Path) -> list[Path]:
    """60 photographs, five of each of twelve classes, their class first in the name: real ones where they are, else
    drawn ones, whose classes differ by colour and shape."""
    folder = EVAL / "photos12" / "images"
    if not folder.is_dir():
        return [_drawn(tmp_path, kind, number) for kind in range(12) for number in range(5)]
    by_class: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        by_class.setdefault(path.name.split("_image_")[0], []).append(path)
    return [path for paths in by_class.values() for path in paths[:5]]


def _drawn(folder: Path, kind: int, number: int) -> Path:
    randomness = np.random.default_rng(100 * kind + number)
    color = tuple(int(120 + 110 * np.cos(kind * 0.52 + phase)) for phase in (0, 2.1, 4.2))
    image = Image.new("RGB", (240, 200), (235, 235, 230))
    draw = ImageDraw.Draw(image)
    for _ in range(6 + kind):
        x, y, size = (int(value) for value in randomness.integers((0, 0, 20), (200, 160, 60)))
        shape = (draw.rectangle, draw.ellipse)[kind % 2]
        shape((x, y, x + size, y + size * (1 + kind % 3) // 2), fill=color)
    path = folder / f"kind{kind:02}_image_{number:04}.jpg"
    image.save(path, quality=92)
    return path
