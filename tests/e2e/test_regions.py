"""Regions in a real browser: their cost told, made, outlined, drawn, removed; and the recommended pair, fetched from a hub."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

from datasets.models import Dataset, Region, RegionLayer
from tests.processes import WebServer, Worker
from tests.search import tiny_checkpoints, tiny_encoders, tiny_hub

from .conftest import RESULTS, VisitFactory, visits_to
from .test_first_five_minutes import EMBED_MS, option, upload

pytestmark = pytest.mark.slow


def open_panel(page: Page, name: str) -> None:
    page.get_by_role("button", name=f"Dataset {name}").click()
    page.get_by_role("menuitem", name="Regions …").click()
    expect(page.get_by_role("dialog", name="Regions", exact=True)).to_be_visible()


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place of the picture to another: shares of its sides."""
    found = page.locator(".surface").bounding_box()
    assert found
    (x, y), (to_x, to_y) = (
        (found["x"] + share_x * found["width"], found["y"] + share_y * found["height"])
        for share_x, share_y in (start, end)
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move((x + to_x) / 2, (y + to_y) / 2)
    page.mouse.move(to_x, to_y)
    page.mouse.up()


def drawn() -> list[tuple[float, float, float, float]]:
    found = Region.objects.filter(kind="drawn")
    return [(one.x, one.y, one.width, one.height) for one in found]


def test_tiles_are_costed_made_outlined_and_removed(visit: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = visit()
    page = window.sign_in(alice)
    upload(window, "parts", sixty[:12])
    open_panel(page, "parts")
    expect(page.get_by_text("Pictures are seen as wholes only")).to_be_visible()
    page.get_by_role("button", name="Add regions", exact=True).click()
    dialog = page.get_by_role("dialog", name="Add regions")
    start = dialog.get_by_role("button", name="Start")
    dialog.get_by_role("checkbox", name="3 × 3").uncheck()
    dialog.get_by_role("radio", name="none").check()
    expect(dialog.get_by_text("48 in 12 pictures")).to_be_visible(timeout=EMBED_MS)
    expect(dialog.get_by_text("an estimate")).to_be_visible()
    expect(start).to_be_enabled()
    assert window.violations() == []
    window.screenshot("add-regions-1440-light")
    assert not RegionLayer.objects.exists()
    start.click()
    card = page.locator("[data-layer=tile]")
    expect(card).to_contain_text("12 of 12 pictures · 48 regions", timeout=EMBED_MS)
    expect(card).to_contain_text("2 × 2 over every picture, side by side")
    assert window.violations() == []
    window.screenshot("regions-1440-light")
    page.keyboard.press("Escape")

    option(page, sixty[3].name).click()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Tiles 4").click()
    expect(page.locator(".surface .tile")).to_have_count(4)
    expect(page.get_by_role("button", name="Draw a box")).to_be_visible()
    assert window.violations() == []

    # By mouse: drawn, moved, a corner pulled.
    page.keyboard.press("b")
    drag(page, (0.25, 0.25), (0.5, 0.75))
    box = page.get_by_role("button", name="drawn region, 25 × 50 %")
    expect(box).to_be_visible()
    assert drawn() == [pytest.approx((0.25, 0.25, 0.25, 0.5), abs=0.01)]
    drag(page, (0.4, 0.5), (0.6, 0.5))
    expect(page.locator(".row[aria-pressed=true]")).to_contain_text("25 × 50 %")
    drag(page, (0.7, 0.75), (0.9, 0.85))
    wider = page.get_by_role("button", name="drawn region, 45 × 60 %")
    expect(wider).to_be_visible()
    window.screenshot("drawn-region-1440-light")
    assert window.violations() == []
    # By keys: moved, made smaller, removed, drawn again, one in the middle.
    wider.press("ArrowLeft")
    wider.press("Shift+ArrowUp")
    expect(page.get_by_role("button", name="drawn region, 45 × 59 %")).to_be_visible()
    page.wait_for_timeout(1_000)
    assert drawn() == [pytest.approx((0.44, 0.25, 0.45, 0.59), abs=0.01)]
    page.keyboard.press("Delete")
    expect(page.get_by_text("Removed the region")).to_be_visible()
    assert drawn() == []
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="drawn region, 45 × 59 %")).to_be_visible()
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    middle = page.get_by_role("button", name="drawn region, 40 × 40 %")
    expect(middle).to_be_focused()
    assert len(drawn()) == 2
    page.keyboard.press("Escape")
    expect(middle).to_have_attribute("aria-pressed", "false")

    open_panel(page, "parts")
    card.get_by_role("button", name="Remove Tiles").click()
    confirmation = page.get_by_role("dialog", name="Remove Tiles?")
    expect(confirmation).to_contain_text("Pictures and their labels stay")
    confirmation.get_by_role("button", name="Remove").click()
    expect(card).to_have_count(0, timeout=EMBED_MS)
    assert not RegionLayer.objects.exists()
    assert Region.objects.count() == 2


# With a hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def with_hub(
    _worker_process: Worker, browser: Browser, transactional_db: None, tmp_path: Path
) -> Iterator[VisitFactory]:
    """A hub that has the recommended encoder and detector, as tiny networks, and the app where it can be reached."""
    hub = tiny_hub.Hub()
    for name, make in (
        ("google/siglip2-base-patch16-224", tiny_encoders.siglip),
        ("PekingU/rtdetr_v2_r18vd", tiny_checkpoints.rt_detr),
    ):
        make(tmp_path / name)
        hub.repositories[name] = tmp_path / name
    _worker_process.stop()  # it knows no hub; another test starts it again
    fetched = Path(settings.DATA_DIR) / "models" / "fetched"
    with tiny_hub.serve(hub) as url:
        environment = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        with (
            Worker.start(environment=environment),
            WebServer.start(**environment) as server,
            visits_to(server.url, browser) as start,
        ):
            yield start
    shutil.rmtree(fetched, ignore_errors=True)


def test_a_dataset_begins_with_the_recommended_pair(with_hub: VisitFactory, alice: Any, sixty: list[Path]) -> None:
    RESULTS.mkdir(exist_ok=True)
    window = with_hub()
    page = window.sign_in(alice)
    page.get_by_role("button", name="New dataset").click()
    page.get_by_label("Name", exact=True).fill("paired")
    expect(page.get_by_role("radio", name="Starter for images")).to_be_checked()
    page.get_by_role("dialog").get_by_label("Files to import").set_input_files(sixty[:6])
    pair = page.get_by_role("checkbox", name="Take the recommended SigLIP 2 base and RT-DETR v2, small")
    expect(page.get_by_text("1.6 GB to fetch once")).to_be_visible()
    pair.check()
    expect(page.get_by_role("radio", name="SigLIP 2 base")).to_be_checked()
    assert window.violations() == []
    window.screenshot("recommended-1440-light")
    page.get_by_role("radio", name="Starter for images").check()
    expect(pair).not_to_be_checked()
    pair.check()
    page.get_by_role("button", name="Create and import").click()

    expect(page.get_by_role("option")).to_have_count(6, timeout=EMBED_MS)
    open_panel(page, "paired")
    card = page.locator("[data-layer='transformers:PekingU/rtdetr_v2_r18vd']")
    expect(card).to_contain_text("6 of 6 pictures", timeout=EMBED_MS)
    assert window.violations() == []
    dataset = Dataset.objects.get()
    assert dataset.spaces.get().encoder == "joint:google/siglip2-base-patch16-224"
    layer = RegionLayer.objects.get()
    assert (layer.state, layer.encoder) == ("ready", dataset.encoder)
