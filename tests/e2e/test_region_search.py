"""Search by areas in a real browser: marked with the mouse and by keys, on items and on an uploaded picture; what matched is
outlined, explained and labelled."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets.models import Annotation, Dataset, Region
from search.models import PendingEmbedding
from tests.search.test_region_layers import fill

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import EMBED_MS, option, upload
from .test_regions import drag

pytestmark = pytest.mark.slow


def tile(dataset: Dataset, by: Any) -> None:
    """Every image has its tiles. The worker is at some of them when we are not."""
    fill(dataset, by, "tile", scales=[2], overlap=0)
    end = time.monotonic() + EMBED_MS / 1000
    while PendingEmbedding.objects.exists():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_an_area_is_marked_searched_outlined_and_explained(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "parts", sixty[:24])
    dataset = Dataset.objects.get()
    tile(dataset, alice)

    # By mouse.
    option(page, sixty[3].name).dblclick()
    page.get_by_role("button", name="Mark an area").click()
    drag(page, (0.1, 0.1), (0.6, 0.7))
    expect(page.get_by_role("button", name="Area to search with, 50 × 60 %")).to_be_focused()
    window.screenshot("marked-area-1440-light")
    assert window.violations() == []
    page.get_by_role("button", name="Find this area").click()
    expect(page.get_by_text("like this area")).to_be_visible()
    expect(page).to_have_url(re.compile(r"like=\d+-b0\.1_0\.1_0\.5_0\.6"))
    assert not Region.objects.filter(kind="drawn").exists()
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)
    expect(page.get_by_role("button", name="Regions", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowRight")
    why = page.get_by_role("heading", name="Why this result").locator("..")
    expect(why).to_contain_text("a part of")
    window.screenshot("region-results-1440-light")
    assert window.violations() == []
    page.reload()
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)
    page.get_by_role("button", name="Regions", exact=True).click()
    expect(page.locator("svg[data-region]")).to_have_count(0)

    # By keys: one in the middle, moved and made larger; then a drawn region, and one more like it.
    option(page, sixty[9].name).click()
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    expect(page.get_by_role("group", name="Picture: drag a box")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    expect(page.get_by_role("button", name="Area to search with, 40 × 41 %")).to_be_focused()
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"like=\d+-b0\.29_0\.3_0\.4_0\.41"))
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)
    option(page, sixty[5].name).click()
    page.keyboard.press("Enter")
    page.keyboard.press("b")
    expect(page.get_by_role("group", name="Picture: drag a box")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="drawn region, 40 × 40 %")).to_be_focused()
    expect(page.get_by_role("button", name="Find this region")).to_be_visible()
    page.keyboard.press("s")
    region = Region.objects.get(kind="drawn")
    expect(page).to_have_url(re.compile(rf"like={region.item_id}-r{region.pk}"))
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)


def test_found_regions_are_labelled_and_a_part_of_an_upload_is_searched(
    visit: VisitFactory, alice: Any, sixty: list[Path]
) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "parts", sixty[:24])
    dataset = Dataset.objects.get()
    tile(dataset, alice)

    with page.expect_response("**/ranking/"):
        page.get_by_label("Picture to search with").set_input_files(sixty[30])
    page.get_by_role("button", name="like this picture", exact=True).click()
    dialog = page.get_by_role("dialog", name="Search with a part of the picture")
    page.wait_for_function("() => document.querySelector('[role=dialog] .surface')")
    expect(dialog.get_by_role("button", name="Find this area")).to_be_disabled()
    drag(page, (0.2, 0.2), (0.8, 0.8))
    window.screenshot("upload-area-1440-light")
    assert window.violations() == []
    page.keyboard.press("s")
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("button", name="like this part of the picture", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"image_box=0\.2_0\.2_0\.6_0\.6"))
    expect(page.locator("svg[data-region] polygon").first).to_be_attached(timeout=EMBED_MS)

    page.get_by_role("option").first.click()
    page.keyboard.press("Control+a")
    toggle = page.get_by_role("button", name="Label").filter(has_text="region")
    expect(toggle).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("r")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    window.screenshot("label-regions-1440-light")
    assert window.violations() == []
    page.keyboard.press("l")
    page.get_by_role("combobox", name="Class").fill("corner")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Labelled regions of")).to_be_visible()
    labelled = Annotation.objects.standing()
    assert labelled.count() > 0
    assert not labelled.filter(region=None).exists()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone on")).to_be_visible()
    assert not Annotation.objects.standing().exists()
