"""What a newcomer does in the first five minutes, in a real browser, to the exported file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .conftest import Visit, VisitFactory

pytestmark = pytest.mark.slow

EMBED_MS = 180_000


def upload(visit: Visit, name: str, files: list[Path]) -> Page:
    """Through the dialog, to a dataset whose items are all embedded."""
    page = visit.page
    page.get_by_role("button", name="New dataset").click()
    page.get_by_label("Name").fill(name)
    page.get_by_role("dialog").get_by_label("Files to import").set_input_files(files)
    page.get_by_role("button", name="Create and import").click()
    expect(page.get_by_role("option")).not_to_have_count(0, timeout=EMBED_MS)
    expect(page.get_by_role("button", name=f"All {len(files)}")).to_be_visible(timeout=EMBED_MS)
    # What runs is told beside the search bar for as long as it runs.
    expect(page.locator(".job")).to_have_count(0, timeout=EMBED_MS)
    return page


def option(page: Page, key: str) -> Locator:
    return page.get_by_role("option", name=key)


def kind_of(label: str) -> str:
    return label.split("_image_")[0]


def test_from_sixty_photos_to_a_labelled_csv(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    window = visit()
    page = window.sign_in(alice)
    upload(window, "street objects", sixty)
    options = page.get_by_role("option")

    # Find Similar on one photo: its class comes first.
    wanted = sixty[7].name
    option(page, wanted).click()
    page.keyboard.press("s")
    expect(page.get_by_text("exact ·")).to_be_visible()
    expect(options.first).to_have_accessible_name(f"{wanted} query 1.00")
    names = [str(options.nth(at).get_by_role("img").get_attribute("alt")) for at in range(5)]
    alike = [name for name in names if kind_of(name) == kind_of(wanted)]
    assert len(alike) >= 3, names

    # Cut by the threshold with the keyboard, select all above, label by the palette and then by key.
    page.get_by_role("slider", name="Lowest score").focus()
    page.keyboard.press("End")
    select_all = page.get_by_role("button", name="Select all")
    for _ in range(500):
        if int(select_all.inner_text().split()[2]) >= 3:
            break
        page.keyboard.press("ArrowLeft")
    number = int(select_all.inner_text().split()[2])
    assert 3 <= number < len(sixty)
    page.get_by_role("button", name="Select all").click()
    expect(page.get_by_text(f"{number} selected")).to_be_visible()
    page.keyboard.press("l")
    page.get_by_role("combobox", name="Class").fill("found")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"Labelled {number} items found")).to_be_visible()
    expect(page.get_by_role("button", name=f"found 1 {number}")).to_be_visible()

    # One more by its key, taken back by another key: only that one.
    page.keyboard.press("Escape")
    page.get_by_role("button", name="All 60").click()
    other = next(path.name for path in sixty if kind_of(path.name) != kind_of(wanted))
    option(page, other).click()
    page.keyboard.press("1")
    expect(page.get_by_text("Labelled 1 item found")).to_be_visible()
    expect(option(page, other)).to_have_accessible_name(f"{other} found")
    page.keyboard.press("z")
    expect(page.get_by_text("Undone on 1 item")).to_be_visible()
    expect(option(page, other)).to_have_accessible_name(other)

    # What has a label is exported with who gave it and when.
    page.get_by_role("button", name="Dataset street objects").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()))
    assert len(rows) == 60
    labelled = [row for row in rows if row["label"]]
    assert len(labelled) == number
    assert wanted in {row["key"] for row in labelled}
    assert {(row["label"], row["source"], row["author"]) for row in labelled} == {("found", "human", "alice")}
    assert all(row["labeled_at"] for row in labelled)

    # The address holds the view: a reload brings it back.
    page.keyboard.press("/")
    page.keyboard.type("label:found")
    page.keyboard.press("Enter")
    expect(options).to_have_count(number)
    page.reload()
    expect(options).to_have_count(number)


def test_selecting_with_mouse_and_keys(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    window = visit()
    page = window.sign_in(alice)
    upload(window, "selection", sixty[:20])
    options = page.get_by_role("option")
    selected = page.get_by_role("button", name="Selected")

    options.nth(1).click(modifiers=["Control"])
    options.nth(4).click(modifiers=["Shift"])
    expect(selected).to_have_text("Selected 4")
    page.keyboard.press("Escape")
    expect(selected).to_have_text("Selected 0")

    options.nth(0).click()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(selected).to_have_text("Selected 3")
    page.keyboard.press("Space")
    expect(selected).to_have_text("Selected 2")

    first, second = options.nth(0).bounding_box(), options.nth(1).bounding_box()
    assert first
    assert second
    page.mouse.move(first["x"] + 20, first["y"] + 20)
    page.mouse.down()
    page.mouse.move(second["x"] + 20, second["y"] + 40, steps=4)
    page.mouse.up()
    expect(selected).to_have_text("Selected 2")

    page.keyboard.press("Control+a")
    expect(selected).to_have_text("Selected 20")
    options.nth(2).click(modifiers=["Control"])
    expect(selected).to_have_text("Selected 19")
    page.keyboard.press("x")
    expect(page.get_by_text("Excluded: 19 items")).to_be_visible()
    expect(page.get_by_role("button", name="Excluded 19")).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Excluded 0")).to_be_visible()

    selected.click()
    expect(options).to_have_count(19)
