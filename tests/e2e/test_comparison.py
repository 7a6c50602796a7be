"""Encoders compared from the Spaces panel: chosen, tried, read side by side, and one of them put to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from datasets import labelling, selection
from datasets.models import Dataset, Membership, Role
from tests.fixtures import add_class

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import EMBED_MS, kind_of, option, upload
from .test_spaces import open_panel

pytestmark = pytest.mark.slow


def open_comparisons(page: Page, name: str) -> None:
    open_panel(page, name)
    page.get_by_role("button", name="Compare …").click()
    expect(page.get_by_role("dialog", name="Compare encoders")).to_be_visible()


def test_encoders_are_compared_and_one_is_used(visit: VisitFactory, alice: Any, vera: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "which one", sixty)
    expect(option(page, sixty[0].name)).to_be_visible()
    dataset = Dataset.objects.get()
    kinds = sorted({kind_of(path.name) for path in sixty})[:3]
    for kind in kinds:
        ids = [item.pk for item in dataset.items.all() if kind_of(item.key) == kind]
        labelling.apply_label(selection.of_items(dataset, ids), add_class(dataset, kind), by=alice)

    open_comparisons(page, "which one")
    dialog = page.get_by_role("dialog", name="Compare encoders")
    expect(dialog.get_by_role("checkbox", name="Starter for images")).to_be_checked()
    start = dialog.get_by_role("button", name="Compare", exact=True)
    expect(start).to_be_disabled()
    dialog.get_by_label("Another model …").fill("no-such")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_text("There is no encoder “no-such”")).to_be_visible()
    dialog.get_by_role("checkbox", name="EfficientNet-Lite0").focus()
    page.keyboard.press("Space")
    expect(dialog.get_by_text("2 encoders chosen.")).to_be_visible()
    expect(dialog.get_by_label("Sample")).to_have_value("100")
    assert window.violations() == []
    window.screenshot("compare-form-1440-light")
    start.click()

    expect(dialog.get_by_role("meter", name="Progress of the comparison")).to_be_visible()
    expect(dialog.get_by_text("All 60 items, 15 labelled (3 classes)")).to_be_visible(timeout=EMBED_MS)
    starter, other = (page.locator(f"[data-compared={name}]") for name in ("starter", "efficientnet-lite0"))
    expect(starter.get_by_role("row")).to_have_count(2)
    expect(starter).to_contain_text("In use")
    expect(starter.get_by_role("cell", name="± ").first).to_contain_text("%")
    expect(dialog.get_by_role("group", name="Neighbours in common")).to_contain_text("EfficientNet-Lite0")
    dialog.get_by_text("What the figures say").click()
    expect(dialog.get_by_text("The share of labelled items")).to_be_visible()
    assert window.violations() == []
    window.screenshot("compare-1440-light")
    other.get_by_role("button", name="Use it: EfficientNet-Lite0").click()
    expect(other).to_contain_text("In use")
    assert set(dataset.spaces.values_list("encoder", flat=True)) == {"starter", "efficientnet-lite0"}

    # Who may only look finds it later, on a narrow screen.
    Membership.objects.create(dataset=dataset, user=vera, role=Role.VIEWER)
    window = visit(width=480, height=820, theme="dark")
    page = window.sign_in(vera)
    window.open(f"/datasets/{dataset.pk}")
    open_comparisons(page, "which one")
    dialog = page.get_by_role("dialog", name="Compare encoders")
    expect(dialog.get_by_text("All 60 items, 15 labelled (3 classes)")).to_be_visible()
    expect(dialog.get_by_role("button", name="New comparison")).to_have_count(0)
    expect(dialog.get_by_role("button", name="Use it")).to_have_count(0)
    assert window.violations() == []
    window.screenshot("compare-480-dark")
