"""Searches are kept under a name; filters that leave nothing say why."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets import importing, jobs, predictions
from datasets.models import Dataset, Item, SavedSearch
from datasets.predictions import Predicted
from tests.processes import Worker

from .conftest import VisitFactory

pytestmark = pytest.mark.slow

_ROWS = [
    ("I lost my card on the train", "lost"),
    ("my card was stolen", "lost"),
    ("the card was swallowed by the machine", ""),
    ("what is the exchange rate for euros", "rate"),
    ("do you change dollars into euros", ""),
    ("how do I close my account", ""),
]


def import_texts(dataset: Dataset, worker: Worker, by: Any) -> list[Item]:
    table = io.BytesIO("\n".join(["text,label", *(f'"{text}",{label}' for text, label in _ROWS)]).encode())
    jobs.run(importing.start_upload_import(dataset, [("t.csv", table)], by=by).pk)
    worker.wait_until_idle()
    return list(dataset.items.all())


def test_a_search_is_kept_opened_changed_and_deleted(
    visit: VisitFactory, worker: Worker, alice: Any, bob: Any, multi: Dataset
) -> None:
    items = import_texts(multi, worker, alice)
    window = visit()
    window.sign_in(bob)
    page = window.open(f"/datasets/{multi.pk}?like={items[0].pk}&min=0.3")
    expect(page.locator("[data-unlabeled]")).to_have_text(re.compile(r"^\d unlabelled$"))
    page.get_by_role("button", name="Save …").click()
    page.get_by_role("textbox", name="Name").fill("lost cards")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page).to_have_url(re.compile("saved="))
    saved = SavedSearch.objects.get()
    assert (saved.name, saved.query, saved.min_score) == ("lost cards", {"like": [items[0].pk]}, 0.3)
    row = page.get_by_label("Saved searches")
    expect(row.get_by_role("button", name=re.compile(r"lost cards\s+\d"))).to_be_visible()
    window.screenshot("saved-searches")
    assert window.violations() == []

    page.get_by_label("Search", exact=True).fill("unlabeled")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("“lost cards” is this search from now on")).to_be_visible()
    saved.refresh_from_db()
    assert saved.query == {"like": [items[0].pk], "filter": {"unlabeled": "true"}}

    # With what it finds on the first page, too.
    page.get_by_role("link", name="Kindred").click()
    page.get_by_role("list", name=re.compile("Saved searches of")).get_by_role(
        "link", name=re.compile(r"lost cards\s*\d")
    ).click()
    expect(page).to_have_url(re.compile(f"like={items[0].pk}.*unlabeled=true"))

    other = visit()
    other.sign_in(alice)
    theirs = other.open(f"/datasets/{multi.pk}?saved={saved.pk}")
    expect(theirs).to_have_url(re.compile(f"like={items[0].pk}.*unlabeled=true"))
    theirs.get_by_role("button", name="Change “lost cards”").click()
    theirs.get_by_role("menuitem", name="Rename …").click()
    theirs.get_by_role("textbox", name="Name").fill("cards")
    theirs.get_by_role("button", name="Rename").click()
    theirs.get_by_role("button", name="Change “cards”").click()
    theirs.get_by_role("menuitem", name="Delete").click()
    expect(theirs.get_by_label("Saved searches")).to_have_count(0)
    theirs.get_by_role("button", name="Undo").click()
    expect(theirs.get_by_label("Saved searches")).to_be_visible()
    assert SavedSearch.objects.get().name == "cards"


def test_items_become_examples_by_a_click_in_their_corner(
    visit: VisitFactory, worker: Worker, alice: Any, multi: Dataset
) -> None:
    items = import_texts(multi, worker, alice)
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{multi.pk}?like={items[0].pk}")
    other, last = (page.locator(f"[data-id='{items[at].pk}']") for at in (3, 5))
    other.hover()
    other.locator("[data-refine=unlike]").click()
    expect(page).to_have_url(re.compile(rf"like={items[0].pk}&unlike={items[3].pk}$"))
    last.hover()
    last.locator("[data-refine=like]").click()
    expect(page).to_have_url(re.compile(rf"like={items[0].pk}(&like=|%2C|,){items[5].pk}&unlike={items[3].pk}$"))
    window.screenshot("refined")
    assert window.violations() == []
    # Once more, and it is none any more.
    other.hover()
    other.locator("[data-refine=unlike]").click()
    expect(page).not_to_have_url(re.compile("unlike"))


def test_filters_that_exclude_each_other_are_named_and_dropped(
    visit: VisitFactory, worker: Worker, alice: Any, multi: Dataset
) -> None:
    items = import_texts(multi, worker, alice)
    said = [Predicted(items[0].pk, "rate", 0.9), Predicted(items[3].pk, "rate", 0.8)]
    predictions.replace(predictions.model_named(multi, "judge"), [item.pk for item in items], said)
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{multi.pk}")
    page.get_by_role("button", name=re.compile(r"Disagrees with its label\s+1")).click()
    expect(page.get_by_role("option")).to_have_count(1)
    page.get_by_label("Search", exact=True).fill("unlabeled predicted:rate")
    page.keyboard.press("Enter")
    expect(page.get_by_text("“unlabeled” and “disagrees with its label” exclude each other.")).to_be_visible()
    window.screenshot("contradiction")
    assert window.violations() == []
    page.get_by_role("button", name="Drop “unlabeled”").click()
    expect(page.get_by_role("option")).to_have_count(1)


def test_words_are_looked_for_as_they_stand_too(
    visit: VisitFactory, worker: Worker, alice: Any, multi: Dataset
) -> None:
    import_texts(multi, worker, alice)
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{multi.pk}")
    expect(page.get_by_role("option")).to_have_count(len(_ROWS))
    page.get_by_label("Search", exact=True).fill('"the card" machine -stolen')
    page.keyboard.press("Enter")
    expect(page.get_by_role("option")).to_have_count(len(_ROWS))
    expect(page.get_by_role("option").first.locator("mark")).to_have_text(["the card", "machine"])
    expect(page.get_by_text("1 with the words")).to_be_visible()
    page.get_by_role("button", name="Exact words").click()
    expect(page.get_by_role("option")).to_have_count(1)
    window.screenshot("words")
    assert window.violations() == []
    page.goto(f"{window.url}/datasets/{multi.pk}?text=unicorn&mode=words")
    expect(page.get_by_text("No text holds these words")).to_be_visible()
    page.get_by_role("button", name="Look for their meaning, too").click()
    expect(page.get_by_role("option")).to_have_count(len(_ROWS))
