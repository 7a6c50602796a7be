"""Polygons in a real browser: drawn by clicks and by keys, kept as regions, and marked to search with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from datasets.models import Dataset, Region

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import EMBED_MS, option, upload
from .test_region_search import tile

pytestmark = pytest.mark.slow

_TRIANGLE = [(0.2, 0.2), (0.8, 0.3), (0.4, 0.8)]


def click_points(page: Page, *points: tuple[float, float]) -> None:
    found = page.locator(".pen").bounding_box()
    assert found
    for x, y in points:
        page.mouse.click(found["x"] + x * found["width"], found["y"] + y * found["height"])


def test_polygons_are_drawn_and_searched_with(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "parts", sixty[:12])
    tile(Dataset.objects.get(), alice)

    # By clicks: the first point again closes it, and it is a region.
    option(page, sixty[3].name).dblclick()
    page.get_by_role("button", name="Draw a polygon").click()
    expect(page.get_by_role("group", name="Picture: click the points")).to_be_focused()
    click_points(page, *_TRIANGLE)
    expect(page.get_by_text("3 points. Click the first one")).to_be_visible()
    window.screenshot("polygon-begun")
    assert window.violations() == []
    with page.expect_response(lambda response: "/regions/" in response.url and response.request.method == "POST"):
        click_points(page, _TRIANGLE[0])
    region = Region.objects.get(kind="drawn")
    assert [tuple(round(one, 1) for one in point) for point in region.polygon or []] == _TRIANGLE
    assert (round(region.x, 1), round(region.width, 1)) == (0.2, 0.6)

    # By keys: a cross is moved, Enter sets a point, and closes it at the first one. Two points are no polygon.
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    expect(page.get_by_role("group", name="Picture: click the points")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="polygon")).to_be_visible()
    for _ in range(3):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Enter")
    with page.expect_response(lambda response: "/regions/" in response.url and response.request.method == "POST"):
        page.keyboard.press("Enter")
    assert Region.objects.filter(kind="drawn").count() == 2

    # As an area that is only searched with: in the address, in the chip, outlined on what it found, and told.
    page.goto(f"{window.url}/datasets/{Dataset.objects.get().pk}")
    option(page, sixty[5].name).click()
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    page.keyboard.press("p")
    expect(page.get_by_role("group", name="Picture: click the points")).to_be_focused()
    click_points(page, *_TRIANGLE, _TRIANGLE[0])
    expect(page.get_by_role("button", name="Area to search with")).to_be_focused()
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"like=\d+-p0\.2_0\.2_0\.8_0\.3_0\.4_0\.8"))
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)
    page.keyboard.press("ArrowRight")
    why = page.get_by_role("heading", name="Why this result").locator("..")
    expect(why).to_contain_text("a part of")
    expect(why.locator("img").first).to_have_attribute("style", re.compile("polygon"))
    window.screenshot("polygon-results")
    assert window.violations() == []
    assert Region.objects.filter(kind="drawn").count() == 2
