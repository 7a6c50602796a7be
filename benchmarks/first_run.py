"""The first five minutes: seconds to the first grid, the rate of an import, and whether Find Similar finds.

    python benchmarks/first_run.py [--quick] [--photos FOLDER]

Each figure stands beside its reference of the same run. For an import (a zip is uploaded, unpacked, indexed; every photo
gets a thumbnail, quality measures and a vector in every space) that is a bare loop: one process decodes with Pillow and
runs the same encoder, batch after batch, on all cores, and stores nothing. It is run in two ways: in torch, as the weights'
own package does it (``import_ratio``), and in what the product runs it in (``converted_ratio``; `embedding.py` says more of
that). Product and bare loop take turns, both with the encoder in memory; the first import, during which the workers still
load it, is told apart. For Find Similar it is brute force in NumPy over the vectors that the product stored.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.support import photos
from benchmarks.support.instance import Instance
from benchmarks.support.photos import Photo

BATCH = 32
K = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="240 photos, one round: under 45 s")
    parser.add_argument("--photos", type=Path, help="a folder with a labels.csv, or with one folder a class")
    options = parser.parse_args()
    wanted, rounds = (240, 1) if options.quick else (600, 3)
    files, source = photos.labelled(wanted, options.photos)
    print(f"{len(files)} photos ({source}), {rounds} round(s), {os.cpu_count()} cores", flush=True)

    with Instance() as instance:
        ready_s = instance.seconds()
        first = import_into(instance, "first", files)
        instance.set_up_django()
        from search import encoders
        from search.encoders.starter import Starter

        converted, plain = encoders.get(encoders.default_for("image")), Starter("torch")
        for encoder in (converted, plain):
            bare(encoder, files[:BATCH])  # warm, as the worker is by now
        bare_rates, product_rates, converted_ratios = [bare(plain, files)], [], []
        for number in range(1, rounds + 1):
            product_rates.append(import_into(instance, f"round {number}", files).photos_per_s)
            converted_ratios.append(product_rates[-1] / bare(converted, files))
            bare_rates.append(bare(plain, files))
        similar = find_similar(instance, first.dataset)

    ours, reference = statistics.median(product_rates), statistics.median(bare_rates)
    # Each import beside the bare loops right before and after it: the machine may grow slower or faster meanwhile.
    ratio = statistics.median(
        2 * rate / (before + after)
        for rate, before, after in zip(product_rates, bare_rates[:-1], bare_rates[1:], strict=True)
    )
    rows = [
        ("start to ready", f"{ready_s:.1f} s", ""),
        ("start to first items", f"{first.items_s:.1f} s", ""),
        ("start to first grid with pictures", f"{first.grid_s:.1f} s", ""),
        ("first import, encoder still loading", f"{first.photos_per_s:.1f} photos/s", ""),
        ("import", f"{ours:.1f} photos/s", f"bare torch loop {reference:.1f} photos/s"),
        ("import / bare torch loop", f"{ratio:.2f}", "to be 0.7 at least"),
        (
            "import / bare loop, converted",
            f"{statistics.median(converted_ratios):.2f}",
            "which decodes and encodes only",
        ),
        (f"Find Similar, P@{K}", f"{similar.precision:.3f}", f"brute force {similar.precision_brute_force:.3f}"),
        ("answers with the ids of brute force", f"{similar.same} of {similar.queries}", ""),
        ("Find Similar over HTTP, median", f"{similar.http_p50_ms:.0f} ms", ""),
    ]
    for what, figure, beside in rows:
        print(f"{what:36} {figure:>18}   {beside}".rstrip())
    figures = {
        "first_grid_s": round(first.grid_s, 2),
        "import_ratio": round(ratio, 3),
        "converted_ratio": round(statistics.median(converted_ratios), 3),
        "p_at_10": round(similar.precision, 4),
        "same_ids": similar.same == similar.queries,
        "ready_s": round(ready_s, 2),
        "first_items_s": round(first.items_s, 2),
        "import_per_s": round(ours, 1),
        "first_import_per_s": round(first.photos_per_s, 1),
        "bare_per_s": round(reference, 1),
        "p_at_10_brute_force": round(similar.precision_brute_force, 4),
        "queries": similar.queries,
        "http_p50_ms": round(similar.http_p50_ms, 1),
        "photos": len(files),
        "source": source,
        "rounds": rounds,
        "cores": os.cpu_count(),
    }
    print(json.dumps(figures))


@dataclass(frozen=True)
class Imported:
    dataset: int
    items_s: float  # the instance's age when the API answered with items
    grid_s: float  # … and when the first of their pictures was there
    photos_per_s: float  # from the request to the last vector


def import_into(instance: Instance, name: str, files: list[Photo]) -> Imported:
    """Upload ``files`` as a zip into a new dataset, and wait until all of them are embedded in all of its spaces."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        for photo in files:
            made.writestr(f"{photo.label}/{photo.name}", photo.content)
    dataset = instance.post("/api/v1/datasets/", {"name": name, "modality": "image"})["id"]
    began = time.monotonic()
    job = instance.upload(f"/api/v1/datasets/{dataset}/imports/", "photos.zip", archive.getvalue())["job"]

    def items() -> list[Any]:
        found: list[Any] = instance.json(f"/api/v1/datasets/{dataset}/items/?limit=30")["results"]
        return found

    instance.wait(items, "showing items")
    items_s = instance.seconds()
    picture = instance.wait(lambda: next((item["thumbnail_url"] for item in items()), None), "showing a picture")
    instance.get(picture)
    grid_s = instance.seconds()
    done = instance.wait(lambda: ended(instance, job), "imported")
    seconds = time.monotonic() - began
    spaces = instance.json(f"/api/v1/datasets/{dataset}/")["spaces"]
    if done["state"] != "succeeded" or any(space["embedded"] != len(files) for space in spaces):
        raise RuntimeError(f"The import did not go well: {done}, {spaces}")
    return Imported(dataset, items_s, grid_s, len(files) / seconds)


