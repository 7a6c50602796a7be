"""A second encoder beside the first, from the panel: added, complete, made the default, the old one deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from datasets.models import Dataset
from search import spaces
from search.models import EmbeddingSpace, PendingEmbedding
from tests.fixtures import add_items

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import EMBED_MS, kind_of, option, upload

pytestmark = pytest.mark.slow


def open_panel(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Dataset {name}").click()
    page.get_by_role("menuitem", name="Spaces …").click()
    expect(page.get_by_role("dialog", name="Spaces")).to_be_visible()


def test_a_second_encoder_takes_over_and_the_first_goes(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "two encoders", sixty)
    expect(option(page, sixty[0].name)).to_be_visible()
    open_panel(page, "two encoders")
    old, new = page.locator("[data-encoder=starter]"), page.locator("[data-encoder=efficientnet-lite0]")
    expect(old).to_contain_text("60 of 60 embedded")
    expect(old).to_contain_text("Default")
    expect(page.get_by_role("button", name="Delete Starter for images")).to_have_count(0)
    assert window.violations() == []

    page.get_by_role("button", name="Add an encoder").click()
    dialog = page.get_by_role("dialog", name="Add an encoder")
    expect(dialog.get_by_role("radio", name="Starter for images")).to_have_count(0)
    dialog.get_by_role("radio", name="EfficientNet-Lite0").check()
    assert window.violations() == []
    window.screenshot("add-encoder-1440-light")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog).to_have_count(0)
    expect(new).to_be_visible()
    expect(new).to_contain_text("60 of 60 embedded", timeout=EMBED_MS)

    new.get_by_role("button", name="Make default (visual of EfficientNet-Lite0)").click()
    expect(new.get_by_text("Default", exact=True)).to_be_visible()
    window.screenshot("spaces-1440-light")
    page.get_by_role("button", name="Delete Starter for images").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(old).to_have_count(0)
    assert EmbeddingSpace.objects.get().encoder == "efficientnet-lite0"

    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    wanted = sixty[7].name
    option(page, wanted).click()
    page.keyboard.press("s")
    expect(page.get_by_text("exact ·")).to_be_visible()
    options = page.get_by_role("option")
    expect(options.first).to_have_accessible_name(f"{wanted} query 1.00")
    names = [str(options.nth(at).get_by_role("img").get_attribute("alt")) for at in range(5)]
    assert len([name for name in names if kind_of(name) == kind_of(wanted)]) >= 3, names


def test_failures_and_a_failed_default_are_told(visit: VisitFactory, alice: Any, dataset: Dataset) -> None:
    RESULTS.mkdir(exist_ok=True)
    items = add_items(dataset, 60)
    for item in items[:55]:
        PendingEmbedding.objects.create(
            dataset=dataset, item=item, encoder=dataset.encoder, reason="ValueError: too dark to see anything"
        )
    spaces.make_spaces(dataset, "efficientnet-lite0")
    dataset.spaces.filter(encoder="starter").update(state="failed", problem="The weights cannot be read. Install them.")
    window = visit(theme="dark")
    page = window.sign_in(alice)
    window.open(f"/datasets/{dataset.pk}")
    notice = page.get_by_text("The encoder starter has failed: The weights cannot be read.")
    expect(notice).to_be_visible()
    expect(option(page, "item-0000")).to_be_visible()
    assert window.violations() == []
    window.screenshot("space-failed-1440-dark")
    page.get_by_role("button", name="Spaces", exact=True).click()
    card = page.locator("[data-encoder=starter]")
    expect(card).to_contain_text("0 of 60 embedded · 55 failed")
    card.get_by_role("button", name="why").click()
    expect(card.get_by_role("button", name="item-0000")).to_be_visible()
    expect(card.get_by_text("too dark")).to_have_count(50)
    card.get_by_role("button", name="More").click()
    expect(card.get_by_text("too dark")).to_have_count(55)
    assert window.violations() == []
    window.screenshot("failures-1440-dark")
    other = page.locator("[data-encoder=efficientnet-lite0]")
    expect(other).to_contain_text("60 left out")
    other.get_by_role("button", name="Make default when complete").click()
    expect(other).to_contain_text("Default when complete")
    other.get_by_role("button", name="Don’t make it the default").click()
    expect(other.get_by_role("button", name="Make default when complete")).to_be_visible()


def test_a_model_can_be_named_for_a_new_dataset(visit: VisitFactory, alice: Any) -> None:
    window = visit()
    page = window.sign_in(alice)
    page.get_by_role("button", name="New dataset").click()
    page.get_by_label("Name", exact=True).fill("named")
    expect(page.get_by_role("radio", name="Starter for images")).to_be_checked()
    create = page.get_by_role("button", name="Create", exact=True)
    expect(create).to_be_enabled()
    page.get_by_role("radio", name="Another model").check()
    expect(create).to_be_disabled()
    page.get_by_label("Name of the model").fill("no-such")
    expect(page.get_by_text("There is no encoder “no-such”")).to_be_visible()
    expect(create).to_be_disabled()
    assert window.violations() == []
    RESULTS.mkdir(exist_ok=True)
    window.screenshot("another-model-1440-light")
    page.get_by_label("Name of the model").fill("efficientnet-lite0")
    expect(page.get_by_role("status").get_by_text("Small and quick")).to_be_visible()
    create.click()
    expect(page.get_by_text("Nothing in here yet")).to_be_visible()
    assert Dataset.objects.get().encoder == "efficientnet-lite0"
