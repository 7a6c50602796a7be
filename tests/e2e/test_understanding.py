"""Numbers, places, colours and measures in the words of a search, in a real browser: understood as chips that can be edited and
dropped, with the other reading one click away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from datasets import predictions
from datasets.colours import COLOUR_NAMES
from datasets.models import Dataset, Item
from datasets.predictions import Predicted
from datasets.regions import Shape

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import upload

pytestmark = pytest.mark.slow

LEFT, RIGHT = Shape(0.05, 0.3, 0.2, 0.4), Shape(0.75, 0.3, 0.2, 0.4)


def detect(dataset: Dataset) -> None:
    """Nobody in the first item, one person more in each after it, up to five; a red car on the left of every third."""
    items = list(Item.objects.filter(dataset=dataset).order_by("pk"))
    red = bytes(255 * (name == "red") for name in COLOUR_NAMES)
    said = [Predicted(item.pk, "person", 0.8, RIGHT) for at, item in enumerate(items) for _ in range(min(at, 5))]
    said += [Predicted(item.pk, "car", 0.8, LEFT, colors=red) for item in items[::3]]
    model = predictions.model_named(dataset, "eyes", ["person", "car"])
    predictions.replace(model, [item.pk for item in items], said)


def ask(page: Page, words: str) -> None:
    search = page.get_by_label("Search", exact=True)
    search.fill(words)
    search.press("Enter")


def test_what_is_typed_is_understood_edited_and_read_the_other_way(
    visit: VisitFactory, alice: Any, sixty: list[Path]
) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "streets", sixty[:12])
    dataset = Dataset.objects.get()
    detect(dataset)
    shown = page.get_by_role("option")
    expect(shown).to_have_count(12)

    # All of it is understood: a filter, in the order of import, which the address holds.
    ask(page, "Photos with more than two people and a red car on the left")
    expect(page.get_by_role("button", name="Remove person >2")).to_be_visible()
    expect(page.get_by_role("button", name="Remove red car, left, ≥1")).to_be_visible()
    expect(shown).to_have_count(3)
    notice = page.get_by_role("status").filter(has_text="Understood")
    expect(notice).to_contain_text("“more than two people” as person >2 (detections of eyes)")
    window.screenshot("understood-1440-light")
    assert window.violations() == []
    page.reload()
    expect(notice).to_be_visible()
    expect(shown).to_have_count(3)

    # A chip is taken back into the field, changed, and asked again.
    page.get_by_role("button", name="red car, left, ≥1", exact=True).click()
    expect(shown).to_have_count(9)
    field = page.get_by_label("Search", exact=True)
    expect(field).to_have_value("red car on the left")
    field.fill("no red car on the left")
    field.press("Enter")
    expect(page.get_by_role("button", name="Remove red car, left, 0")).to_be_visible()
    expect(shown).to_have_count(6)
    page.get_by_role("button", name="Remove person >2").click()
    expect(shown).to_have_count(8)
    expect(notice).to_have_count(0)

    # Words that are left are compared; what nobody looks for is told.
    page.get_by_role("button", name="Clear the search and the filters").click()
    ask(page, "piano without people, 3 unicorns")
    expect(page.get_by_role("button", name="Remove person =0")).to_be_visible()
    expect(page.get_by_role("button", name="Remove piano 3 unicorns")).to_be_visible()
    expect(page.get_by_text("“unicorns” is none of the things that a detector here looks for")).to_be_visible()
    expect(shown).to_have_count(1)
    window.screenshot("understood-words-1440-light")

    # The other reading, and back.
    page.get_by_role("button", name="Search the words instead").click()
    expect(page.get_by_role("button", name="Remove piano without people, 3 unicorns")).to_be_visible()
    expect(shown).to_have_count(12)
    expect(page).to_have_url(re.compile("literal=1"))
    page.get_by_role("button", name="Understand them").click()
    expect(page.get_by_role("button", name="Remove person =0")).to_be_visible()
    expect(shown).to_have_count(1)


def test_words_in_an_address_are_understood(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    window = visit()
    page = window.sign_in(alice)
    upload(window, "streets", sixty[:6])
    dataset = Dataset.objects.get()
    detect(dataset)
    page.goto(f"{window.url}/datasets/{dataset.pk}?text=at+least+2+people")
    expect(page.get_by_role("button", name="Remove person >=2")).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(4)
    # Nothing else was in the way: Back leaves the dataset.
    page.go_back()
    expect(page).not_to_have_url(re.compile("text="))
