"""The review queue in a real browser: one key per decision, evidence beside it, all of one mistake, and undo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets import jobs, labelling, selection
from datasets.models import Annotation, Dataset, Item, Status
from search.findings import job as looking
from search.findings import storing
from search.findings.base import Found
from search.models import Finding

from .conftest import RESULTS, VisitFactory
from .test_first_five_minutes import upload

pytestmark = pytest.mark.slow


def label_of(item: int) -> str:
    return Annotation.objects.standing().get(item=item, region=None).label.name


def test_findings_are_reviewed_one_by_one_and_together(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "photos", sixty)
    dataset = Dataset.objects.get()
    # Whatever the pictures show. Four of the first class are labelled as the second.
    items = list(dataset.items.order_by("pk"))
    by_class: dict[str, list[Item]] = {"airplanes": items[:8], "butterfly": items[8:16], "bonsai": items[16:24]}
    classes = {name: dataset.classes.create(name=name) for name in by_class}
    for name, members in by_class.items():
        ids = [item.pk for item in members]
        labelling.apply_label(selection.of_items(dataset, ids), classes[name], by=alice)
    wrong = by_class["airplanes"][:4]
    labelling.apply_label(selection.of_items(dataset, [item.pk for item in wrong]), classes["butterfly"], by=alice)
    group = f"{classes['butterfly'].pk}>{classes['airplanes'].pk}"
    storing.store(
        dataset,
        "label_error",
        [
            Found(
                item.pk,
                0.9 - 0.01 * at,
                "Labelled “butterfly”, but looks like “airplanes”.",
                because=(1,),
                related=[other.pk for other in by_class["airplanes"][4:]],
                suggested=classes["airplanes"].pk,
                confidence=0.96,
                group=group,
            )
            for at, item in enumerate(wrong)
        ],
    )
    job = looking.start(dataset, ["outlier"], by=alice)
    jobs.run(job.pk)

    page.goto(f"{window.url}/datasets/{dataset.pk}")
    page.get_by_role("listbox", name="Items").focus()
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile(r"/review\?kind=label_error$"))
    expect(page.get_by_role("button", name="It is airplanes Enter")).to_be_visible()
    evidence = page.get_by_role("region", name="Evidence")
    expect(evidence.get_by_role("heading", name=re.compile("Nearest items"))).to_be_visible()
    expect(evidence.get_by_role("heading", name=re.compile("Typical airplanes"))).to_be_visible()
    expect(evidence.get_by_role("heading", name=re.compile("Typical butterfly"))).to_be_visible()
    page.wait_for_function("() => [...document.images].every((one) => one.complete)")
    window.screenshot("review-1440-light")
    assert window.violations() == []

    # The suggestion is taken, and taken back.
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{wrong[0].key}: airplanes, not butterfly")).to_be_visible()
    assert label_of(wrong[0].pk) == "airplanes"
    expect(page.get_by_role("article", name=wrong[1].key)).to_be_visible()
    page.keyboard.press("z")
    expect(page.get_by_role("article", name=wrong[0].key)).to_be_visible()
    assert label_of(wrong[0].pk) == "butterfly"
    assert Finding.objects.filter(kind="label_error", state="open").count() == 4

    # Kept; another label; excluded. The next one is there before a key can be meant for it.
    expect(page.get_by_role("button", name="Label errors 4")).to_be_visible()
    page.keyboard.press("k")
    expect(page.get_by_text(f"{wrong[0].key}: kept")).to_be_visible()
    expect(page.get_by_role("article", name=wrong[1].key)).to_be_visible()
    page.keyboard.press("l")
    page.get_by_role("combobox", name="Class").fill("bonsai")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{wrong[1].key}: bonsai, not butterfly")).to_be_visible()
    assert label_of(wrong[1].pk) == "bonsai"

    # The other two together.
    page.get_by_role("button", name="butterfly given, airplanes meant").click()
    together = page.get_by_role("region", name="All of this mistake")
    expect(together.get_by_role("button", pressed=True)).to_have_count(2)
    window.screenshot("review-together-1440-light")
    assert window.violations() == []
    together.get_by_role("button", name="It is airplanes: 2").click()
    expect(page.get_by_text("2 items: airplanes, not butterfly")).to_be_visible()
    assert {label_of(item.pk) for item in wrong[2:]} == {"airplanes"}
    expect(page.get_by_text("Label errors: nothing is open")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Label errors 0"))).to_be_visible()
    page.keyboard.press("z")
    expect(together.get_by_role("button", pressed=True)).to_have_count(2)
    assert {label_of(item.pk) for item in wrong[2:]} == {"butterfly"}

    # Somebody has labelled one meanwhile: it is refused with the reason, and the others go on.
    page.get_by_role("button", name=re.compile("Label errors 2")).click()
    expect(page.get_by_role("article", name=wrong[2].key)).to_be_visible()
    labelling.apply_label(selection.of_items(dataset, [wrong[2].pk]), classes["bonsai"], by=alice)
    page.keyboard.press("Enter")
    expect(page.get_by_text("“bonsai” by now, which is not what was found")).to_be_visible()
    expect(page.get_by_role("article", name=wrong[3].key)).to_be_visible()
    page.keyboard.press("x")
    expect(page.get_by_text(f"{wrong[3].key}: excluded")).to_be_visible()
    assert Item.objects.get(pk=wrong[3].pk).status == Status.EXCLUDED

    # More of this mistake: near this one, with the label that it had.
    page.keyboard.press("m")
    expect(page).to_have_url(re.compile(rf"like={wrong[3].pk}&label=butterfly$"))
