"""What goes wrong is told in the page in one sentence, and nothing is lost."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from datasets import creation
from datasets.models import Dataset, Item
from tests.fixtures import add_items, jpeg
from tests.processes import Worker

from .conftest import VisitFactory

pytestmark = pytest.mark.slow


def test_a_wrong_password_and_an_expired_session(visit: VisitFactory, alice: Any, dataset: Dataset) -> None:
    window = visit()
    page = window.open("/login")
    page.get_by_label("Name").fill("alice")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("password")
    window.sign_in(alice)

    page.goto(f"{window.url}/datasets/{dataset.pk}")
    expect(page.get_by_text("Nothing in here yet")).to_be_visible()
    page.context.clear_cookies()
    page.get_by_role("button", name="All 0").click()
    page.keyboard.press("/")
    page.keyboard.type("split:train")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Your session has ended")).to_be_visible()


def test_another_persons_dataset_is_not_there(visit: VisitFactory, alice: Any, foreign: Dataset) -> None:
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{foreign.pk}")
    expect(page.get_by_text("This dataset is not there")).to_be_visible()


def test_bad_files_are_listed_and_the_good_one_is_in(
    visit: VisitFactory, alice: Any, dataset: Dataset, tmp_path: Path
) -> None:
    archive = tmp_path / "mixed.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("good.jpg", jpeg(1))
        made.writestr("cut.jpg", jpeg(2)[:400])
        made.writestr("page.png", "<html>not an image</html>")
        made.writestr("empty.png", b"")
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{dataset.pk}")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Files to import").set_input_files(archive)
    expect(page.get_by_role("option")).to_have_count(1, timeout=60_000)
    page.get_by_role("button", name="3 refused").click(timeout=60_000)
    page.get_by_role("button", name="3 files refused: why").click()
    for name in ("cut.jpg", "page.png", "empty.png"):
        expect(page.get_by_role("cell", name=name)).to_be_visible()
    assert list(Item.objects.filter(dataset=dataset).values_list("key", flat=True)) == ["good.jpg"]


def test_an_empty_zip_is_refused_with_a_sentence(
    visit: VisitFactory, alice: Any, dataset: Dataset, tmp_path: Path
) -> None:
    empty = tmp_path / "nothing.zip"
    empty.touch()
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{dataset.pk}")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Files to import").set_input_files(empty)
    expect(page.get_by_role("alert").or_(page.get_by_text("A job failed"))).to_be_visible(timeout=60_000)
    assert not Item.objects.filter(dataset=dataset).exists()


def test_a_viewer_can_look_and_not_change(visit: VisitFactory, alice: Any, vera: Any, dataset: Dataset) -> None:
    add_items(dataset, 3)
    window = visit()
    window.sign_in(vera)
    page = window.open(f"/datasets/{dataset.pk}")
    page.get_by_role("option").first.click()
    page.keyboard.press("x")
    expect(page.get_by_text("As a viewer of this dataset you can look")).to_be_visible()
    assert set(Item.objects.filter(dataset=dataset).values_list("status", flat=True)) == {"todo"}


def test_a_text_dataset_tells_what_a_csv_lacks(visit: VisitFactory, alice: Any, tmp_path: Path) -> None:
    made = creation.create_dataset(name="questions", modality="text", by=alice)
    table = tmp_path / "wrong.csv"
    table.write_text("sentence,label\nhello,a\n")
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{made.pk}")
    page.get_by_role("button", name="Import", exact=True).click()
    page.get_by_label("Files to import").set_input_files(table)
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("“text”")


def test_other_content_of_a_key_goes_in_when_it_is_chosen(
    visit: VisitFactory, alice: Any, dataset: Dataset, tmp_path: Path, worker: Worker
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg(1))
    window = visit()
    window.sign_in(alice)
    page = window.open(f"/datasets/{dataset.pk}")

    def bring_in(existing: str) -> None:
        page.get_by_role("button", name=f"Dataset {dataset.name}").click()
        page.get_by_role("menuitem", name="Import …").click()
        page.get_by_label("What is here already").select_option(existing)
        page.get_by_label("Files to import").set_input_files(file)
        expect(page.get_by_role("dialog")).to_be_hidden(timeout=60_000)

    bring_in("keep")
    picture = page.get_by_role("option").locator("img")
    expect(picture).to_have_count(1, timeout=60_000)
    before = picture.get_attribute("src")
    worker.wait_until_idle()
    file.write_bytes(jpeg(2))
    bring_in("keep")
    page.get_by_role("button", name="1 refused").click(timeout=60_000)
    page.get_by_role("button", name="1 file refused: why").click()
    expect(page.get_by_role("cell", name="was left as it is")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert picture.get_attribute("src") == before
    worker.wait_until_idle()
    bring_in("update")
    expect(picture).not_to_have_attribute("src", str(before), timeout=60_000)
    item = Item.objects.get(dataset=dataset)
    assert (item.size_bytes, item.problem) == (len(jpeg(2)), "")
    assert window.violations() == []
