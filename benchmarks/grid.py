"""The workspace over a million items, in a real Chromium.

    python benchmarks/grid.py [--quick] [--items NUMBER]

A made dataset (benchmarks/support/million.py) in a Kindred of its own; the Chromium of the system, drawing in software.

- ``usable_ms``: from the navigation until every picture on the screen is shown and the rail has its numbers, with nothing cached.
- ``jump_ms``: from setting the scroll bar, to the middle, the end and other places, until every picture there is shown;
  ``jump_end_ms``: to the end alone.
- ``fps``: frames in each second of scrolling at a steady pace, half of it fast, pictures loading meanwhile.
- ``memory_growth``: memory of the page's process after minutes of scrolling and jumping over the first minute's.
- ``rail_ms``: the slowest of all counts of the filter rail: over everything, under filters, and beside a query that compares every
  vector; each time something was labelled just before, so that nothing is remembered. ``rail``: each of them.
  ``rail_first_ms``: the very first, which reads the columns. ``rail_bare_ms``: one bare ``count(*) … GROUP BY`` of the same items
  by status and split, in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import million
from benchmarks.support.instance import Instance

_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
_PLACES = (0.5, 1.0, 0.25, 0.75, 0.1, 0.9, 0.33)
_FILTERS = {"all": {}, "split": {"split": "f"}, "label": {"label": "f"}, "measure": {"brightness": "<0.5"}}

# Resolves at the first frame in which every picture that can be seen is there, and those of `before` are not.
_SHOWN = """(before) => new Promise((resolve) => {
  const seen = () => {
    const view = document.querySelector('[role=listbox]');
    if (!view) return false;
    const { top, bottom } = view.getBoundingClientRect();
    const places = [...view.querySelectorAll('[role=option]')].filter((one) => {
      const box = one.getBoundingClientRect();
      return box.bottom > top && box.top < bottom;
    });
    return places.length > 0 && places[0].dataset.id !== before &&
      places.every((one) => { const image = one.querySelector('img'); return image && image.complete && image.naturalWidth; });
  };
  const look = () => (seen() ? resolve(performance.now()) : requestAnimationFrame(look));
  look();
})"""

# Resolves when the rail has its numbers.
_COUNTED = """() => new Promise((resolve) => {
  const rail = () => document.querySelector('nav[aria-label=Filters]')?.textContent.includes('Unlabeled');
  const look = () => (rail() ? resolve(performance.now()) : requestAnimationFrame(look));
  look();
})"""

_JUMP = f"""async (share) => {{
  const view = document.querySelector('[role=listbox]');
  const before = view.querySelector('[role=option]').dataset.id;
  const began = performance.now();
  view.scrollTop = share * view.scrollHeight;
  return (await ({_SHOWN})(before)) - began;
}}"""

# Frames in each whole second.
_SCROLL = """([seconds, pace]) => new Promise((resolve) => {
  const view = document.querySelector('[role=listbox]');
  const began = performance.now();
  const frames = [];
  let last = began;
  const step = (now) => {
    view.scrollTop += (pace * (now - last)) / 1000;
    last = now;
    frames.push(now);
    if (now - began < seconds * 1000) return requestAnimationFrame(step);
    const counts = Array(seconds).fill(0);
    for (const frame of frames) counts[Math.min(seconds - 1, Math.max(0, Math.floor((frame - began) / 1000)))]++;
    resolve(counts);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 items, 15 seconds of scrolling")
    parser.add_argument("--items", type=int, help="so many instead")
    options = parser.parse_args()
    items = options.items or (19_000 if options.quick else 1_000_000)
    minutes = 0.25 if options.quick else 5.0
    print(f"{items:,} items, {minutes:g} minutes of scrolling, {os.cpu_count()} cores", flush=True)
    with Instance() as instance:
        instance.set_up_django()
        dataset = made(items)
        figures: dict[str, Any] = {"items": items, "cores": os.cpu_count(), "scroll_s": 60 * minutes}
        figures |= of_rail(instance, dataset)
        with chromium() as open_page:
            figures |= of_opening(instance, dataset, open_page, times=3 if options.quick else 7)
            figures |= of_moving(instance, dataset, open_page, minutes)
    for name, figure in figures.items():
        print(f"{name:24} {figure}")
    print(json.dumps(figures))


def made(items: int) -> Any:
    from django.contrib.auth import get_user_model

    from search import indexing

    began = time.perf_counter()
    dataset, space, _ = million.make(items, by=get_user_model()._default_manager.first())
    if items >= indexing.LEAST_ROWS:
        # It would be built by itself in a moment, while we measure.
        job = indexing.jobs_of(space).first() or indexing.start(space)
        while not job.is_over:
            time.sleep(0.5)
            job.refresh_from_db()
    print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
    return dataset


@contextmanager
def chromium() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("This needs Chromium on the PATH. On Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)

        def open_page(instance: Instance) -> Page:
            """Of a new window, signed in, with nothing cached."""
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.set_default_timeout(120_000)
            context.add_cookies(
                [{"name": name, "value": value, "url": instance.url} for name, value in instance.cookies()]
            )
            return context.new_page()

        yield open_page
        browser.close()


def of_opening(instance: Instance, dataset: Any, open_page: Any, times: int) -> dict[str, Any]:
    pictures, whole = [], []
    for _ in range(times):
        page = open_page(instance)
        page.goto(f"{instance.url}/datasets/{dataset.pk}", wait_until="commit")
        # performance.now() counts from the navigation.
        shown, counted = page.evaluate(f"() => Promise.all([({_SHOWN})(''), ({_COUNTED})()])")
        pictures.append(shown)
        whole.append(max(shown, counted))
        page.context.close()
    return {
        "usable_ms": round(statistics.median(whole)),
        "first_pictures_ms": round(statistics.median(pictures)),
    }


def of_moving(instance: Instance, dataset: Any, open_page: Any, minutes: float) -> dict[str, Any]:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    page = open_page(instance)
    page.goto(f"{instance.url}/datasets/{dataset.pk}")
    page.evaluate(_SHOWN, "")
    jumps = [(share, page.evaluate(_JUMP, share)) for share in _PLACES]
    page.evaluate(_JUMP, 0.4)
    frames = [*page.evaluate(_SCROLL, [5, 900]), *page.evaluate(_SCROLL, [5, 6000])]
    rounds = max(2, round(60 * minutes / 10))
    memory = []
    for number in range(rounds):
        page.evaluate(_SCROLL, [9, 900 if number % 2 else 6000])
        page.evaluate(_JUMP, (number * 0.37) % 1)
        memory.append(renderer_bytes(page, before))
    first = memory[: max(1, round(60 / 10))]
    last = memory[-max(1, round(60 / 10)) :] if len(memory) > 6 else memory[-1:]
    first = first if len(memory) > 6 else memory[:1]
    page.context.close()
    return {
        "jump_ms": round(statistics.median(ms for _, ms in jumps)),
        # The first time: later its items are known.
        "jump_end_ms": round(next(ms for share, ms in jumps if share == 1.0)),
        "jump_most_ms": round(max(ms for _, ms in jumps)),
        "fps": statistics.median(frames),
        "memory_growth": round(statistics.median(last) / statistics.median(first), 3),
        "memory_mb": round(statistics.median(last) / 2**20),
    }


def renderer_bytes(page: Page, before: set[int]) -> int:
    """Private memory of the page's process, after what is no longer used was collected."""
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    sizes = []
    for process in psutil.Process().children(recursive=True):
        if process.pid not in before and "--type=renderer" in process.cmdline():
            sizes.append(process.memory_full_info().uss)
    return max(sizes)


def of_rail(instance: Instance, dataset: Any) -> dict[str, Any]:
    from urllib.parse import urlencode

    from django.db import connection

    first = instance.json(f"/api/v1/datasets/{dataset.pk}/items/?limit=1")["results"][0]["id"]
    address = f"/api/v1/datasets/{dataset.pk}"

    def counted(said: dict[str, str]) -> float:
        began = time.perf_counter()
        instance.get(f"{address}/stats/?{urlencode(said)}")
        return (time.perf_counter() - began) * 1000

    rail: dict[str, int] = {}
    first_ms = counted({})
    for _ in range(8):  # in every process of the server
        counted({})
    for name, said in _FILTERS.items():
        took = []
        for _ in range(5):
            label(instance, dataset, first)
            took.append(counted(said))
        rail[name] = round(statistics.median(took))
    with ThreadPoolExecutor(1) as other:
        took = []
        for _ in range(5):
            label(instance, dataset, first)
            ranking = other.submit(
                instance.post_raw, f"{address}/ranking/", {"like": [first], "filter": {"split": "f"}}
            )
            took.append(counted({"split": "f"}))
            ranking.result()
        rail["query"] = round(statistics.median(took))
    with connection.cursor() as cursor:
        bare = []
        for _ in range(5):
            began = time.perf_counter()
            cursor.execute(
                "SELECT status, split, count(*) FROM datasets_item WHERE dataset_id = %s GROUP BY 1, 2", [dataset.pk]
            )
            cursor.fetchall()
            bare.append((time.perf_counter() - began) * 1000)
    return {
        "rail_ms": max(rail.values()),
        "rail": rail,
        "rail_first_ms": round(first_ms),
        "rail_bare_ms": round(statistics.median(bare)),
    }


def label(instance: Instance, dataset: Any, item: int) -> None:
    instance.post(
        f"/api/v1/datasets/{dataset.pk}/annotations/",
        {"selection": {"ids": [item]}, "label": "a", "mode": ["add", "remove"][int(time.monotonic() * 1000) % 2]},
    )


if __name__ == "__main__":
    main()
