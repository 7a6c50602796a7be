"""Texts are curated as images are: duplicates put aside, long ones read whole."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets import importing, jobs
from datasets.models import Dataset, Item
from tests.processes import Worker

from .conftest import VisitFactory

pytestmark = pytest.mark.slow

LONG = "It goes on. " * 5000 + "It ends here."


def test_duplicates_are_put_aside_and_brought_back(
    visit: VisitFactory, worker: Worker, alice: Any, multi: Dataset
) -> None:
    rows = ["Where is my card?", "how do I pay", "  WHERE is my\u00a0card?", "بطاقتي", LONG]
    table = io.BytesIO("\n".join(["text", *(f'"{row}"' for row in rows)]).encode())
    job = importing.start_upload_import(multi, [("t.csv", table)], by=alice)
    jobs.run(job.pk)
    worker.wait_until_idle()
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{multi.pk}")
    page.get_by_role("button", name=re.compile(r"All but the first\s+1")).click()
    expect(page).to_have_url(re.compile("duplicates=extra"))
    page.get_by_role("button", name="Select all 1").click()
    page.keyboard.press("x")
    expect(page.get_by_text("Excluded: 1 item")).to_be_visible()
    assert list(Item.objects.filter(status="excluded").values_list("key", flat=True)) == ["t.csv#3"]
    assert window.violations() == []
    page.keyboard.press("z")
    expect(page.get_by_role("button", name=re.compile(r"Excluded\s+0"))).to_be_visible()

    page.goto(f"{window.url}/datasets/{multi.pk}/items/{Item.objects.get(key='t.csv#5').pk}")
    expect(page.locator("[data-large]")).to_contain_text("It ends here.")
    expect(page.get_by_label("Inspector").get_by_role("heading", name="Labels")).to_be_in_viewport()