def ended(instance: Instance, job: int) -> dict[str, Any] | None:
    state: dict[str, Any] = instance.json(f"/api/v1/jobs/{job}/")
    return None if state["state"] in ("queued", "running") else state


def bare(encoder: Any, files: list[Photo]) -> float:
    """Photos per second of the least that must be done: decode, preprocess, encode."""
    began = time.monotonic()
    for start in range(0, len(files), BATCH):
        batch = []
        for photo in files[start : start + BATCH]:
            with Image.open(io.BytesIO(photo.content)) as image:
                batch.append(encoder.preprocess(image.convert("RGB")))
        encoder.encode_batch(batch)
    return len(files) / (time.monotonic() - began)


@dataclass(frozen=True)
class Similar:
    queries: int
    same: int  # answers that name the same items in the same order as brute force
    precision: float
    precision_brute_force: float
    http_p50_ms: float


def find_similar(instance: Instance, dataset: int) -> Similar:
    """Find Similar for every photo, through the API and by brute force. A photo is not counted as its own neighbour."""
    ids, vectors = stored_vectors(dataset)
    labels = {}
    path = f"/api/v1/datasets/{dataset}/items/?limit=1000"
    while path:
        page = instance.json(path)
        labels.update({item["id"]: item["labels"][0]["label"] for item in page["results"]})
        path = (page["next"] or "").removeprefix(instance.url)
    same, precision, precision_brute_force, took_s = 0, [], [], []
    for row, item in enumerate(ids.tolist()):
        # Best first, ties by id, as the product promises.
        ranked = ids[np.lexsort((ids, -(vectors @ vectors[row])))].tolist()
        expected = [other for other in ranked if other != item][:K]
        began = time.monotonic()
        answer = instance.post(f"/api/v1/datasets/{dataset}/search/", {"like": [item], "limit": K + 1})
        took_s.append(time.monotonic() - began)
        found = [result["item"]["id"] for result in answer["results"] if result["item"]["id"] != item][:K]
        same += found == expected
        precision.append(statistics.mean(labels[other] == labels[item] for other in found))
        precision_brute_force.append(statistics.mean(labels[other] == labels[item] for other in expected))
    return Similar(
        queries=len(ids),
        same=same,
        precision=statistics.mean(precision),
        precision_brute_force=statistics.mean(precision_brute_force),
        http_p50_ms=1000 * statistics.median(took_s),
    )


def stored_vectors(dataset: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Item ids ``(n,)`` and their vectors ``(n, dimension)`` in the space that answers Find Similar."""
    from datasets.models import Item
    from search import vectors
    from search.models import EmbeddingSpace

    space = EmbeddingSpace.objects.get(dataset=dataset, is_default=True)
    found = vectors.of_items(space, list(Item.objects.filter(dataset=dataset).values_list("pk", flat=True)))
    return np.array(list(found), dtype=np.int64), np.array(list(found.values()), dtype=np.float64)


if __name__ == "__main__":
    main()
