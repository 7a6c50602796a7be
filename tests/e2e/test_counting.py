"""Counting what a detector saw, in a real browser: typed into the search bar, shown as a chip, refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets import predictions
from datasets.models import Dataset, Item
from datasets.predictions import Predicted
from datasets.regions import Shape

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import upload

pytestmark = pytest.mark.slow


def test_more_than_two_people_are_asked_for_in_the_search_bar(
    visit: VisitFactory, alice: Any, sixty: list[Path]
) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "crowds", sixty[:12])
    dataset = Dataset.objects.get()
    items = list(Item.objects.filter(dataset=dataset).order_by("pk"))
    box = Shape(0.1, 0.1, 0.3, 0.5)
    # The first shows nobody, the last five persons or more.
    said = [Predicted(item.pk, "person", 0.8, box) for at, item in enumerate(items) for _ in range(min(at, 5))]
    model = predictions.model_named(dataset, "eyes", ["person", "traffic light"])
    predictions.replace(model, [item.pk for item in items], said)

    search = page.get_by_label("Search", exact=True)
    shown = page.get_by_role("option")
    search.fill("person>2")
    search.press("Enter")
    expect(page.get_by_role("button", name="Remove person >2")).to_be_visible()
    expect(shown).to_have_count(9)
    window.screenshot("counted-1440-light")
    assert window.violations() == []
    search.fill('"traffic light"=0 person<=4')
    search.press("Enter")
    expect(page.get_by_role("button", name="Remove traffic light =0")).to_be_visible()
    # Another number of the same takes the place of the first.
    expect(page.get_by_role("button", name="Remove person >2")).to_have_count(0)
    expect(shown).to_have_count(5)
    page.get_by_role("button", name="Clear the search and the filters").click()
    expect(shown).to_have_count(12)
    search.fill("person>2 unicorn=1")
    search.press("Enter")
    main = page.get_by_role("main")
    expect(main.get_by_text("looks for “unicorn”. It can count person, traffic light")).to_be_visible()
    window.screenshot("not-counted-1440-light")
