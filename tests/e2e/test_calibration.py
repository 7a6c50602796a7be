"""What a score is worth, in the page: a suggested cut, and saying that nothing is found."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets.models import Dataset
from tests.processes import Worker

from .conftest import VisitFactory
from .test_searching import import_texts

pytestmark = pytest.mark.slow


def test_words_that_are_not_there_find_nothing_and_others_suggest_a_cut(
    visit: VisitFactory, worker: Worker, alice: Any, multi: Dataset
) -> None:
    items = import_texts(multi, worker, alice)
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{multi.pk}?text=volcano")
    doubt = page.get_by_text("Nothing here reads like that.")
    expect(doubt).to_be_visible()
    expect(page.get_by_role("option")).to_have_count(len(items))
    expect(page.get_by_role("button", name="suggested")).to_have_count(0)
    window.screenshot("nothing-like-that")
    assert window.violations() == []

    page.get_by_label("Search", exact=True).fill("a lost or stolen bank card")
    page.keyboard.press("Enter")
    suggested = page.get_by_role("button", name="suggested")
    expect(suggested).to_be_visible()
    expect(doubt).to_have_count(0)
    suggested.click()
    expect(page).to_have_url(re.compile(r"min=0\.\d"))
    expect(suggested).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("slider", name="Lowest score")).to_contain_text(" · top ")
    number = int(page.get_by_role("button", name="Select all").inner_text().split()[2])
    assert 1 <= number < len(items)
    window.screenshot("suggested-cut")
    assert window.violations() == []
    suggested.blur()
    page.keyboard.press("c")
    expect(page).not_to_have_url(re.compile("min="))
    page.get_by_role("option").first.click()
    expect(page.get_by_text(re.compile(r"Score \.\d\d, top \d+ %"))).to_be_visible()
