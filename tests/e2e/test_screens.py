"""Every screen passes axe-core, light and dark, wide and narrow; screenshots of the demo datasets are kept in
``test-results/`` to be looked at. ``KEEP_SCREENSHOT=1`` renews the one in the README."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from datasets import demo
from datasets.models import Dataset

from .conftest import RESULTS, ROOT, Visit, VisitFactory
from .test_first_five_minutes import EMBED_MS

pytestmark = pytest.mark.slow


def screens(window: Visit, images: Dataset, texts: Dataset) -> Iterator[str]:
    """Each screen once it is complete, by name."""
    page = window.page
    expect(page.locator("[data-dataset]")).to_have_count(2)
    yield "home"
    page.get_by_role("button", name="New dataset").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "new-dataset"
    page.keyboard.press("Escape")

    page.goto(f"{window.url}/datasets/{images.pk}")
    expect(page.get_by_role("option").nth(10)).to_be_visible()
    expect(page.locator(".job")).to_have_count(0, timeout=EMBED_MS)
    yield "workspace"
    page.keyboard.press("/")
    page.keyboard.type("a cup of coffee")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("exact ·|with the words ·"))).to_be_visible(timeout=60_000)
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    expect(page.get_by_text("like this", exact=True)).to_be_visible()
    cut(page)
    page.get_by_role("button", name="Select all").click()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(800)
    yield "similar"
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    yield "large"
    page.keyboard.press("Escape")
    for key, name in (("l", "palette"), ("t", "tags"), ("?", "keys"), ("h", "history")):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog")).to_be_visible()
        page.wait_for_timeout(300)
        yield name
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name=f"Dataset {images.name}").click()
    page.get_by_role("menuitem", name="Spaces …").click()
    expect(page.locator("[data-encoder]")).to_be_visible()
    page.wait_for_timeout(300)
    yield "spaces"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name=f"Dataset {images.name}").click()
    page.get_by_role("menuitem", name="Regions …").click()
    expect(page.get_by_text("Pictures are seen as wholes only")).to_be_visible()
    page.wait_for_timeout(300)
    yield "regions"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.goto(f"{window.url}/datasets/{images.pk}?split=nowhere")
    expect(page.get_by_text("No item passes the filters")).to_be_visible()
    yield "empty"
    page.goto(f"{window.url}/datasets/{texts.pk}")
    expect(page.get_by_role("option").nth(10)).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("a large bird of prey")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("exact ·|with the words ·"))).to_be_visible(timeout=60_000)
    page.wait_for_timeout(500)
    yield "text"


def cut(page: Page) -> None:
    """Drag the threshold to where some twenty items are above it."""
    bars = page.locator(".strip .bars").bounding_box()
    assert bars
    page.mouse.move(bars["x"] + 4, bars["y"] + 12)
    page.mouse.down()
    page.mouse.move(bars["x"] + bars["width"] * 0.64, bars["y"] + 12, steps=4)
    page.mouse.up()
    expect(page.get_by_role("button", name="above")).to_be_visible()


def test_every_screen_is_accessible(visit: VisitFactory, alice: Any) -> None:
    demo.create_demo(alice)
    images, texts = Dataset.objects.get(modality="image"), Dataset.objects.get(modality="text")
    RESULTS.mkdir(exist_ok=True)
    problems: list[str] = []
    for width, height, theme in ((1440, 900, "light"), (1440, 900, "dark"), (1024, 700, "light"), (1024, 700, "dark")):
        window = visit(width, height, theme)
        window.open("/login")
        window.page.get_by_role("heading", name="Sign in").wait_for()
        problems += [f"sign-in {theme}: {found}" for found in window.violations()]
        window.sign_in(alice)
        for name in screens(window, images, texts):
            window.screenshot(f"{name}-{width}-{theme}")
            problems += [f"{name} {width} {theme}: {found}" for found in window.violations()]
    assert not problems, "\n".join(problems)
    if os.environ.get("KEEP_SCREENSHOT") == "1":
        target = ROOT / "docs" / "images" / "workspace.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / "similar-1440-light.png", target)
